/**
 * The addon's bulk movers against real files and real sockets: copyIn, receiveToFile, sendFrames.
 * What goes wrong is half of it: short sources, wrong checksums, closed peers, deadlines, full
 * disks, descriptors that JavaScript closes meanwhile. receiveBurst has a file of its own.
 */

import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import type { NativeAddon, ReceiveToFileOptions } from '../../../src/base/addon.ts';
import { crc32c } from '../../../src/base/crc32c.ts';
import { payloadOf } from '../../support/burst-frames.ts';
import { descriptorOf, socketPair } from '../../support/socket-pair.ts';
import type { SocketPair } from '../../support/socket-pair.ts';

const addon = native as NativeAddon;
const MiB = 1 << 20;

let folder: string;
let opened: number[];
let pairs: SocketPair[];

beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'kg-bulk-'));
  opened = [];
  pairs = [];
});

afterEach(() => {
  for (const fd of opened) fs.closeSync(fd);
  for (const pair of pairs) pair.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

function open(name: string, flags: string): number {
  const fd = fs.openSync(join(folder, name), flags);
  opened.push(fd);
  return fd;
}

function content(name: string): Buffer {
  return fs.readFileSync(join(folder, name));
}

async function connected(kind: 'unix' | 'tcp'): Promise<SocketPair> {
  const pair = await socketPair(kind);
  pairs.push(pair);
  return pair;
}

/** What a socket of Node reads until its peer ends, at most `chunk` bytes each `pauseMs`. */
async function readSlowly(socket: Socket, chunk: number, pauseMs: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  socket.pause();
  for (;;) {
    const part = socket.read(chunk) as Buffer | null;
    if (part !== null) parts.push(part);
    else if (socket.readableEnded || socket.destroyed) break;
    else if (socket.readableLength > 0) parts.push(socket.read() as Buffer);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return Buffer.concat(parts);
}

describe.skipIf(native === null)(`bulk movers ${addonReason}`, () => {
  describe('copyIn', () => {
    test.each([0, 1, 4095, 65_536, MiB, 3 * MiB + 17])('copies %i bytes', async (length) => {
      const bytes = payloadOf(length, 1);
      fs.writeFileSync(join(folder, 'source'), bytes);
      const blockBytes = 300_001;
      const result = await addon.copyIn({
        ...{ source: open('source', 'r'), sourceOffset: 0, target: open('target', 'w') },
        ...{ targetOffset: 5, length: Number.MAX_SAFE_INTEGER, blockBytes, earlyWriteback: true },
      });
      expect(result).toMatchObject({ bytes: length, stop: 'end' });
      expect(content('target').subarray(5).equals(bytes)).toBe(true);
      const blocks = Math.ceil(length / blockBytes);
      const expected = Array.from({ length: blocks }, (_, i) =>
        crc32c(bytes.subarray(i * blockBytes, (i + 1) * blockBytes)),
      );
      expect([...result.crcs]).toEqual(expected);
    });

    test('takes a part of the source and stops at the length', async () => {
      const bytes = payloadOf(2 * MiB, 2);
      fs.writeFileSync(join(folder, 'source'), bytes);
      const result = await addon.copyIn({
        ...{ source: open('source', 'r'), sourceOffset: 1000, target: open('target', 'w') },
        ...{ targetOffset: 0, length: MiB + 5, blockBytes: MiB },
      });
      expect(result).toMatchObject({ bytes: MiB + 5, stop: 'length' });
      expect(result.crcs.length).toBe(2);
      expect(content('target').equals(bytes.subarray(1000, 1000 + MiB + 5))).toBe(true);
    });

    test('of a file, reports whole blocks up to the deadline and none behind it', async () => {
      const bytes = payloadOf(8 * MiB, 4);
      fs.writeFileSync(join(folder, 'source'), bytes);
      const result = await addon.copyIn({
        ...{ source: open('source', 'r'), sourceOffset: 0, target: open('target', 'w') },
        ...{ targetOffset: 0, length: bytes.length, blockBytes: MiB, deadlineMs: 0 },
      });
      expect(result.stop).toBe('deadline');
      expect(result.bytes).toBe(result.crcs.length * MiB);
      expect(result.bytes).toBeLessThan(bytes.length);
      for (const [i, crc] of result.crcs.entries()) {
        expect(crc).toBe(crc32c(bytes.subarray(i * MiB, (i + 1) * MiB)));
      }
      const copied = content('target').subarray(0, result.bytes);
      expect(copied.equals(bytes.subarray(0, result.bytes))).toBe(true);
    });

    test('goes on with its own descriptors when JavaScript closes them', async () => {
      const bytes = payloadOf(8 * MiB, 3);
      fs.writeFileSync(join(folder, 'source'), bytes);
      const source = fs.openSync(join(folder, 'source'), 'r');
      const target = fs.openSync(join(folder, 'target'), 'w');
      const copy = addon.copyIn({
        ...{ source, sourceOffset: 0, target, targetOffset: 0 },
        ...{ length: bytes.length, blockBytes: MiB },
      });
      fs.closeSync(source);
      fs.closeSync(target);
      open('reused-1', 'w');
      open('reused-2', 'w');
      expect((await copy).bytes).toBe(bytes.length);
      expect(content('target').equals(bytes)).toBe(true);
      expect(content('reused-1').length + content('reused-2').length).toBe(0);
    });

    /** The reading end of a FIFO whose writer is a shell that runs `script`. */
    function pipeFrom(script: string): { fd: number; writer: ChildProcess } {
      const path = join(folder, 'pipe');
      execFileSync('mkfifo', [path]);
      const writer = spawn('sh', ['-c', `exec >"$0"; ${script}`, path]);
      const fd = fs.openSync(path, 'r');
      opened.push(fd);
      return { fd, writer };
    }

    test('reads a pipe whose writer is slow, block by block', async () => {
      const { fd } = pipeFrom('for i in 1 2 3 4 5 6; do printf 0123456789; sleep 0.02; done');
      const result = await addon.copyIn({
        ...{ source: fd, sourceOffset: -1, target: open('target', 'w') },
        ...{ targetOffset: 0, length: Number.MAX_SAFE_INTEGER, blockBytes: 16 },
      });
      expect(result).toMatchObject({ bytes: 60, stop: 'end' });
      expect(result.crcs.length).toBe(4);
      expect(content('target').toString()).toBe('0123456789'.repeat(6));
    });

    test('ends short at the deadline and has written what it read', async () => {
      const { fd, writer } = pipeFrom('printf abc; exec sleep 20');
      const before = performance.now();
      const result = await addon.copyIn({
        ...{ source: fd, sourceOffset: -1, target: open('target', 'w') },
        ...{ targetOffset: 0, length: 1000, blockBytes: 100, deadlineMs: 150 },
      });
      expect(performance.now() - before).toBeGreaterThan(140);
      expect(result).toMatchObject({ bytes: 3, stop: 'deadline' });
      expect([...result.crcs]).toEqual([crc32c(Buffer.from('abc'))]);
      expect(content('target').toString()).toBe('abc');
      writer.kill();
    });

    test('rejects with the call that failed and how far it came', async () => {
      fs.writeFileSync(join(folder, 'source'), payloadOf(1000, 1));
      const source = open('source', 'r');
      const from = { source, sourceOffset: 0, targetOffset: 0, length: 1000, blockBytes: 100 };
      await expect(addon.copyIn({ ...from, target: source })).rejects.toMatchObject({
        ...{ code: 'EBADF', errno: -9, syscall: 'pwrite', bytes: 0 },
      });
      await expect(addon.copyIn({ ...from, target: 99_999 })).rejects.toMatchObject({
        ...{ code: 'EBADF', syscall: 'dup' },
      });
      if (fs.existsSync('/dev/full')) {
        const target = fs.openSync('/dev/full', 'w');
        opened.push(target);
        await expect(addon.copyIn({ ...from, target })).rejects.toMatchObject({ code: 'ENOSPC' });
      }
    });

    test('refuses bad options at the call', () => {
      const copy = addon.copyIn as unknown as (...values: unknown[]) => unknown;
      const good = {
        ...{ source: 0, sourceOffset: 0, target: 1, targetOffset: 0, length: 1, blockBytes: 1 },
      };
      const bad: unknown[] = [undefined, 5, {}, { ...good, source: -1 }, { ...good, length: -1 }];
      bad.push({ ...good, blockBytes: 0 }, { ...good, blockBytes: MiB + 1 });
      bad.push({ ...good, sourceOffset: -2 }, { ...good, earlyWriteback: 1 });
      for (const options of bad) expect(() => copy(options)).toThrow(TypeError);
      const getter = Object.defineProperty({ ...good }, 'length', {
        get: () => {
          throw new RangeError('mine');
        },
      });
      expect(() => copy(getter)).toThrow(RangeError);
    });
  });

  describe('receiveToFile', () => {
    const bytes = payloadOf(200_000, 9);
    const base = { fileOffset: 3, length: bytes.length, crc: crc32c(bytes), deadlineMs: 5000 };

    function receive(pair: SocketPair, options: Partial<ReceiveToFileOptions> = {}) {
      const file = open('target', 'w+');
      return addon.receiveToFile({ ...base, socket: descriptorOf(pair.far), file, ...options });
    }

    test.each([0, 1, 4095, 199_999, 200_000, 200_100])(
      'takes %i bytes from the head, the rest from the socket, not one more',
      async (headBytes) => {
        const pair = await connected('unix');
        const stream = Buffer.concat([bytes, Buffer.from('N'.repeat(200))]);
        pair.near.write(stream.subarray(headBytes));
        const result = await receive(pair, { head: stream.subarray(0, headBytes) });
        expect(result).toEqual({ received: bytes.length, crcOk: true, crc: base.crc });
        expect(content('target').subarray(3).equals(bytes)).toBe(true);
        pair.far.resume();
        pair.near.end();
        let rest = '';
        pair.far.on('data', (part) => (rest += part.toString()));
        await once(pair.far, 'end');
        expect(rest).toBe(stream.subarray(Math.max(headBytes, bytes.length)).toString());
      },
    );

    test('waits for bytes that come in pieces', async () => {
      const pair = await connected('tcp');
      const result = receive(pair);
      for (let at = 0; at < bytes.length; at += 40_000) {
        pair.near.write(bytes.subarray(at, at + 40_000));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect((await result).crcOk).toBe(true);
      expect(content('target').subarray(3).equals(bytes)).toBe(true);
    });

    test('writes nothing when the checksum is wrong', async () => {
      const pair = await connected('unix');
      pair.near.write(bytes);
      const result = await receive(pair, { crc: base.crc ^ 1 ? (base.crc ^ 1) >>> 0 : 0 });
      expect(result).toEqual({ received: bytes.length, crcOk: false, crc: base.crc });
      expect(content('target').length).toBe(0);
    });

    test('rejects when the peer closes, and writes nothing', async () => {
      const pair = await connected('unix');
      pair.near.end(bytes.subarray(0, 100_000));
      await expect(receive(pair)).rejects.toMatchObject({
        ...{ code: 'ECONNRESET', closed: true, consumed: false, received: 100_000 },
      });
      expect(content('target').length).toBe(0);
    });

    test('rejects at the deadline, and writes nothing', async () => {
      const pair = await connected('unix');
      pair.near.write(bytes.subarray(1));
      const before = performance.now();
      await expect(receive(pair, { deadlineMs: 100 })).rejects.toMatchObject({
        ...{ code: 'ETIMEDOUT', consumed: false, closed: false, received: 199_999 },
      });
      expect(performance.now() - before).toBeGreaterThan(95);
      expect(content('target').length).toBe(0);
    });

    test('says that it consumed a block it could not write', async () => {
      const pair = await connected('unix');
      pair.near.write(bytes);
      fs.writeFileSync(join(folder, 'read-only'), '');
      const file = open('read-only', 'r');
      await expect(receive(pair, { file })).rejects.toMatchObject({
        ...{ code: 'EBADF', syscall: 'pwrite', consumed: true },
      });
    });

    test('is woken by shutdownSocket', async () => {
      const pair = await connected('tcp');
      const waiting = receive(pair, { deadlineMs: 15_000 });
      setTimeout(() => addon.shutdownSocket(descriptorOf(pair.far)), 50);
      await expect(waiting).rejects.toMatchObject({ code: 'ECONNRESET', closed: true });
    });
  });

  describe('sendFrames', () => {
    test.each(['unix', 'tcp'] as const)(
      'sends bytes and files in order to a slow reader, %s',
      async (kind) => {
        const pair = await connected(kind);
        const file = payloadOf(3 * MiB, 4);
        fs.writeFileSync(join(folder, 'file'), file);
        const fd = open('file', 'r');
        const chunks = [];
        const expected = [];
        for (let i = 0; i < 100; i += 1) {
          const head = payloadOf(i * 3, i);
          chunks.push({ bytes: head }, { bytes: payloadOf(5, i) });
          chunks.push({ file: fd, offset: i * 1000, length: i * 300 });
          expected.push(head, payloadOf(5, i), file.subarray(i * 1000, i * 1300));
        }
        chunks.push({ file: fd, offset: 0, length: file.length }, { bytes: Buffer.from('end') });
        expected.push(file, Buffer.from('end'));
        const whole = Buffer.concat(expected);
        const read = readSlowly(pair.far, 100_000, 1);
        const result = await addon.sendFrames({
          ...{ socket: descriptorOf(pair.near), chunks, deadlineMs: 10_000 },
        });
        expect(result).toEqual({ sent: whole.length });
        pair.near.end();
        expect((await read).equals(whole)).toBe(true);
      },
    );

    test('rejects at the deadline when nobody reads', async () => {
      const pair = await connected('unix');
      const chunks = [{ bytes: Buffer.alloc(8 * MiB) }];
      const socket = descriptorOf(pair.near);
      let caught: { code?: string; sent?: number } = {};
      await addon.sendFrames({ socket, chunks, deadlineMs: 100 }).catch((error: unknown) => {
        caught = error as typeof caught;
      });
      expect(caught.code).toBe('ETIMEDOUT');
      expect(caught.sent).toBeGreaterThan(0);
      expect(caught.sent).toBeLessThan(8 * MiB);
    });

    test.each(['bytes', 'file'])('rejects when the peer is gone, %s', async (what) => {
      const pair = await connected('unix');
      pair.far.destroy();
      await once(pair.far, 'close');
      fs.writeFileSync(join(folder, 'file'), payloadOf(MiB, 4));
      const file = { file: open('file', 'r'), offset: 0, length: MiB };
      const chunks = [what === 'file' ? file : { bytes: Buffer.alloc(MiB) }];
      const socket = descriptorOf(pair.near);
      await expect(addon.sendFrames({ socket, chunks, deadlineMs: 5000 })).rejects.toMatchObject({
        code: expect.stringMatching(/^(EPIPE|ECONNRESET)$/) as string,
        sent: 0,
      });
    });

    test('rejects when a file is shorter than its chunk', async () => {
      const pair = await connected('unix');
      fs.writeFileSync(join(folder, 'file'), 'short');
      const chunks = [{ file: open('file', 'r'), offset: 0, length: 6 }];
      const socket = descriptorOf(pair.near);
      await expect(addon.sendFrames({ socket, chunks, deadlineMs: 5000 })).rejects.toMatchObject({
        ...{ code: 'ENODATA', syscall: 'sendfile', sent: 5 },
      });
    });

    test('keeps the buffers alive and the files open until it ends', async () => {
      const pair = await connected('unix');
      fs.writeFileSync(join(folder, 'file'), payloadOf(MiB, 4));
      const fd = fs.openSync(join(folder, 'file'), 'r');
      const chunks = Array.from({ length: 50 }, (_, i) => ({ bytes: payloadOf(100_000, i) }));
      const whole = Buffer.concat([...chunks.map((chunk) => chunk.bytes), payloadOf(MiB, 4)]);
      const list = [...chunks, { file: fd, offset: 0, length: MiB }];
      const socket = descriptorOf(pair.near);
      const sending = addon.sendFrames({ socket, chunks: list, deadlineMs: 10_000 });
      chunks.length = 0;
      list.length = 0;
      fs.closeSync(fd);
      for (let i = 0; i < 20; i += 1) Buffer.from(new ArrayBuffer(MiB)).fill(i);
      (globalThis as { gc?: () => void }).gc?.();
      const read = readSlowly(pair.far, 65_536, 0);
      await sending;
      pair.near.end();
      expect((await read).equals(whole)).toBe(true);
    });

    test('refuses bad chunks at the call', () => {
      const send = addon.sendFrames as unknown as (...values: unknown[]) => unknown;
      const bad = [null, 5, {}, { bytes: 'text' }, { file: 1 }, { file: 1, offset: 0 }];
      expect(() => send({ socket: 1, deadlineMs: 1 })).toThrow(TypeError);
      for (const chunk of bad) {
        expect(() => send({ socket: 1, chunks: [chunk], deadlineMs: 1 })).toThrow(TypeError);
      }
    });
  });
});
