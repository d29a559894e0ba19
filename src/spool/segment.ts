/**
 * Segment files of a spool: their names, the bytes around the records of a log segment, and the
 * walk through one that may be torn or damaged.
 *
 * Log segment  segments/00000012.log
 *   0   8   magic "KSEG0001"                    8   16  spoolId
 *   24  8   segment number, little endian       32  8   floor: all its records have higher numbers
 *   40  8   the log segment before it, 0: this one was the first of its run
 *   48  8   where that one ended                56  4   zero
 *   60  4   crc32c of bytes 0..60               64  ..  records (protocol/operation.ts) and marks
 * Mark: what lies before that place in the log had reached stable storage when it was written
 *   0   4   magic "KMK1"                        4   4   crc32c of bytes 8..24
 *   8   8   segment number of the place         16  8   offset in that segment
 * Data segment segments/00000013.data
 *   payload bytes only; which bytes belong to which operation the EXTERNAL records say.
 *
 * A record with a bad payload is skipped alone, its length is known. After a bad header the walk
 * goes on where the record would end if its lengths are right, and else looks for the next sound
 * one; to be believed that must have a higher number than all before it, so a spool's own bytes
 * carried as somebody's payload are never taken for records (the records in such a payload were
 * numbered before the record that carries them).
 */
import { crc32c } from '../base/crc32c.ts';
import {
  decodeHead,
  HEADER_BYTES,
  measure,
  type RecordHeader,
  readU64,
  writeU64,
} from '../protocol/operation.ts';

export const LOG_HEADER_BYTES = 64;
export const MARK_BYTES = 24;
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

/** A place in the log: a byte of one of its segments. */
export interface Place {
  readonly segment: number;
  readonly offset: number;
}

export interface LogHeader {
  readonly spoolId: string;
  readonly number: number;
  /** Every record in the segment has a higher number. */
  readonly floor: number;
  /** Where the log was when this segment was begun; segment 0: nowhere, the server had started. */
  readonly previous: Place;
}

export const NOWHERE: Place = { segment: 0, offset: 0 };

export function encodeLogHeader({ spoolId, number, floor, previous }: LogHeader): Buffer {
  const header = Buffer.alloc(LOG_HEADER_BYTES);
  LOG_MAGIC.copy(header);
  header.write(spoolId, 8, 16, 'hex');
  writeU64(header, number, 24);
  writeU64(header, floor, 32);
  writeU64(header, previous.segment, 40);
  writeU64(header, previous.offset, 48);
  header.writeUInt32LE(crc32c(header.subarray(0, 60)), 60);
  return header;
}

/** Does this broken rule of `decodeLogHeader` mean that the segment is not for this release? */
export function isForeign(rule: string): boolean {
  return rule.startsWith('written by');
}

/** What the first bytes of a log segment say, or the broken rule. */
export function decodeLogHeader(bytes: Buffer): LogHeader | string {
  if (bytes.length < LOG_HEADER_BYTES) return 'segment header cut short';
  const magic = bytes.subarray(0, 8);
  // The checksum covers the magic: with ours in its place it is right, unless it is another's.
  const isOurs =
    crc32c(Buffer.concat([LOG_MAGIC, bytes.subarray(8, 60)])) === bytes.readUInt32LE(60);
  if (!isOurs) {
    if (magic.equals(LOG_MAGIC)) return 'segment header checksum';
    return magic.subarray(0, 4).equals(LOG_MAGIC.subarray(0, 4))
      ? `written by another release (${magic.toString('latin1')})`
      : 'no segment header';
  }
  return {
    spoolId: bytes.toString('hex', 8, 24),
    number: readU64(bytes, 24),
    floor: readU64(bytes, 32),
    previous: { segment: readU64(bytes, 40), offset: readU64(bytes, 48) },
  };
}

/** `durable`: everything in the log before it is on stable storage. */
export function encodeMark(durable: Place): Buffer {
  const mark = Buffer.allocUnsafe(MARK_BYTES);
  mark.writeUInt32LE(MARK_MAGIC, 0);
  writeU64(mark, durable.segment, 8);
  writeU64(mark, durable.offset, 16);
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
  | { readonly what: 'mark'; readonly at: number; readonly durable: Place }
  /** Bytes that are no record, up to the next sound one or the end of the file. */
  | {
      readonly what: 'damage';
      readonly at: number;
      readonly bytes: number;
      readonly problem: string;
      /** Nothing sound follows: the write that a crash cut short, or a torn end. */
      readonly toEnd: boolean;
      /** The numbers around it follow on each other: no record was lost, only a mark can be. */
      readonly losesNothing: boolean;
    };

/** Walks the bytes of one log segment from behind its header; `floor` as there. Pure. */
export function* walkLog(bytes: Buffer, floor = 0): Generator<Found> {
  let at = LOG_HEADER_BYTES;
  let highestSeq = floor;
  while (at < bytes.length) {
    const durable = decodeMark(bytes, at);
    if (durable !== null) {
      yield { what: 'mark', at, durable };
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
    const next = behindDamage(bytes, at, highestSeq);
    yield {
      what: 'damage',
      at,
      bytes: next - at,
      problem: record,
      toEnd: next === bytes.length,
      losesNothing: seqAt(bytes, next) === highestSeq + 1,
    };
    at = next;
  }
}

function decodeMark(bytes: Buffer, at: number): Place | null {
  if (bytes.length - at < MARK_BYTES || bytes.readUInt32LE(at) !== MARK_MAGIC) return null;
  const body = bytes.subarray(at + 8, at + MARK_BYTES);
  if (crc32c(body) !== bytes.readUInt32LE(at + 4)) return null;
  return { segment: readU64(bytes, at + 8), offset: readU64(bytes, at + 16) };
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

/** Where the walk goes on after damage at `at`; the end of the file when nothing sound follows. */
function behindDamage(bytes: Buffer, at: number, highestSeq: number): number {
  const size = measure(bytes, at);
  if (size !== null) {
    const end = at + size.total;
    if (end <= bytes.length && decodeMark(bytes, end) !== null) return end;
    if (end === bytes.length || seqAt(bytes, end) > highestSeq) return end;
  }
  for (let next = at + 1; ; next += 1) {
    next = bytes.indexOf(RECORD_MAGIC_BYTES, next);
    if (next < 0 || bytes.length - next < HEADER_BYTES) return bytes.length;
    if (seqAt(bytes, next) > highestSeq) return next;
  }
}

/** The number of the sound record head at `at`; 0 when there is none. */
function seqAt(bytes: Buffer, at: number): number {
  const head = decodeHead(bytes, at);
  return typeof head === 'string' ? 0 : head.seq;
}
