/**
 * The window of uncommitted records: framing, numbering, what a resend contains, and how much is
 * kept. Pure, so sequences of operations are made up at random and held against a plain list.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PutWindow, type WindowFrame } from '../../../src/client/window.ts';
import { crc32c } from '../../../src/base/crc32c.ts';
import { limits } from '../../../src/base/limits.ts';
import { FRAME_FLAGS, FrameReader, PREFIX_BYTES } from '../../../src/protocol/frame.ts';
import { decodeHead, FLAGS, KIND, measure, operation } from '../../../src/protocol/operation.ts';

interface Seen {
  readonly seq: number;
  readonly payload: Buffer;
  readonly flags: number;
  readonly repeated: boolean;
}

const write = (path = 'f') => operation({ kind: KIND.write, name: 'far', path });

/** All frames still to be sent, taken apart as a server does. */
function drain(window: PutWindow): Seen[] {
  const seen: Seen[] = [];
  window.closeBatch();
  for (let frame = window.next(); frame !== null; frame = window.next()) seen.push(...open(frame));
  return seen;
}

function open(frame: WindowFrame): Seen[] {
  const reader = new FrameReader();
  reader.bodyBytesMax = limits.frameBytesMax;
  for (const part of frame.parts) reader.push(part);
  const whole = reader.next();
  if (whole === null || reader.pendingBytes > 0) throw new Error('not one whole frame');
  const seen: Seen[] = [];
  for (let at = 0; at < whole.body.length;) {
    const size = measure(whole.body, at);
    const head = decodeHead(whole.body, at);
    if (size === null || typeof head === 'string') throw new Error(String(head));
    const payload = whole.body.subarray(at + size.head, at + size.total);
    if ((head.flags & FLAGS.EXTERNAL) === 0) expect(crc32c(payload)).toBe(head.payloadCrc);
    const repeated = (whole.flags & FRAME_FLAGS.REPEATED) !== 0;
    seen.push({ seq: head.seq, payload: Buffer.from(payload), flags: head.flags, repeated });
    at += size.total;
  }
  if (seen.some(({ payload }) => payload.length > limits.inlinePayloadBytesMax)) {
    expect(seen).toHaveLength(1);
  }
  expect(whole.body.length).toBeLessThanOrEqual(limits.frameBytesMax);
  return seen;
}

describe('framing', () => {
  test('small records share a frame up to the batch size, a large one has its own', () => {
    const window = new PutWindow();
    for (let i = 0; i < 10; i += 1) window.append(write(), Buffer.alloc(60_000, i), null);
    window.append(write(), Buffer.alloc(1 << 20, 7), null);
    window.append(write(), Buffer.from('tail'), null);
    window.closeBatch();
    const frames: number[] = [];
    for (let frame = window.next(); frame !== null; frame = window.next()) {
      frames.push(frame.lastSeq - frame.firstSeq + 1);
      const bytes = frame.parts.reduce((sum, part) => sum + part.length, 0);
      if (frame.lastSeq > frame.firstSeq) expect(bytes).toBeLessThan(limits.batchBytes + 1024);
    }
    expect(frames).toEqual([4, 4, 2, 1, 1]);
  });

  test('the bytes are copied unless they are owned', () => {
    const window = new PutWindow();
    const small = Buffer.from('before');
    const large = Buffer.alloc(100_000, 1);
    window.append(write(), small, null);
    window.append(write(), large, null);
    small.fill(0);
    large.fill(2);
    expect(drain(window).map(({ payload }) => payload[0])).toEqual(['b'.charCodeAt(0), 1]);
  });

  test('a place is kept as a head alone, and its file is remembered for a resend', () => {
    const window = new PutWindow();
    const place = { segment: 9, offset: 4096, file: '/spool/9' };
    window.append({ ...write(), payloadBytes: 1 << 20, payloadCrc: 1 }, null, place);
    expect(window.heldBytes).toBeLessThan(1024);
    window.closeBatch();
    const frame = window.next() as WindowFrame;
    expect(frame.segmentFiles?.get(9)).toBe('/spool/9');
    expect(open(frame)[0]?.flags).toBe(FLAGS.EXTERNAL);
  });

  test('what is no sound operation is refused and takes no number', () => {
    const window = new PutWindow();
    const bad = [
      () => window.append(write('a/../b'), null, null),
      () => window.append({ ...write(), name: '' }, null, null),
      () => window.append({ ...write(), offset: 2 ** 53 }, null, null),
      () => window.append({ ...write(), payloadBytes: 5 }, null, null),
      () => window.append(operation({ kind: KIND.remove, name: 'far', path: '' }), null, null),
    ];
    for (const append of bad) {
      expect(append).toThrow(expect.objectContaining({ code: 'USAGE' }));
    }
    const tooLarge = () => window.append(write(), Buffer.alloc((1 << 20) + 1), null);
    expect(tooLarge).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
    expect(window.append(write(), null, null)).toBe(1);
  });
});

describe('commit and resend', () => {
  test('a committed record is never sent again, the others are, marked as repeated', () => {
    const window = new PutWindow();
    for (let i = 0; i < 3; i += 1) {
      window.append(write(), Buffer.from(`${i}`), null);
      window.closeBatch();
    }
    expect(drain(window).every(({ repeated }) => !repeated)).toBe(true);
    window.commit(1);
    window.append(write(), Buffer.from('3'), null);
    window.rewind(0);
    const again = drain(window);
    expect(again.map(({ seq, repeated }) => [seq, repeated])).toEqual([
      [2, true],
      [3, true],
      [4, false],
    ]);
  });

  test('what the server says it has taken is not sent, but kept until it is committed', () => {
    const window = new PutWindow();
    for (let i = 0; i < 4; i += 1) {
      window.append(write(), null, null);
      window.closeBatch();
    }
    window.rewind(3);
    expect(drain(window).map(({ seq }) => seq)).toEqual([4]);
    window.rewind(0);
    expect(drain(window).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
  });

  test('small batches do not keep large buffers', () => {
    const window = new PutWindow();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 1_000; i += 1) {
      window.append(write(), Buffer.from('x'), null);
      window.closeBatch();
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 << 20);
  });

  type Step = { readonly put: number } | { readonly close: true } | { readonly send: true };
  type Event = Step | { readonly commit: number } | { readonly lost: number };

  test('any history: all above the commit comes again, once, in order, whole', () => {
    const event: fc.Arbitrary<Event> = fc.oneof(
      { weight: 6, arbitrary: fc.record({ put: fc.nat(90_000) }) },
      fc.constant({ close: true } as const),
      fc.constant({ send: true } as const),
      fc.record({ commit: fc.nat(100) }),
      fc.record({ lost: fc.nat(100) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const window = new PutWindow();
        const lengths: number[] = [];
        let sent = 0;
        for (const step of events) {
          if ('put' in step) {
            lengths.push(step.put);
            window.append(write(), Buffer.alloc(step.put, lengths.length), null);
          } else if ('close' in step) window.closeBatch();
          else if ('send' in step) {
            for (const { seq } of drain(window)) sent = Math.max(sent, seq);
          } else if ('commit' in step && sent > 0) {
            // A commit covers whole frames: all that was sent.
            window.commit(sent);
          } else if ('lost' in step) {
            window.rewind(0);
          }
        }
        window.rewind(0);
        const floor = window.committedSeq;
        const seqs = drain(window).map(({ seq, payload }) => {
          expect(payload.length).toBe(lengths[seq - 1]);
          return seq;
        });
        expect(seqs).toEqual(lengths.map((_, i) => i + 1).filter((seq) => seq > floor));
        expect(window.lastSeq).toBe(lengths.length);
        window.commit(window.lastSeq);
        expect(window.isEmpty).toBe(true);
        expect(window.heldBytes).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test('the prefix of a frame says its length', () => {
    const window = new PutWindow();
    window.append(write(), Buffer.from('abc'), null);
    window.closeBatch();
    const [bytes] = (window.next() as WindowFrame).parts;
    expect(bytes?.readUInt32LE(0)).toBe((bytes?.length ?? 0) - PREFIX_BYTES);
  });
});
