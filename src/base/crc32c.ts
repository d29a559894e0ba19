/**
 * CRC-32C (Castagnoli polynomial, RFC 3720 B.4), the checksum of headers and payloads.
 *
 * The addon computes it with the processor's instruction; without the addon, and for a few bytes
 * where crossing into native code costs more than it saves, tables of eight do. Both give the same
 * number. It finds accidents, not attacks: anyone can make bytes with a given CRC.
 */

import { native } from './addon.ts';

const polynomial = 0x82f63b78;

/** Below this, the tables are faster than the call into the addon: both take 0.12 us here. */
const nativeFromBytes = 144;

/** slices[row * 256 + byte]: what `byte` does to the register, `row` more bytes later. */
const slices = makeSlices();

function makeSlices(): Uint32Array {
  const table = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : polynomial);
    table[byte] = crc >>> 0;
  }
  for (let index = 256; index < table.length; index += 1) {
    const before = table[index - 256] ?? 0;
    table[index] = (before >>> 8) ^ (table[before & 0xff] ?? 0);
  }
  return table;
}

/**
 * The CRC-32C of `data`, by tables alone. `seed` is the checksum of what comes before it.
 * Exported so that a test can hold the two ways against each other.
 */
export function crc32cByTables(data: Uint8Array, seed = 0): number {
  const t = slices;
  const length = data.length;
  let crc = ~seed;
  let i = 0;
  // Non-null by the bounds of the loop: this is the one place where the checks would cost half.
  for (; i + 8 <= length; i += 8) {
    crc ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24);
    crc =
      t[1792 + (crc & 0xff)]! ^
      t[1536 + ((crc >>> 8) & 0xff)]! ^
      t[1280 + ((crc >>> 16) & 0xff)]! ^
      t[1024 + (crc >>> 24)]! ^
      t[768 + data[i + 4]!]! ^
      t[512 + data[i + 5]!]! ^
      t[256 + data[i + 6]!]! ^
      t[data[i + 7]!]!;
  }
  for (; i < length; i += 1) crc = (crc >>> 8) ^ t[(crc ^ data[i]!) & 0xff]!;
  return ~crc >>> 0;
}

/**
 * The CRC-32C of `data` as an unsigned 32-bit number; crc32c(b, crc32c(a)) is that of a then b.
 */
export function crc32c(data: Uint8Array, seed = 0): number {
  if (native !== null && data.length >= nativeFromBytes) return native.crc32c(data, seed);
  return crc32cByTables(data, seed);
}

/** Product of two polynomials modulo the CRC's, bits reflected. */
function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) === 0 ? factor >>> 1 : (factor >>> 1) ^ polynomial;
  }
  return product >>> 0;
}

/**
 * The CRC-32C of a followed by b from the checksums of both and b's length in bytes, without the
 * bytes: the first is moved over 8 * secondBytes bits, by squaring.
 */
export function crc32cCombine(first: number, second: number, secondBytes: number): number {
  let power = 0x00800000; // x to the 8th: one byte
  let shift = 0x80000000; // one
  for (let rest = secondBytes; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) shift = multiply(shift, power);
    power = multiply(power, power);
  }
  return (multiply(first >>> 0, shift) ^ second) >>> 0;
}
