/**
 * CRC-32C: published vectors, the tables against the addon over lengths and alignments, chaining
 * and combining. Without the addon the tables alone are held against the vectors and themselves.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { crc32c, crc32cByTables, crc32cCombine } from '../../../src/base/crc32c.ts';

/** RFC 3720 B.4, and the check value of the CRC catalogue. */
const vectors: readonly (readonly [string, Uint8Array, number])[] = [
  ['nothing', new Uint8Array(0), 0],
  ['123456789', Buffer.from('123456789'), 0xe3069283],
  ['32 zeros', new Uint8Array(32), 0x8a9136aa],
  ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['32 rising', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
  ['32 falling', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
];

/** Bytes that repeat only after a long time, from a seed that a failing test prints. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

describe('crc32c', () => {
  test.each(vectors)('of %s', (_name, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
    expect(crc32cByTables(bytes)).toBe(expected);
  });

  test('chains: the checksum so far is the seed of the rest', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, at) => {
        const whole = crc32c(bytes);
        expect(crc32c(bytes.subarray(at), crc32c(bytes.subarray(0, at)))).toBe(whole);
        expect(crc32cByTables(bytes.subarray(at), crc32cByTables(bytes.subarray(0, at)))).toBe(
          whole,
        );
      }),
    );
  });

  test('combines from the checksums alone', () => {
    const bytes = noise(70_000, 7);
    for (const at of [0, 1, 7, 8, 255, 4096, 65_536, 69_999, 70_000]) {
      const second = bytes.subarray(at);
      const combined = crc32cCombine(crc32c(bytes.subarray(0, at)), crc32c(second), second.length);
      expect(combined).toBe(crc32c(bytes));
    }
  });
});

describe.skipIf(native === null)(`crc32c of the addon ${addonReason}`, () => {
  test('is that of the tables for every length, alignment and seed', () => {
    const bytes = noise(100_000, 42);
    const lengths = fc.oneof(
      fc.nat(1000),
      fc.nat(90_000),
      fc.integer({ min: 24_570, max: 24_590 }),
    );
    fc.assert(
      fc.property(
        lengths,
        fc.nat(17),
        fc.integer({ min: 0, max: 0xffffffff }),
        (length, at, seed) => {
          const part = bytes.subarray(at, at + length);
          expect(native?.crc32c(part, seed)).toBe(crc32cByTables(part, seed));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is that of the tables for a large block', () => {
    const bytes = noise(1_048_576 + 13, 3);
    expect(native?.crc32c(bytes)).toBe(crc32cByTables(bytes));
  });

  test('refuses what is not bytes', () => {
    const call = native?.crc32c as unknown as (...values: unknown[]) => number;
    const bad = [undefined, null, 'abc', 5, new Uint16Array(4), new DataView(new ArrayBuffer(4))];
    for (const value of bad) expect(() => call(value)).toThrow(TypeError);
    expect(() => call(new Uint8Array(1), -1)).toThrow(TypeError);
    expect(() => call(new Uint8Array(1), 1.5)).toThrow(TypeError);
    expect(() => call(new Uint8Array(1), 2 ** 32)).toThrow(TypeError);
  });
});
