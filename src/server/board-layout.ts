/**
 * Where what lies in the board, the memory that adapted programs share with this server: the
 * numbers of native/core/board.h, and how an entry of its ring is read and written.
 *
 * A unit test compiles that header and compares. Pure: it knows bytes and offsets, no file and no
 * lock. The board never leaves its machine, and numbers in it have the order of little-endian
 * machines; on others there is no board (board-file.ts).
 */
import { readU64, writeU64 } from '../protocol/operation.ts';

export const BOARD = {
  magic: 0x314452414f42474bn,
  version: 3,
  headerBytes: 4096,
  slotBytes: 4608,
  slots: 32_768,
  ringBytes: 8 * 1024 * 1024,
  payloadBytesMax: 1024 * 1024,
  inlineBytesMax: 4096,
  inlineRoomBytesMax: 64 * 1024,
  rows: 32_768,
  rowBytes: 80,
  spares: 1024,
  leaseMs: 1_000,
} as const;

/** Offsets in the header. */
export const HEADER = {
  magic: 0,
  version: 8,
  headerBytes: 12,
  boardId: 16,
  spoolId: 32,
  bootId: 48,
  slotCount: 64,
  slotBytes: 68,
  slotsAt: 72,
  ringAt: 80,
  ringBytes: 88,
  incarnation: 96,
  lock: 128,
  tail: 256,
  nextSeq: 264,
  epoch: 288,
  rowsUsed: 292,
  sparesTaken: 296,
  sparesGiven: 300,
  rowsAt: 304,
  sparesAt: 312,
  head: 320,
  asleep: 328,
  room: 332,
  spool: 512,
} as const;

/** Offsets in a slot. */
export const SLOT = {
  generation: 0,
  kind: 4,
  size: 8,
  version: 16,
  ino: 24,
  mode: 32,
  flags: 36,
  mtimeNs: 40,
  nameBytes: 48,
  pathBytes: 50,
  openedMs: 56,
  name: 64,
  path: 320,
} as const;

export const SLOT_KIND = { free: 0, file: 1, directory: 2 } as const;
export const SLOT_FLAGS = { STALE: 1, REMOVED: 2 } as const;

/** Offsets in an entry. */
export const ENTRY = {
  bytes: 0,
  kind: 4,
  flags: 6,
  seq: 8,
  slot: 16,
  generation: 20,
  offset: 24,
  state: 32,
  segment: 40,
  segmentOffset: 48,
  room: 56,
  mode: 60,
  /** An inline payload begins here. */
  end: 64,
} as const;

export const ENTRY_KIND = {
  skip: 0,
  segment: 1,
  inline: 2,
  truncate: 3,
  attributes: 4,
  create: 5,
} as const;

/** Flag of an entry that creates: what a destination has, whom nobody could ask, is emptied. */
export const CUT_FIRST = 1;

/** The lowest bit of an entry's state: nothing is added to it any more. */
export const SEALED = 1n;

export const SLOTS_AT = BOARD.headerBytes;
export const RING_AT = SLOTS_AT + BOARD.slots * BOARD.slotBytes;
export const ROWS_AT = RING_AT + BOARD.ringBytes;
export const SPARES_AT = ROWS_AT + BOARD.rows * BOARD.rowBytes;
export const BOARD_BYTES = SPARES_AT + BOARD.spares * 4;

/** An entry's head as it stands in the ring. */
export interface RingEntry {
  readonly kind: number;
  readonly flags: number;
  readonly seq: number;
  readonly slot: number;
  readonly generation: number;
  readonly offset: number;
  /** Of a write, from its state. */
  readonly payloadBytes: number;
  readonly payloadCrc: number;
  readonly segment: number;
  readonly segmentOffset: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly mode: number;
  readonly room: number;
  /** Head, room and padding. */
  readonly bytes: number;
  /** Where in the ring it stands. */
  readonly at: number;
}

/** The entry at `at` of the ring; no field of it is believed yet. */
export function decodeEntry(ring: Buffer, at: number): RingEntry {
  const state = ring.readUInt32LE(at + ENTRY.state);
  const kind = ring.readUInt16LE(at + ENTRY.kind);
  const hasTimes = kind === ENTRY_KIND.attributes;
  return {
    kind,
    flags: ring.readUInt16LE(at + ENTRY.flags),
    seq: readU64(ring, at + ENTRY.seq),
    slot: ring.readUInt32LE(at + ENTRY.slot),
    generation: ring.readUInt32LE(at + ENTRY.generation),
    offset: readU64(ring, at + ENTRY.offset),
    payloadBytes: state >>> 1,
    payloadCrc: ring.readUInt32LE(at + ENTRY.state + 4),
    segment: readU64(ring, at + ENTRY.segment),
    segmentOffset: readU64(ring, at + ENTRY.segmentOffset),
    mtimeNs: hasTimes ? ring.readBigInt64LE(at + ENTRY.segment) : 0n,
    atimeNs: hasTimes ? ring.readBigInt64LE(at + ENTRY.segmentOffset) : 0n,
    mode: ring.readUInt32LE(at + ENTRY.mode),
    room: ring.readUInt32LE(at + ENTRY.room),
    bytes: ring.readUInt32LE(at + ENTRY.bytes),
    at,
  };
}

export type EntryFields = Pick<RingEntry, 'kind' | 'seq' | 'slot' | 'generation' | 'bytes'> &
  Partial<Omit<RingEntry, 'at'>>;

/** Writes an entry's head; times instead of a segment's numbers when it is one of attributes. */
export function encodeEntry(entry: EntryFields, ring: Buffer, at: number): void {
  ring.fill(0, at, at + ENTRY.end);
  ring.writeUInt32LE(entry.bytes, at + ENTRY.bytes);
  ring.writeUInt16LE(entry.kind, at + ENTRY.kind);
  ring.writeUInt16LE(entry.flags ?? 0, at + ENTRY.flags);
  writeU64(ring, entry.seq, at + ENTRY.seq);
  ring.writeUInt32LE(entry.slot, at + ENTRY.slot);
  ring.writeUInt32LE(entry.generation, at + ENTRY.generation);
  writeU64(ring, entry.offset ?? 0, at + ENTRY.offset);
  ring.writeUInt32LE((entry.payloadBytes ?? 0) * 2, at + ENTRY.state);
  ring.writeUInt32LE(entry.payloadCrc ?? 0, at + ENTRY.state + 4);
  if (entry.kind === ENTRY_KIND.attributes) {
    ring.writeBigInt64LE(entry.mtimeNs ?? 0n, at + ENTRY.segment);
    ring.writeBigInt64LE(entry.atimeNs ?? 0n, at + ENTRY.segmentOffset);
  } else {
    writeU64(ring, entry.segment ?? 0, at + ENTRY.segment);
    writeU64(ring, entry.segmentOffset ?? 0, at + ENTRY.segmentOffset);
  }
  ring.writeUInt32LE(entry.room ?? 0, at + ENTRY.room);
  ring.writeUInt32LE(entry.mode ?? 0, at + ENTRY.mode);
}

/** What is wrong with an entry of which `left` bytes of the ring are left; null: it can be read. */
export function unreadable(entry: RingEntry, left: number): string | null {
  const { kind, bytes, room, payloadBytes } = entry;
  if (kind < ENTRY_KIND.segment || kind > ENTRY_KIND.create) return `kind ${kind}`;
  if (bytes % 8 !== 0 || bytes < ENTRY.end || bytes > left) return `length ${bytes}`;
  if (kind !== ENTRY_KIND.inline) return null;
  if (room > bytes - ENTRY.end || payloadBytes > room) return `payload of ${payloadBytes}`;
  return null;
}

const FNV_START = [0xcbf29ce4, 0x84222325] as const;
/** The prime of FNV is 2^40 and this. */
const FNV_REST = 0x1b3;
const TWO_32 = 0x1_0000_0000;

/**
 * The inode number that a file has for adapted programs: FNV-1a of "name/path" in its lower 52
 * bits, and 1 for 0. The C side makes the same for files that it has not open. In halves of 32
 * bits, because a BigInt for each character takes longer than all else that an open does here.
 */
export function inodeNumber(name: string, path: string): number {
  const text = `${name}/${path}`;
  let [high, low]: [number, number] = [...FNV_START];
  for (let i = 0; i < text.length; i++) {
    low = (low ^ (text.charCodeAt(i) & 0xff)) >>> 0;
    const product = low * FNV_REST;
    high = (high * FNV_REST + Math.floor(product / TWO_32) + ((low << 8) >>> 0)) % TWO_32;
    low = product % TWO_32;
  }
  return (high % 0x10_0000) * TWO_32 + low || 1;
}
