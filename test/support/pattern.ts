/**
 * Payload that says what it is: every 512 bytes of a file carry who wrote them and where they
 * belong.
 *
 *   0      4      8           12     16     20           28     32                      512
 *   | KGsc | seed | generation| file | put  | offset u64 | hash | pseudo-random filling |
 *
 * Each byte is a function of seed, generation, file, put and offset in the file, so that any of
 * them can be computed again, and bytes that are torn, stale, misdirected, zero or invented give
 * themselves away (the idea of `fio --verify`). Numbers are little-endian. Pure.
 */
import { mix } from './prng.ts';

const SECTOR_BYTES = 512;
const HEAD_BYTES = 32;
const MAGIC = 0x6373474b;

/** Who wrote a piece of a file. */
export interface Source {
  readonly seed: number;
  /** Which client process. */
  readonly generation: number;
  /** The file, whatever its name is now. */
  readonly file: number;
  /** The put. */
  readonly put: number;
}

export interface Sector extends Source {
  readonly offset: number;
}

/** The bytes that `source` puts at [offset, offset + length) of its file. */
export function payload(source: Source, offset: number, length: number): Buffer {
  const first = Math.floor(offset / SECTOR_BYTES);
  const last = Math.floor((offset + length - 1) / SECTOR_BYTES);
  const bytes = Buffer.alloc(Math.max(0, (last - first + 1) * SECTOR_BYTES));
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let sector = first; sector <= last; sector++) {
    fill(words, ((sector - first) * SECTOR_BYTES) / 4, source, sector);
  }
  const skip = offset - first * SECTOR_BYTES;
  return bytes.subarray(skip, skip + length);
}

function fill(words: Uint32Array, at: number, source: Source, sector: number): void {
  const offset = sector * SECTOR_BYTES;
  words[at] = MAGIC;
  words[at + 1] = source.seed;
  words[at + 2] = source.generation;
  words[at + 3] = source.file;
  words[at + 4] = source.put;
  words[at + 5] = offset >>> 0;
  words[at + 6] = Math.floor(offset / 2 ** 32);
  const hash = hashOf(words, at);
  words[at + 7] = hash;
  let state = hash | 1;
  for (let i = HEAD_BYTES / 4; i < SECTOR_BYTES / 4; i++) {
    // xorshift32: cheap, and no two sectors have the same filling.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at + i] = state >>> 0;
  }
}

function hashOf(words: Uint32Array, at: number): number {
  let hash = 0;
  for (let i = 0; i < HEAD_BYTES / 4 - 1; i++) hash = mix(hash ^ (words[at + i] ?? 0));
  return hash;
}

/** What the sector at `at` says it is; null when its head is not whole. */
export function identify(bytes: Buffer, at: number): Sector | null {
  if (at + HEAD_BYTES > bytes.length) return null;
  const words = new Uint32Array(HEAD_BYTES / 4);
  for (let i = 0; i < words.length; i++) words[i] = bytes.readUInt32LE(at + i * 4);
  const [magic = 0, seed = 0, generation = 0, file = 0, put = 0, low = 0, high = 0, hash] = words;
  if (magic !== MAGIC || hash !== hashOf(words, 0)) return null;
  return { seed, generation, file, put, offset: high * 2 ** 32 + low };
}

/**
 * Where two contents differ first, in words: what was expected there and what was found. null when
 * they are equal.
 */
export function difference(expected: Buffer, found: Buffer): string | null {
  if (expected.equals(found)) return null;
  const shared = Math.min(expected.length, found.length);
  let from = 0;
  while (from < shared && expected[from] === found[from]) from += 1;
  let to = from;
  while (to < shared && expected[to] !== found[to]) to += 1;
  const sizes =
    expected.length === found.length ? '' : `, ${found.length} bytes instead of ${expected.length}`;
  if (from === shared) return `the same up to byte ${from}${sizes}`;
  const zero = found.subarray(from, to).every((byte) => byte === 0);
  const is = zero ? 'zeros' : describe(found, from);
  return `bytes ${from}-${to - 1} are ${is} instead of ${describe(expected, from)}${sizes}`;
}

/** The put that the bytes at `at` come from, by the head of their sector or of the next one. */
function describe(bytes: Buffer, at: number): string {
  const start = Math.floor(at / SECTOR_BYTES) * SECTOR_BYTES;
  for (const sector of [start, start + SECTOR_BYTES]) {
    const is = identify(bytes, sector);
    if (is === null) continue;
    const where = is.offset === sector ? '' : `, meant for offset ${is.offset}`;
    return `put ${is.put} of file ${is.file} (generation ${is.generation}${where})`;
  }
  return 'bytes without a head';
}
