/**
 * Large blocks on their way through the addon, and the same frames on the normal way: any mixture
 * arrives whole and in order over TCP and Unix sockets, however the bytes are cut, sent from memory
 * or from files. Everything is run with the addon and with KANGAROO_NO_ADDON=1.
 */
import fc from 'fast-check';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { native as addon, type NativeAddon } from '../../../src/base/addon.ts';
import { crc32c } from '../../../src/base/crc32c.ts';
import { NEVER } from '../../../src/base/deadline.ts';
import { limits } from '../../../src/base/limits.ts';
import type { Chunk, Connection } from '../../../src/protocol/connection.ts';
import { encodePrefix, PREFIX_BYTES, PUTS_TYPE } from '../../../src/protocol/frame.ts';
import { encodeMessage, MESSAGES } from '../../../src/protocol/messages.ts';
import { decodeHead, FLAGS, HEADER_BYTES, KIND, measure } from '../../../src/protocol/operation.ts';
import { socketPair } from '../../support/socket-pair.ts';
import { incoming } from '../../support/spool-case.ts';

const BURST_BYTES = 16 * 1024 * 1024;
const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0))
    rmSync(directory, { recursive: true, force: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

/** What came out at the far end: number and payload checksum of records, type of other frames. */
type Seen = readonly [number, number] | number;

interface Item {
  readonly path: string;
  readonly sizes: readonly number[];
  readonly fromFile: boolean;
  readonly isControl: boolean;
}

const item: fc.Arbitrary<Item> = fc.oneof(
  // Large blocks, one a frame, mostly of one file: what bursts are made of.
  fc.record({
    path: fc.constantFrom('big', 'big', 'other'),
    sizes: fc.array(fc.integer({ min: limits.inlinePayloadBytesMax + 1, max: 300_000 }), {
      minLength: 1,
      maxLength: 1,
    }),
    fromFile: fc.boolean(),
    isControl: fc.constant(false),
  }),
  fc.record({
    path: fc.constantFrom('small', 'big'),
    sizes: fc.array(fc.nat(3_000), { minLength: 1, maxLength: 8 }),
    fromFile: fc.constant(false),
    isControl: fc.constant(false),
  }),
  fc.record({
    path: fc.constant(''),
    sizes: fc.constant([]),
    fromFile: fc.constant(false),
    isControl: fc.constant(true),
  }),
);

class Scene {
  readonly seen: Seen[] = [];
  readonly expected: Seen[] = [];
  bulkCount = 0;
  #lastSeq = 0;
  readonly #fd: number;
  readonly #file: number;
  #fileBytes = 0;
  #spoolBytes = 0;

  constructor() {
    const directory = mkdtempSync(join(tmpdir(), 'kangaroo-bulk-'));
    directories.push(directory);
    this.#fd = openSync(join(directory, 'received'), 'w+');
    this.#file = openSync(join(directory, 'to-send'), 'w+');
  }

  /** The item as chunks to send; what has to come out is noted. */
  chunks({ path, sizes, fromFile, isControl }: Item): Chunk[] {
    if (isControl) {
      this.expected.push(MESSAGES.BYE.type);
      return [{ bytes: encodeMessage('BYE', {}) }];
    }
    const records = sizes.map((size) => {
      const seq = ++this.#lastSeq;
      const payload = Buffer.alloc(size, `${seq}-`);
      this.expected.push([seq, crc32c(payload)]);
      const { bytes } = incoming(seq, path, payload, { offset: seq * 7 });
      return { bytes, head: bytes.length - size, size };
    });
    const length = records.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const prefix = encodePrefix(PUTS_TYPE, 0, length, 0);
    if (!fromFile)
      return [{ bytes: Buffer.concat([prefix, ...records.map(({ bytes }) => bytes)]) }];
    const [{ bytes, head, size } = { bytes: prefix, head: 0, size: 0 }] = records;
    const offset = this.#fileBytes;
    writeSync(this.#file, bytes, head, size, offset);
    this.#fileBytes += size;
    const first = Buffer.concat([prefix, bytes.subarray(0, head)]);
    return [{ bytes: first }, { file: this.#file, offset, length: size }];
  }

  /**
   * Receives as a server does: large blocks by the addon into a file, the rest record by record.
   */
  attach(connection: Connection, native: NativeAddon | null): void {
    connection.welcome();
    connection.onFrame = ({ type, body }) => {
      if (type !== PUTS_TYPE) this.seen.push(type);
      else this.#records(body);
    };
    if (native === null) return;
    connection.onBulk = (head, socket) => {
      const first = decodeHead(head, PREFIX_BYTES);
      if (typeof first === 'string') return null;
      return this.#burst(native, head, socket, first.name.length, first.path.length);
    };
  }

  close(): void {
    closeSync(this.#fd);
    closeSync(this.#file);
  }

  #records(body: Buffer): void {
    for (let at = 0; at < body.length;) {
      const { head: headBytes, total } = measure(body, at) as { head: number; total: number };
      const head = decodeHead(body, at);
      if (typeof head === 'string') throw new Error(head);
      this.seen.push([head.seq, crc32c(body.subarray(at + headBytes, at + total))]);
      at += total;
    }
  }

  async #burst(
    native: NativeAddon,
    head: Buffer,
    socket: number,
    nameBytes: number,
    pathBytes: number,
  ): Promise<Buffer> {
    this.bulkCount += 1;
    const names = PREFIX_BYTES + HEADER_BYTES;
    const burst = await native.receiveBurst({
      socket,
      head,
      template: head.subarray(names, names + nameBytes + pathBytes),
      templateNameBytes: nameBytes,
      kind: KIND.write,
      version: 1,
      flagsAllowed: FLAGS.CREATE,
      maxBlocks: 4,
      deadlineMs: 10_000,
      putsType: PUTS_TYPE,
      file: this.#fd,
      mode: 'append',
      fileOffset: this.#spoolBytes,
      capacityBytes: BURST_BYTES,
      earlyWriteback: false,
    });
    for (const [i, record] of burst.records.entries()) {
      const decoded = decodeHead(Buffer.from(record.buffer, record.byteOffset, record.byteLength));
      if (typeof decoded === 'string') throw new Error(decoded);
      const payload = Buffer.alloc(decoded.payloadBytes);
      const at = burst.placed[i] as number;
      readSync(this.#fd, payload, 0, payload.length, at);
      this.seen.push([decoded.seq, crc32c(payload)]);
      this.#spoolBytes = at + payload.length;
    }
    return burst.leftover;
  }
}

/** The module as a program without the addon would load it. */
async function load(withAddon: boolean): Promise<{
  readonly Connection: new (socket: Connection['socket'], peer: string) => Connection;
  readonly native: NativeAddon | null;
}> {
  if (!withAddon) vi.stubEnv('KANGAROO_NO_ADDON', '1');
  vi.resetModules();
  const { Connection: made } = await import('../../../src/protocol/connection.ts');
  const { native } = await import('../../../src/base/addon.ts');
  return { Connection: made, native };
}

const modes = [true, false].flatMap((withAddon) =>
  (['tcp', 'unix'] as const).map((kind) => ({ withAddon, kind })),
);

describe.each(modes)('over $kind, addon: $withAddon', ({ withAddon, kind }) => {
  test.skipIf(withAddon && addon === null)('any mixture arrives whole and in order', async () => {
    const { Connection: Made, native } = await load(withAddon);
    expect(native !== null).toBe(withAddon);
    let bursts = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(item, { minLength: 1, maxLength: 14 }),
        fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 6 }),
        async (items, cuts) => {
          const sockets = await socketPair(kind);
          const scene = new Scene();
          try {
            const near = new Made(sockets.near, 'far');
            const far = new Made(sockets.far, 'near');
            scene.attach(far, native);
            sockets.far.resume();
            for (const one of items) await sendCut(near, scene.chunks(one), cuts);
            const end = performance.now() + 8_000;
            while (scene.seen.length < scene.expected.length && performance.now() < end)
              await pause(1);
            expect(scene.seen).toEqual(scene.expected);
            bursts += scene.bulkCount;
            near.close(null);
            expect(await far.closed).toBeNull();
          } finally {
            sockets.close();
            scene.close();
          }
        },
      ),
      { numRuns: 20 },
    );
    // Else this would say nothing about the addon.
    expect(bursts > 0).toBe(withAddon);
  });
});

/** Buffers leave in pieces, so that heads come alone and blocks in two; files as they are sent. */
async function sendCut(
  connection: Connection,
  chunks: readonly Chunk[],
  cuts: readonly number[],
): Promise<void> {
  if (chunks.some((chunk) => 'file' in chunk)) {
    await connection.sendChunks(chunks, NEVER);
    return;
  }
  for (const chunk of chunks) {
    if (!('bytes' in chunk)) continue;
    let from = 0;
    for (const cut of cuts) {
      if (from + cut >= chunk.bytes.length) break;
      connection.sendBytes(Buffer.from(chunk.bytes.subarray(from, from + cut)));
      from += cut;
      if (cut % 3 === 0) await pause(0);
    }
    connection.sendBytes(Buffer.from(chunk.bytes.subarray(from)));
    await connection.roomToSend();
  }
}

describe.skipIf(addon === null)('a bulk send', () => {
  test('waits for a peer that does not read as long as that shows that it lives', async () => {
    const { Connection: Made } = await load(true);
    const sockets = await socketPair('tcp');
    const scene = new Scene();
    const { limits: mine } = await import('../../../src/base/limits.ts');
    const silence = mine as { linkSilenceMs: number };
    const kept = silence.linkSilenceMs;
    silence.linkSilenceMs = 120;
    try {
      const near = new Made(sockets.near, 'far');
      const big = { path: 'big', sizes: [1_000_000], fromFile: true, isControl: false };
      const alive = setInterval(() => sockets.far.write(encodeMessage('PING', {})), 30);
      let sent = 0;
      const sending = (async () => {
        for (; sent < 12; sent++) await near.sendChunks(scene.chunks(big), NEVER);
      })();
      await pause(500);
      expect(sent).toBeLessThan(12);
      expect(near.isOpen).toBe(true);
      const far = new Made(sockets.far, 'near');
      scene.attach(far, null);
      sockets.far.resume();
      await sending;
      while (scene.seen.length < 12) await pause(1);
      expect(scene.seen).toEqual(scene.expected);
      clearInterval(alive);
    } finally {
      silence.linkSilenceMs = kept;
      sockets.close();
      scene.close();
    }
  });

  test('to a dead peer ends after the silence', async () => {
    const { Connection: Made } = await load(true);
    const { limits: mine } = await import('../../../src/base/limits.ts');
    const silence = mine as { linkSilenceMs: number };
    const kept = silence.linkSilenceMs;
    silence.linkSilenceMs = 120;
    const sockets = await socketPair('unix');
    const scene = new Scene();
    try {
      const near = new Made(sockets.near, 'far');
      const big = { path: 'big', sizes: [1_000_000], fromFile: true, isControl: false };
      const sending = (async () => {
        for (;;) await near.sendChunks(scene.chunks(big), NEVER);
      })();
      await expect(sending).rejects.toMatchObject({ code: 'DISCONNECTED' });
    } finally {
      silence.linkSilenceMs = kept;
      sockets.close();
      scene.close();
    }
  });
});
