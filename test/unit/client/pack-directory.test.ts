/**
 * Small files packed by the addon: the records are what the codec writes and say what the files
 * say, every entry of a directory comes out exactly once, packed or by name, and what is odd is
 * left to the normal way. Needs the addon but for the last test.
 */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { crc32c } from '../../../src/base/crc32c.ts';
import { limits } from '../../../src/base/limits.ts';
import { packDirectory, type Step } from '../../../src/client/pack-directory.ts';
import type { Session } from '../../../src/client/session.ts';
import { PutWindow } from '../../../src/client/window.ts';
import { PREFIX_BYTES } from '../../../src/protocol/frame.ts';
import { decodeHead, FLAGS, KIND, measure, operation } from '../../../src/protocol/operation.ts';

let local: string;
let window: PutWindow;
let room: boolean;

beforeEach(() => {
  local = mkdtempSync(join(tmpdir(), 'kangaroo-pack-'));
  window = new PutWindow();
  room = true;
});

afterEach(() => rmSync(local, { recursive: true, force: true }));

const session = {
  fill: (pack: Parameters<Session['fill']>[0]) => (room ? window.fill(pack) : null),
} as unknown as Session;

function pack(path = 'run/7', addon = native): Step[] {
  return [...packDirectory(session, local, { name: 'far', path, directory: true }, addon)];
}

/** What is in the window's frames, taken apart and checked. */
function packed() {
  const found = [];
  window.closeBatch();
  for (let frame = window.next(); frame !== null; frame = window.next()) {
    const bytes = Buffer.concat(frame.parts);
    expect(bytes.length).toBeLessThanOrEqual(PREFIX_BYTES + limits.batchBytes);
    for (let at = PREFIX_BYTES; at < bytes.length;) {
      const size = measure(bytes, at);
      const head = decodeHead(bytes, at);
      if (size === null || typeof head === 'string') throw new Error(String(head));
      const payload = bytes.subarray(at + size.head, at + size.total);
      expect(crc32c(payload)).toBe(head.payloadCrc);
      found.push({ head, payload });
      at += size.total;
    }
  }
  return found;
}

const namesOf = (steps: readonly Step[]): string[] =>
  steps.flatMap((step) => ('name' in step ? [`${step.name} ${step.kind}`] : [])).sort();

function make(name: string, bytes: Buffer | string, mode = 0o644): void {
  const path = Buffer.concat([Buffer.from(`${local}/`), Buffer.from(name, 'latin1')]);
  writeFileSync(path, bytes);
  chmodSync(path, mode);
}

describe.skipIf(native === null)(`with the addon ${addonReason}`, () => {
  test('a record says what its file says', () => {
    const content = new Map<string, Buffer>();
    for (let i = 0; i < 300; i++) content.set(`f${i}`, randomBytes((i * 37) % 9_000));
    content.set('\xff\xfe odd', randomBytes(3));
    content.set('largest', randomBytes(limits.inlinePayloadBytesMax));
    content.set('empty', Buffer.alloc(0));
    for (const [name, bytes] of content) make(name, bytes, 0o640);
    utimesSync(join(local, 'f7'), 1, 1_234_567.25);
    const steps = pack();
    expect(namesOf(steps)).toEqual([]);
    const records = packed();
    expect(records.map(({ head }) => head.seq)).toEqual(records.map((_, i) => i + 1));
    expect(new Set(records.map(({ head }) => head.path)).size).toBe(content.size);
    for (const { head, payload } of records) {
      expect(head).toMatchObject({ kind: KIND.write, name: 'far', offset: 0, mode: 0o640 });
      expect(head.path.startsWith('run/7/')).toBe(true);
      expect(payload.equals(content.get(head.path.slice(6)) as Buffer)).toBe(true);
    }
    const flags = FLAGS.CREATE | FLAGS.TRUNCATE | FLAGS.PARENTS | FLAGS.MODE | FLAGS.MTIME;
    const dated = records.find(({ head }) => head.path === 'run/7/f7');
    expect(dated?.head).toMatchObject({ flags, mtimeNs: 1_234_567_250_000_000n });
    const f8 = statSync(join(local, 'f8'), { bigint: true }).mtimeNs;
    expect(records.find(({ head }) => head.path === 'run/7/f8')?.head.mtimeNs).toBe(f8);
    const counted = steps.flatMap((step) => ('files' in step ? [step] : []));
    expect(counted.reduce((sum, { files }) => sum + files, 0)).toBe(content.size);
    const bytes = [...content.values()].reduce((sum, { length }) => sum + length, 0);
    expect(counted.reduce((sum, step) => sum + step.bytes, 0)).toBe(bytes);
    expect(content.has(counted.at(-1)?.last ?? '')).toBe(true);
  });

  test('what is odd comes out by name, and nothing else', () => {
    for (let i = 0; i < 20; i++) make(`f${i}`, 'x');
    make('large', Buffer.alloc(0));
    truncateSync(join(local, 'large'), limits.inlinePayloadBytesMax + 1);
    mkdirSync(join(local, 'directory'));
    symlinkSync('f1', join(local, 'link'));
    execFileSync('mkfifo', [join(local, 'fifo')]);
    const steps = pack();
    const odd = ['directory directory', 'fifo other', 'large file', 'link symlink'];
    expect(namesOf(steps)).toEqual(odd);
    expect(packed()).toHaveLength(20);
  });

  test('a path that is too long for an address is left to whoever has the words for it', () => {
    make('f'.repeat(200), 'x');
    make('g', 'x');
    const path = `${'d'.repeat(250)}/`.repeat(16).slice(0, limits.pathBytesMax - 100);
    expect(namesOf(pack(path))).toEqual([`${'f'.repeat(200)} file`]);
    expect(packed().map(({ head }) => head.path)).toEqual([`${path}/g`]);
  });

  test('they go behind records that wait in the same frame, and those behind them follow', () => {
    const write = operation({ kind: KIND.write, name: 'far', path: 'other' });
    window.append(write, Buffer.from('before'), null);
    make('f', 'packed');
    pack('');
    window.append(write, Buffer.from('after'), null);
    const texts = packed().map(({ head, payload }) => `${head.seq} ${head.path} ${payload}`);
    expect(texts).toEqual(['1 other before', '2 f packed', '3 other after']);
  });
});

test('without room or without the addon every entry comes out by name', () => {
  make('f', 'x');
  mkdirSync(join(local, 'd'));
  expect(namesOf(pack('', null))).toEqual(['d directory', 'f file']);
  room = false;
  expect(namesOf(pack(''))).toEqual(['d directory', 'f file']);
  expect(window.isEmpty).toBe(true);
});
