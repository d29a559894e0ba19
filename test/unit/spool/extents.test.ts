/**
 * The overlay of one file, against a model that plays the same operations over an array of bytes:
 * for every prefix the next hop has applied and every shorter one it has released, overlay and
 * remaining file together are the file with all operations applied.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAGS, KIND } from '../../../src/protocol/operation.ts';
import {
  FileOverlay,
  sizeOver,
  type LiveOperation,
  type Piece,
} from '../../../src/spool/extents.ts';

const { CREATE, TRUNCATE } = FLAGS;

function write(seq: number, parts: Partial<LiveOperation>): LiveOperation {
  return {
    seq,
    kind: KIND.write,
    flags: 0,
    path: 'f',
    path2: '',
    offset: 0,
    size: 0,
    mode: 0,
    mtimeNs: 0n,
    payloadBytes: 0,
    payloadSegment: 1,
    payloadOffset: 0,
    ...parts,
  };
}

/** Byte `at` of the payload of operation `seq`; never zero. */
function payloadByte(seq: number, at: number): number {
  return ((seq * 31 + at * 7) % 255) + 1;
}

/** The bytes of the file after `op`. */
function play(bytes: readonly number[], op: LiveOperation): number[] {
  const next = bytes.slice();
  const grow = (size: number) => {
    while (next.length < size) next.push(0);
  };
  if ((op.flags & TRUNCATE) !== 0) {
    next.length = Math.min(next.length, op.size);
    grow(op.size);
  }
  if (op.payloadBytes > 0) grow(op.offset + op.payloadBytes);
  for (let i = 0; i < op.payloadBytes; i++) next[op.offset + i] = payloadByte(op.seq, i);
  return next;
}

function bytesOf(pieces: readonly Piece[], base: readonly number[]): number[] {
  const bytes: number[] = [];
  for (const piece of pieces) {
    for (let at = piece.start; at < piece.end; at++) {
      if (piece.from === 'base') bytes.push(base[at] ?? 0);
      else if (piece.from === 'hole') bytes.push(0);
      else bytes.push(payloadByte(piece.op.seq, piece.at + at - piece.start));
    }
  }
  return bytes;
}

function short(pieces: readonly Piece[]): string {
  return pieces
    .map((p) => `${p.from === 'operation' ? `${p.op.seq}@${p.at}` : p.from}[${p.start},${p.end})`)
    .join(' ');
}

describe('extents', () => {
  test('a newer write covers an older one and splits it', () => {
    const overlay = new FileOverlay();
    overlay.apply(write(1, { offset: 10, payloadBytes: 30 }), false);
    overlay.apply(write(2, { offset: 20, payloadBytes: 5 }), false);
    expect(short(overlay.plan(5, 40))).toBe(
      'base[5,10) 1@0[10,20) 2@0[20,25) 1@15[25,40) base[40,45)',
    );
    expect(overlay.size(3)).toBe(40);
    expect(overlay.size(100)).toBe(100);
    expect(overlay.pendingBytes).toBe(35);
  });

  test('the base does not come back from behind a truncation that a later one grows', () => {
    const overlay = new FileOverlay();
    overlay.apply(write(1, { flags: TRUNCATE, size: 10 }), false);
    overlay.apply(write(2, { flags: TRUNCATE, size: 100 }), false);
    expect(overlay.baseLimit).toBe(10);
    expect(overlay.size(1000)).toBe(100);
    expect(short(overlay.plan(0, 100))).toBe('base[0,10) hole[10,100)');
    const first = write(1, { flags: TRUNCATE, size: 10 });
    const before = overlay.sizeRule;
    expect(before).toEqual({ isFixed: true, atLeast: 100 });
    overlay.release(first);
    overlay.sweep();
    expect(overlay.baseLimit).toBe(100);
    overlay.release(write(2, { flags: TRUNCATE, size: 100 }));
    overlay.sweep();
    expect(overlay.sizeRule).toEqual({ isFixed: false, atLeast: 0 });
    expect(sizeOver(before, 10)).toBe(100);
    expect(overlay.size(1000)).toBe(1000);
  });

  test('a truncation cuts pending bytes, and growing again shows zeros', () => {
    const overlay = new FileOverlay();
    overlay.apply(write(1, { offset: 0, payloadBytes: 50 }), false);
    overlay.apply(write(2, { flags: TRUNCATE, size: 20 }), false);
    overlay.apply(write(3, { offset: 40, payloadBytes: 5 }), false);
    expect(short(overlay.plan(0, 45))).toBe('1@0[0,20) hole[20,40) 3@0[40,45)');
  });

  test('a new file has nothing of the next hop, a repeated sweep changes nothing', () => {
    const overlay = new FileOverlay();
    const made = write(1, { flags: CREATE, offset: 4, payloadBytes: 4 });
    overlay.apply(made, true);
    expect(overlay.size(77)).toBe(8);
    expect(short(overlay.plan(0, 8))).toBe('hole[0,4) 1@0[4,8)');
    overlay.release(made);
    overlay.sweep();
    overlay.sweep();
    expect(overlay.isEmpty).toBe(true);
    expect(overlay.pendingBytes).toBe(0);
    expect(overlay.size(77)).toBe(77);
  });

  test('the next hop is not asked for what its file does not have', () => {
    const overlay = new FileOverlay();
    overlay.apply(write(1, { offset: 20, payloadBytes: 5 }), false);
    expect(short(overlay.plan(0, 30, 8))).toBe('base[0,8) hole[8,20) 1@0[20,25) hole[25,30)');
    expect(overlay.plan(7, 0, 8)).toEqual([]);
  });

  test('offsets beyond 2^32 are kept exactly', () => {
    const overlay = new FileOverlay();
    const far = 5 * 2 ** 40 + 3;
    overlay.apply(write(1, { offset: far, payloadBytes: 10 }), false);
    overlay.apply(write(2, { offset: far + 4, payloadBytes: 2 }), false);
    expect(overlay.size(0)).toBe(far + 10);
    expect(overlay.plan(far, 10).map((piece) => piece.end - piece.start)).toEqual([4, 2, 4]);
  });

  test('thousands of scattered writes, overwritten, cut and released, stay in order', () => {
    const blocks = 4_000;
    const overlay = new FileOverlay();
    const base: readonly number[] = new Array<number>(blocks * 2).fill(200);
    const ops: LiveOperation[] = [];
    // 1,597 has no factor in common with 4,000: every block once, in scattered order.
    for (let i = 0; i < blocks; i++) {
      ops.push(write(i + 1, { offset: ((i * 1_597) % blocks) * 2, payloadBytes: 1 + (i % 4) }));
    }
    ops.push(write(blocks + 1, { offset: 1_001, payloadBytes: 3_000 }));
    ops.push(write(blocks + 2, { flags: TRUNCATE, size: 7_001 }));
    ops.push(write(blocks + 3, { offset: 5_000, payloadBytes: 1 }));
    ops.forEach((op) => overlay.apply(op, false));
    const whole = ops.reduce(play, base);
    for (const released of [0, 1_000, 3_990, blocks + 1, blocks + 2, blocks + 3]) {
      ops.slice(0, released).forEach((op) => overlay.release(op));
      overlay.sweep();
      const there = ops.slice(0, released).reduce(play, base);
      expect(overlay.size(there.length)).toBe(whole.length);
      expect(bytesOf(overlay.plan(0, whole.length), there)).toEqual(whole);
      expect(bytesOf(overlay.plan(900, 200), there)).toEqual(whole.slice(900, 1_100));
    }
    expect(overlay.isEmpty).toBe(true);
  });

  const step = fc.record({
    truncates: fc.integer({ min: 0, max: 3 }).map((value) => value === 0),
    size: fc.nat(24),
    offset: fc.nat(20),
    payloadBytes: fc.nat(8),
  });

  test('overlay and what is left of the file are the file, whatever was delivered', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(255), { maxLength: 20 }),
        fc.boolean(),
        fc.array(step, { minLength: 1, maxLength: 12 }),
        fc.array(fc.nat(12), { maxLength: 3 }),
        fc.nat(12),
        (base, isNew, steps, releases, ahead) => {
          const ops = steps.map((parts, i) =>
            write(i + 1, { ...parts, flags: parts.truncates ? TRUNCATE : 0 }),
          );
          const overlay = new FileOverlay();
          ops.forEach((op, i) => overlay.apply(op, isNew && i === 0));
          const first = isNew ? [] : base;
          const whole = ops.reduce(play, first);
          let released = 0;
          for (const count of [0, ...releases]) {
            const upTo = Math.min(ops.length, released + count);
            ops.slice(released, upTo).forEach((op) => overlay.release(op));
            overlay.sweep();
            released = upTo;
            const delivered = Math.min(ops.length, released + ahead);
            // A new file's former namesake is what the next hop has until the file gets there.
            const there = delivered === 0 ? base : ops.slice(0, delivered).reduce(play, first);
            const size = overlay.size(there.length);
            expect(size).toBe(whole.length);
            for (const pieces of [overlay.plan(0, size), overlay.plan(0, size, there.length)]) {
              let at = 0;
              for (const piece of pieces) {
                if (piece.start !== at || piece.end <= at) throw new Error(`gap at ${at}`);
                at = piece.end;
              }
              expect(at).toBe(size);
              expect(bytesOf(pieces, there)).toEqual(whole);
            }
            const from = Math.min(3, size);
            expect(bytesOf(overlay.plan(from, size - from), there)).toEqual(whole.slice(from));
            const rest = ops.slice(released);
            expect(overlay.pendingBytes).toBe(rest.reduce((sum, op) => sum + op.payloadBytes, 0));
            if (rest.length === 0) expect(overlay.isEmpty).toBe(true);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});
