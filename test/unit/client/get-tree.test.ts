/** Files and trees from a fake server to the local disk: cp's rules, whole files, no way out. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { connect, type Kangaroo } from '../../../src/client/client.ts';
import { getFiles, type GetProgress, getStream } from '../../../src/client/get-tree.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { FOUND_KIND, MESSAGES } from '../../../src/protocol/messages.ts';
import { FakeServer } from './fake-server.ts';

let server: FakeServer;
let client: Kangaroo;
let local: string;

beforeEach(async () => {
  server = await FakeServer.start();
  client = await connect({ server: server.socketPath });
  local = mkdtempSync(join(tmpdir(), 'kangaroo-get-'));
});

afterEach(async () => {
  await client.close();
  await server.remove();
  rmSync(local, { recursive: true, force: true });
});

const at = (path: string): string => `kangaroo://far/${path}`;
const here = (...names: string[]): string => join(local, ...names);

function remote(
  path: string,
  bytes: Buffer | string,
  mode = 0o644,
  kind: number = FOUND_KIND.file,
): void {
  server.files.set(path, {
    bytes: Buffer.from(bytes),
    mode,
    mtimeNs: 1_500_000_000_123_456_789n,
    kind,
  });
}

function everything(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
}

describe('one file', () => {
  test('under a new name, into a directory, over an old one', async () => {
    remote('d/f', 'new', 0o755);
    await getFiles(client, at('d/f'), here('name'));
    await getFiles(client, at('d/f'), local);
    writeFileSync(here('old'), 'older and longer', { mode: 0o600 });
    await getFiles(client, at('d/f'), here('old'));
    expect(['name', 'f', 'old'].map((name) => readFileSync(here(name), 'utf8'))).toEqual([
      'new',
      'new',
      'new',
    ]);
    expect(statSync(here('name')).mode & 0o100).toBe(0o100);
    expect(statSync(here('old')).mode & 0o777).toBe(0o600);
    expect(everything(local)).toEqual(['f', 'name', 'old']);
  });

  test('a large one, and ranges', async () => {
    const data = randomBytes(2 * limits.getBytesMax + 99);
    remote('f', data);
    const whole = await getFiles(client, at('f'), here('f'));
    expect(whole).toMatchObject({ files: 1, bytes: data.length });
    expect(readFileSync(here('f')).equals(data)).toBe(true);
    await getFiles(client, at('f'), here('part'), { offset: 10, length: limits.getBytesMax });
    expect(readFileSync(here('part')).equals(data.subarray(10, 10 + limits.getBytesMax))).toBe(
      true,
    );
  });

  test('an interrupted one leaves nothing, and what was there stays', async () => {
    remote('f', Buffer.alloc(3 * limits.getBytesMax));
    writeFileSync(here('f'), 'before');
    const abort = new AbortController();
    const onProgress = (): void => abort.abort();
    const get = getFiles(client, at('f'), here('f'), { signal: abort.signal, onProgress });
    await expect(get).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(readFileSync(here('f'), 'utf8')).toBe('before');
    expect(everything(local)).toEqual(['f']);
  });

  test('what does not exist, here or there', async () => {
    remote('f', 'x');
    remote('d/f', 'x');
    await expect(getFiles(client, at('g'), here('g'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const nowhere = getFiles(client, at('f'), here('no/where'));
    await expect(nowhere).rejects.toMatchObject({ code: 'LOCAL_FILE' });
    await expect(getFiles(client, at('d'), local)).rejects.toMatchObject({ code: 'IS_DIRECTORY' });
    expect(everything(local)).toEqual([]);
  });

  test('a link is followed, a device is written to and not replaced', async () => {
    remote('f', 'new');
    writeFileSync(here('real'), 'old');
    symlinkSync('real', here('link'));
    await getFiles(client, at('f'), here('link'));
    expect(lstatSync(here('link')).isSymbolicLink()).toBe(true);
    expect(readFileSync(here('real'), 'utf8')).toBe('new');
    await getFiles(client, at('f'), '/dev/null');
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  test('a server that stops answering does not hold it beyond its deadline', async () => {
    remote('f', Buffer.alloc(100));
    server.intercept = (frame) => frame.type === MESSAGES.GET.type;
    const get = getFiles(client, at('f'), here('f'), { timeoutMs: 100 });
    await expect(get).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(everything(local)).toEqual([]);
  });
});

describe('into a stream', () => {
  test('all of it, or a range, and the stream stays open', async () => {
    const data = randomBytes(limits.getBytesMax + 5);
    remote('f', data);
    const target = new PassThrough();
    const parts: Buffer[] = [];
    target.on('data', (part: Buffer) => parts.push(part));
    expect(await getStream(client, at('f'), target)).toBe(data.length);
    expect(await getStream(client, at('f'), target, { offset: 1, length: 3 })).toBe(3);
    expect(target.writableEnded).toBe(false);
    expect(Buffer.concat(parts).equals(Buffer.concat([data, data.subarray(1, 4)]))).toBe(true);
  });

  test('a stream that fails is LOCAL_FILE, one that hangs ends at the deadline', async () => {
    remote('f', Buffer.alloc(100_000));
    const broken = new Writable({
      write(_chunk, _encoding, callback) {
        callback(Object.assign(new Error('gone'), { code: 'EPIPE' }));
      },
    });
    await expect(getStream(client, at('f'), broken)).rejects.toMatchObject({ code: 'LOCAL_FILE' });
    const stuck = new Writable({ write: () => {} });
    const get = getStream(client, at('f'), stuck, { timeoutMs: 100 });
    await expect(get).rejects.toMatchObject({ code: 'NOT_YET' });
  });
});

describe('a tree', () => {
  test('with its directories, modes and times, many small files and a large one', async () => {
    for (let i = 0; i < 60; i += 1) remote(`t/many/${i}`, `file ${i}`, 0o600);
    const large = randomBytes(limits.payloadBytesMax + 1);
    remote('t/large', large, 0o4755);
    remote('t/sub/deep/f', 'F');
    remote('t/sub', '', 0o500, FOUND_KIND.directory);
    const reports: GetProgress[] = [];
    const onProgress = (report: GetProgress): void => void reports.push(report);
    const result = await getFiles(client, at('t'), here('out'), { recursive: true, onProgress });
    expect(result).toMatchObject({ files: 62, directories: 4, failureCount: 0, skippedCount: 0 });
    expect(readFileSync(here('out/many/7'), 'utf8')).toBe('file 7');
    expect(readFileSync(here('out/large')).equals(large)).toBe(true);
    expect(statSync(here('out/large')).mode & 0o7777).toBe(0o755);
    expect(statSync(here('out/sub')).mode & 0o777).toBe(0o500);
    expect(statSync(here('out/sub')).mtimeMs).toBeCloseTo(1_500_000_000_123.456, 1);
    expect(statSync(here('out/many/7')).mtimeMs).toBeCloseTo(1_500_000_000_123.456, 1);
    expect(reports.at(-1)).toMatchObject({ files: 62, bytes: result.bytes });
    expect(everything(local).some((name) => name.includes('.kangaroo-'))).toBe(false);
  });

  test('into an existing directory under its own name', async () => {
    remote('d/t/f', 'F');
    await getFiles(client, at('d/t'), local, { recursive: true });
    await getFiles(client, at(''), local, { recursive: true });
    expect(readFileSync(here('t/f'), 'utf8')).toBe('F');
    expect(readFileSync(here('far/d/t/f'), 'utf8')).toBe('F');
  });

  test('names that are no UTF-8 keep their bytes', async () => {
    remote('t/n\xff', 'odd');
    await getFiles(client, at('t'), here('t'), { recursive: true });
    expect(readFileSync(Buffer.from(`${local}/t/n\xff`, 'latin1'), 'utf8')).toBe('odd');
  });

  test.each(['..', '../escape', 'a/../../escape'])('a name %j does not lead out', async (name) => {
    remote('t/f', 'F');
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.LIST.type) return false;
      const entries = [{ name, kind: FOUND_KIND.file, size: 1, mode: 0o644, mtimeNs: 0n }];
      connection.send('LISTED', { more: false, entries }, frame.callId);
      return true;
    };
    mkdirSync(here('in'));
    const get = getFiles(client, at('t'), here('in/t'), { recursive: true });
    await expect(get).rejects.toMatchObject({ code: 'PROTOCOL' });
    expect(existsSync(here('escape'))).toBe(false);
    expect(everything(here('in'))).toEqual(['t']);
  });

  test('what fails is named, the rest goes on; links and special files are left out', async () => {
    remote('t/a', 'A');
    remote('t/gone', 'G');
    remote('t/link', '', 0o777, FOUND_KIND.symlink);
    remote('t/pipe', '', 0o600, FOUND_KIND.other);
    remote('t/z', 'Z');
    mkdirSync(here('t/a'), { recursive: true });
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.GET.type || !frame.body.includes('gone')) return false;
      connection.sendError(
        new KangarooError('NOT_FOUND', 't/gone: removed meanwhile'),
        frame.callId,
      );
      return true;
    };
    const result = await getFiles(client, at('t'), local, { recursive: true });
    expect(result).toMatchObject({ files: 1, failureCount: 2, skippedCount: 2 });
    expect(result.failures.map(({ path }) => path.slice(local.length)).sort()).toEqual([
      '/t/a',
      '/t/gone',
    ]);
    expect(readFileSync(here('t/z'), 'utf8')).toBe('Z');
  });

  test('a server that is lost for good ends it, without a half file', async () => {
    for (let i = 0; i < 40; i += 1) remote(`t/${i}`, Buffer.alloc(1000));
    let gets = 0;
    server.intercept = (frame) => {
      if (frame.type === MESSAGES.GET.type && ++gets === 20) void server.stop();
      return gets >= 20;
    };
    const get = getFiles(client, at('t'), here('t'), { recursive: true, timeoutMs: 500 });
    await expect(get).rejects.toMatchObject({ exitStatus: expect.any(Number) as number });
    expect(everything(here('t')).some((name) => name.includes('.kangaroo-'))).toBe(false);
  });
});
