/**
 * Segment files of a spool: their names, the bytes around the records of a log segment, and the
 * walk through one that may be torn or damaged.
 *
 * Log segment  segments/00000012.log
 *   0   8   magic "KSEG0001"
 *   8   16  spoolId
 *   24  8   segment number, u64 little endian
 *   32  ..  records (protocol/operation.ts) and marks, in the order they were taken
 * Mark: everything before it in the log had reached stable storage when it was written
 *   0   4   magic "KMK1"      4   4   crc32c of bytes 8..16      8   8   highest seq before it
 * Data segment segments/00000013.data
 *   payload bytes only; which bytes belong to which operation the EXTERNAL records say.
 *
 * A record with a bad payload is skipped alone, its length is known. After a bad header the walk
 * looks for the next sound one; to be believed it must have a higher number than all before it, so
 * a spool's own bytes carried as somebody's payload are never taken for records (the records in
 * such a payload were numbered before the record that carries them).
 */
import { crc32c } from '../base/crc32c.ts';
import {
  decodeHead,
  HEADER_BYTES,
  measure,
  RECORD_MAGIC,
  type RecordHeader,
  readU64,
  writeU64,
} from '../protocol/operation.ts';

export const LOG_HEADER_BYTES = 32;
export const MARK_BYTES = 16;
const LOG_MAGIC = Buffer.from('KSEG0001', 'latin1');
const MARK_MAGIC = 0x314b4d4b;
const RECORD_MAGIC_BYTES = Buffer.from('KOP1', 'latin1');

export function logName(number: number): string {
  return `${String(number).padStart(8, '0')}.log`;
}

export function dataName(number: number): string {
  return `${String(number).padStart(8, '0')}.data`;
}

/** The number and kind in a segment's file name, or null for any other file. */
export function parseSegmentName(
  file: string,
): { readonly number: number; readonly kind: 'log' | 'data' } | null {
  const match = /^(\d{8,15})\.(log|data)$/.exec(file);
  if (match === null) return null;
  return { number: Number(match[1]), kind: match[2] === 'log' ? 'log' : 'data' };
}

export function encodeLogHeader(spoolId: string, number: number): Buffer {
  const header = Buffer.alloc(LOG_HEADER_BYTES);
  LOG_MAGIC.copy(header);
  header.write(spoolId, 8, 16, 'hex');
  writeU64(header, number, 24);
  return header;
}

/** The spool id and number in a log segment's first bytes, or the broken rule. */
export function decodeLogHeader(
  bytes: Buffer,
): { readonly spoolId: string; readonly number: number } | string {
  if (bytes.length < LOG_HEADER_BYTES) return 'segment header cut short';
  if (!bytes.subarray(0, 4).equals(LOG_MAGIC.subarray(0, 4))) return 'no segment header';
  if (!bytes.subarray(0, 8).equals(LOG_MAGIC)) {
    return `written by another release (${bytes.toString('latin1', 0, 8)})`;
  }
  return { spoolId: bytes.toString('hex', 8, 24), number: readU64(bytes, 24) };
}

export function encodeMark(seq: number): Buffer {
  const mark = Buffer.allocUnsafe(MARK_BYTES);
  mark.writeUInt32LE(MARK_MAGIC, 0);
  writeU64(mark, seq, 8);
  mark.writeUInt32LE(crc32c(mark.subarray(8)), 4);
  return mark;
}

/** What a walk through a log segment meets, in file order. */
export type Found =
  | {
      readonly what: 'record';
      readonly at: number;
      readonly bytes: number;
      readonly head: RecordHeader;
      /** Of an inline payload; an external one is checked by who needs to. */
      readonly payloadSound: boolean;
    }
  | { readonly what: 'mark'; readonly at: number; readonly seq: number }
  /** Bytes that are no record, up to the next sound one or the end of the file. */
  | {
      readonly what: 'damage';
      readonly at: number;
      readonly bytes: number;
      readonly problem: string;
      /** Nothing sound follows: the write that a crash cut short, or a torn end. */
      readonly toEnd: boolean;
    };

/** Walks the bytes of one log segment from behind its header. Pure. */
export function* walkLog(bytes: Buffer): Generator<Found> {
  let at = LOG_HEADER_BYTES;
  let highestSeq = 0;
  while (at < bytes.length) {
    const mark = decodeMark(bytes, at);
    if (mark !== null) {
      yield { what: 'mark', at, seq: mark };
      at += MARK_BYTES;
      continue;
    }
    const record = decodeRecord(bytes, at);
    if (typeof record !== 'string') {
      highestSeq = Math.max(highestSeq, record.head.seq);
      yield record;
      at += record.bytes;
      continue;
    }
    const next = findNext(bytes, at + 1, highestSeq);
    yield { what: 'damage', at, bytes: next - at, problem: record, toEnd: next === bytes.length };
    at = next;
  }
}

function decodeMark(bytes: Buffer, at: number): number | null {
  if (bytes.length - at < MARK_BYTES || bytes.readUInt32LE(at) !== MARK_MAGIC) return null;
  const body = bytes.subarray(at + 8, at + MARK_BYTES);
  return crc32c(body) === bytes.readUInt32LE(at + 4) ? readU64(bytes, at + 8) : null;
}

function decodeRecord(bytes: Buffer, at: number): Extract<Found, { what: 'record' }> | string {
  const size = measure(bytes, at);
  if (size === null) return 'no record header';
  const head = decodeHead(bytes, at);
  if (typeof head === 'string') return head;
  if (at + size.total > bytes.length) return 'record cut short';
  const inline = bytes.subarray(at + size.head, at + size.total);
  const payloadSound = inline.length === 0 || crc32c(inline) === head.payloadCrc;
  return { what: 'record', at, bytes: size.total, head, payloadSound };
}

function findNext(bytes: Buffer, from: number, highestSeq: number): number {
  let at = from;
  for (;;) {
    at = bytes.indexOf(RECORD_MAGIC_BYTES, at);
    if (at < 0 || bytes.length - at < HEADER_BYTES) return bytes.length;
    const head = bytes.readUInt32LE(at) === RECORD_MAGIC ? decodeHead(bytes, at) : 'no record';
    if (typeof head !== 'string' && head.seq > highestSeq) return at;
    at += 1;
  }
}
