/**
 * receiveBurst against real sockets: heads split at every place that matters, each way to stop,
 * and the promise behind all of them: head + socket = accepted frames + leftover + what is still
 * in the socket, byte for byte, and no payload in the file whose checksums did not fit.
 */

import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import type { NativeAddon, ReceiveBurstOptions } from '../../../src/base/addon.ts';
import { frameOf, headerBytes, payloadOf, prefixBytes } from '../../support/burst-frames.ts';
import { putsType, recordOf, writeKind } from '../../support/burst-frames.ts';
import type { FrameParts } from '../../support/burst-frames.ts';
import { descriptorOf, socketPair } from '../../support/socket-pair.ts';
import type { SocketPair } from '../../support/socket-pair.ts';

const addon = native as NativeAddon;
const template = Buffer.from('server/out/file');

let folder: string;
let file: number;
let pair: SocketPair;

beforeEach(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kg-burst-'));
  file = fs.openSync(join(folder, 'target'), 'w+');
  pair = await socketPair('unix');
});

afterEach(() => {
  fs.closeSync(file);
  pair.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

function content(): Buffer {
  return fs.readFileSync(join(folder, 'target'));
}

function burst(options: Partial<ReceiveBurstOptions> = {}) {
  return addon.receiveBurst({
    ...{ socket: descriptorOf(pair.far), file, mode: 'at-offset', template },
    ...{ kind: writeKind, flagsAllowed: 0, maxBlocks: 1000, deadlineMs: 5000, putsType },
    ...{ templateNameBytes: 6, version: 1 },
    ...options,
  });
}

/** What the socket still holds once the peer has ended. */
async function restOfSocket(): Promise<Buffer> {
  pair.near.end();
  const parts: Buffer[] = [];
  for await (const part of pair.far) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Waits until everything written has reached the kernel, so that a burst finds it there. */
async function send(bytes: Uint8Array): Promise<void> {
  await new Promise((resolve) => pair.near.write(bytes, resolve));
}

function blocks(count: number, bytes: number): FrameParts[] {
  return Array.from({ length: count }, (_, i) => ({
    ...{ payload: payloadOf(bytes + i, i), offset: i * (bytes + count), callId: i + 1, seq: i },
  }));
}

describe.skipIf(native === null)(`receiveBurst ${addonReason}`, () => {
  const oneBlock: FrameParts = { payload: payloadOf(5000, 1), offset: 100 };
  const firstFrame = frameOf(oneBlock);
  const names = template.length;
  const splits = [0, 1, 4, 15, 16, 17, 151, 152, 153];
  const ends = [prefixBytes + headerBytes + names, firstFrame.length];
  for (const end of ends) splits.push(end - 1, end, end + 1, end + 16, end + 152);

  test.each(splits)('with a head of %i bytes', async (headBytes) => {
    const second: FrameParts = { payload: payloadOf(7000, 2), offset: 6000, callId: 9 };
    const stream = Buffer.concat([firstFrame, frameOf(second)]);
    await send(stream.subarray(headBytes));
    const result = await burst({ head: stream.subarray(0, headBytes) });
    expect(result.stop).toBe('idle');
    expect(result.records.map((bytes) => Buffer.from(bytes))).toEqual([
      recordOf(oneBlock),
      recordOf(second),
    ]);
    expect([...result.placed]).toEqual([100, 6000]);
    expect([...result.callIds]).toEqual([0, 9]);
    expect(result.leftover.length).toBe(0);
    expect(content().subarray(100, 5100).equals(oneBlock.payload)).toBe(true);
    expect(content().subarray(6000).equals(second.payload)).toBe(true);
  });

  test.each([1, 100, 4096, 65_536, 65_537, 1 << 20])(
    'many blocks of about %i bytes that keep coming',
    async (bytes) => {
      const parts = blocks(bytes > 65_536 ? 12 : 200, Math.min(bytes, (1 << 20) - 20));
      const stream = Buffer.concat(parts.map(frameOf));
      pair.near.write(stream);
      let head: Uint8Array = new Uint8Array(0);
      const placed: number[] = [];
      for (let calls = 0; placed.length < parts.length && calls < 1000; calls += 1) {
        const result = await burst({ head, maxBlocks: 7 });
        expect(['idle', 'max']).toContain(result.stop);
        expect(result.leftover.length).toBeLessThan(65_536);
        placed.push(...result.placed);
        head = result.leftover;
      }
      expect(placed).toEqual(parts.map((part) => part.offset));
      const target = content();
      for (const { payload, offset = 0 } of parts) {
        expect(target.subarray(offset, offset + payload.length).equals(payload)).toBe(true);
      }
    },
  );

  test('appends one behind the other and stops before it is full', async () => {
    const parts = blocks(5, 1000);
    const stream = Buffer.concat(parts.map(frameOf));
    await send(stream);
    const result = await burst({ mode: 'append', fileOffset: 50, capacityBytes: 3100 });
    expect(result.stop).toBe('full');
    expect([...result.placed]).toEqual([50, 1050, 2051]);
    const payloads = parts.slice(0, 3).map((part) => part.payload);
    expect(content().subarray(50).equals(Buffer.concat(payloads))).toBe(true);
    const rest = Buffer.concat([result.leftover, await restOfSocket()]);
    expect(rest.equals(Buffer.concat(parts.slice(3).map(frameOf)))).toBe(true);
  });

  const payload = payloadOf(300, 5);
  test.each<[string, FrameParts]>([
    ['another type', { payload, type: putsType + 1 }],
    ['another kind', { payload, kind: writeKind + 1 }],
    ['another path', { payload, path: '/out/fila' }],
    ['a longer path', { payload, path: '/out/file2' }],
    ['another name', { payload, name: 'servir' }],
    ['the name and path cut elsewhere', { payload, name: 'server/', path: 'out/file' }],
    ['a flag', { payload, flags: 4 }],
    ['another version', { payload, version: 2 }],
    ['no payload', { payload: new Uint8Array(0) }],
    ['more than one record', { payload, bodyBytesError: 10 }],
    ['a body that is too short', { payload, bodyBytesError: -290 }],
    ['an offset beyond what a file has', { payload, offset: Number.MAX_SAFE_INTEGER }],
  ])('stops at a frame with %s and leaves it whole', async (_what, odd) => {
    const stream = Buffer.concat([firstFrame, frameOf(odd), firstFrame]);
    await send(stream);
    const result = await burst();
    expect(result.stop).toBe('mismatch');
    expect(result.placed.length).toBe(1);
    const rest = Buffer.concat([result.leftover, await restOfSocket()]);
    expect(rest.equals(stream.subarray(firstFrame.length))).toBe(true);
  });

  test('takes any path without a template, allowed flags, second names, extensions', async () => {
    const parts: FrameParts[] = [
      { payload, path: '/a', flags: 2 },
      { payload, path: '/b', path2: '/c', ext: 'e'.repeat(500), version: 1 },
    ];
    await send(Buffer.concat(parts.map(frameOf)));
    const result = await burst({ template: null, flagsAllowed: 2 });
    expect(result.records.map((bytes) => Buffer.from(bytes))).toEqual(parts.map(recordOf));
  });

  test.each(['headerCrcError', 'payloadCrcError'])(
    'stops at a wrong %s, unwritten',
    async (what) => {
      const bad = frameOf({ payload: payloadOf(9000, 3), offset: 50_000, [what]: 1 });
      await send(Buffer.concat([firstFrame, bad]));
      const result = await burst();
      expect(result.stop).toBe('corrupt');
      expect(result.error?.code).toBe('EBADMSG');
      expect(result.placed.length).toBe(1);
      expect(content().length).toBe(5100);
      const rest = Buffer.concat([result.leftover, await restOfSocket()]);
      expect(rest.equals(bad)).toBe(true);
    },
  );

  test('keeps the beginning of a frame that does not come at once', async () => {
    await send(Buffer.concat([firstFrame, firstFrame.subarray(0, 100)]));
    const result = await burst();
    expect(result.stop).toBe('idle');
    expect(result.leftover.equals(firstFrame.subarray(0, 100))).toBe(true);
    await send(firstFrame.subarray(100));
    const next = await burst({ head: result.leftover });
    expect([...next.placed]).toEqual([100]);
  });

  test('waits for the rest of a block that has begun', async () => {
    await send(firstFrame.subarray(0, 3000));
    setTimeout(() => pair.near.write(firstFrame.subarray(3000)), 60);
    const result = await burst();
    expect([...result.placed]).toEqual([100]);
  });

  test('drops a block that the deadline cuts short', async () => {
    await send(Buffer.concat([firstFrame, firstFrame.subarray(0, 3000)]));
    const result = await burst({ deadlineMs: 80 });
    expect(result).toMatchObject({ stop: 'deadline' });
    expect(result.placed.length).toBe(1);
    expect(result.leftover.length).toBe(0);
  });

  test.each([
    ['between blocks', 0, 0],
    ['within a header', 60, 60],
    ['within a block', 3000, 0],
  ])('stops when the peer closes %s', async (_where, extra, left) => {
    await send(Buffer.concat([firstFrame, firstFrame.subarray(0, extra)]));
    pair.near.end();
    const result = await burst();
    expect(result.stop).toBe('closed');
    expect(result.placed.length).toBe(1);
    expect(result.leftover.equals(firstFrame.subarray(0, left))).toBe(true);
    expect(content().length).toBe(5100);
  });

  test('leaves a frame whole that could not be written', async () => {
    const readOnly = fs.openSync(join(folder, 'target'), 'r');
    const big = frameOf({ payload: payloadOf(150_000, 3) });
    pair.near.write(Buffer.concat([big, firstFrame]));
    const result = await burst({ file: readOnly });
    fs.closeSync(readOnly);
    expect(result.stop).toBe('error');
    expect(result.error).toMatchObject({ code: 'EBADF', syscall: 'pwrite' });
    const rest = Buffer.concat([result.leftover, await restOfSocket()]);
    expect(rest.equals(Buffer.concat([big, firstFrame]))).toBe(true);
  });

  test('goes on from a socket that Node has read from', async () => {
    const parts = blocks(40, 20_000);
    const stream = Buffer.concat(parts.map(frameOf));
    const { far } = pair;
    const handle = (far as unknown as { _handle: { readStop(): void } })._handle;
    const first = new Promise<Buffer>((resolve) => {
      far.once('data', (part) => {
        // pause() alone lets libuv read on until its buffer is full.
        far.pause();
        handle.readStop();
        resolve(part);
      });
    });
    far.resume();
    pair.near.write(stream);
    const head = Buffer.concat([await first, (far.read() as Buffer | null) ?? Buffer.alloc(0)]);
    expect(head.length).toBeGreaterThan(0);
    let left: Uint8Array = head;
    let count = 0;
    for (let calls = 0; count < parts.length && calls < 1000; calls += 1) {
      const result = await burst({ head: left });
      count += result.placed.length;
      left = result.leftover;
    }
    expect(count).toBe(parts.length);
    const { payload: last, offset = 0 } = parts[39] as FrameParts;
    expect(content().subarray(offset).equals(last)).toBe(true);
  });

  test('refuses bad options at the call', () => {
    const bad: Partial<Record<keyof ReceiveBurstOptions, unknown>>[] = [
      ...[{ mode: 'sideways' }, { mode: 'append' }, { mode: 'append', fileOffset: 0 }],
      ...[{ template: 'text' }, { kind: 256 }, { maxBlocks: 0 }, { head: 'x' }, { socket: -1 }],
    ];
    for (const options of bad) {
      expect(() => burst(options as Partial<ReceiveBurstOptions>)).toThrow(TypeError);
    }
  });
});
