/**
 * One operation and its record: the bytes that say what is done to one file. A record is the same
 * on the wire and in a log segment, so a server journals what it received as it received it.
 *
 *   offset size field (little endian)
 *   0      4    magic           "KOP1"
 *   4      4    headerCrc       CRC32C of bytes 8..136, then of name, path, path2, extension
 *   8      4    payloadCrc      CRC32C of the payload, made where the bytes entered
 *   12     4    payloadBytes    at most 1 MiB
 *   16     2    pathBytes
 *   18     2    path2Bytes      the new path of a rename
 *   20     2    extensionBytes  room for principals and signatures; carried on unread
 *   22     1    nameBytes       the server name
 *   23     1    kind            1 write, 2 mkdir, 3 rename, 4 remove; others are refused
 *   24     2    flags           see FLAGS
 *   26     1    hops            servers passed so far; a loop is refused at the limit
 *   27     1    version         1
 *   28     4    mode            permission bits, with flag MODE
 *   32     8    seq             number in the log that holds or sends it
 *   40     8    offset          of the payload in the file
 *   48     8    size            length to cut or extend the file to, with flag TRUNCATE
 *   56     8    mtimeNs         i64, since the epoch, with flag MTIME
 *   64     8    atimeNs         i64, with flag ATIME
 *   72     16   originId        spool id of the first hop: who first numbered it
 *   88     8    originSeq
 *   96     16   senderId        the hop or client session it was received from
 *   112    8    senderSeq
 *   120    8    payloadSegment  number of the data segment with the payload, with flag EXTERNAL
 *   128    8    payloadOffset   where in it
 *   136    ..   name, path, path2, extension, then the payload unless EXTERNAL
 *
 * A write does what its flags say, in this order: create, truncate, write the payload, mode, times.
 * So "create", "truncate" and "set attributes" are writes without a payload, and a small file is
 * one record. The codec is pure: no clock, no socket; nothing is allocated before a length is
 * checked. `invalid` names the broken rule. A path is bytes: components joined by '/', none of them
 * empty, '.' or '..'; the empty path is the export directory itself.
 */
import { crc32c } from '../base/crc32c.ts';
import { limits } from '../base/limits.ts';

export const RECORD_MAGIC = 0x31504f4b;
export const RECORD_VERSION = 1;
export const HEADER_BYTES = 136;

export const KIND = { write: 1, mkdir: 2, rename: 3, remove: 4 } as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

export const FLAGS = {
  /** Make the file if it is not there. */
  CREATE: 1,
  /** Set the file's length to `size` first. */
  TRUNCATE: 2,
  MODE: 4,
  MTIME: 8,
  ATIME: 16,
  /** Make missing parent directories on the way. */
  PARENTS: 32,
  /** The payload lies in a data segment, not behind the header. Never on the wire between hosts. */
  EXTERNAL: 64,
  /** Of a remove: the directory, which must be empty. */
  DIRECTORY: 128,
} as const;
const KNOWN_FLAGS = 255;

/** What a client asks for, before any server has numbered it. */
export interface Operation {
  readonly kind: Kind;
  readonly flags: number;
  /** Server name of the destination. */
  readonly name: string;
  /** Relative to the export directory, no leading '/'. latin1: one character is one byte. */
  readonly path: string;
  /** Rename only: the new path. */
  readonly path2: string;
  readonly offset: number;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly extension: Buffer;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
}

/** An operation with its numbers: what a record says, without the payload. */
export interface RecordHeader extends Operation {
  readonly hops: number;
  readonly seq: number;
  readonly originId: string;
  readonly originSeq: number;
  readonly senderId: string;
  readonly senderSeq: number;
  readonly payloadSegment: number;
  readonly payloadOffset: number;
}

export const NO_BYTES = Buffer.alloc(0);
/** Ids travel as 16 bytes and live in the program as 32 hex digits. */
export const NO_ID = '0'.repeat(32);

/** What is said of an operation; what is not said is nothing. */
export type OperationParts = Pick<Operation, 'kind' | 'name' | 'path'> & Partial<Operation>;

/** An operation that nobody has numbered yet. */
export function operation(parts: OperationParts): Operation {
  return headOf(parts, 0);
}

/** The head of an operation that begins here, with the number its sender gave it, and no other. */
export function headOf(parts: OperationParts, seq: number): RecordHeader {
  // Spelt out, not spread: there is one for each small file, and spreading is slow.
  return {
    kind: parts.kind,
    flags: parts.flags ?? 0,
    name: parts.name,
    path: parts.path,
    path2: parts.path2 ?? '',
    offset: parts.offset ?? 0,
    size: parts.size ?? 0,
    mode: parts.mode ?? 0,
    mtimeNs: parts.mtimeNs ?? 0n,
    atimeNs: parts.atimeNs ?? 0n,
    extension: parts.extension ?? NO_BYTES,
    payloadBytes: parts.payloadBytes ?? 0,
    payloadCrc: parts.payloadCrc ?? 0,
    hops: 0,
    seq,
    originId: NO_ID,
    originSeq: 0,
    senderId: NO_ID,
    senderSeq: 0,
    payloadSegment: 0,
    payloadOffset: 0,
  };
}

/** Bytes of the header with its names and extension: where an inline payload starts. */
export function headBytes(head: {
  readonly name: string;
  readonly path: string;
  readonly path2: string;
  readonly extension: Buffer;
}): number {
  return (
    HEADER_BYTES + head.name.length + head.path.length + head.path2.length + head.extension.length
  );
}

/** Bytes of the whole record as it lies in a log or on the wire. */
export function recordBytes(head: RecordHeader): number {
  const inline = (head.flags & FLAGS.EXTERNAL) === 0 ? head.payloadBytes : 0;
  return headBytes(head) + inline;
}

/** Header, names and extension of `head`, checksummed; the payload, if inline, is to follow. */
export function encodeHead(head: RecordHeader): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes(head));
  writeHead(head, bytes, 0);
  return bytes;
}

/** As encodeHead, into `out` at `at`. Returns the offset behind it. */
export function writeHead(head: RecordHeader, out: Buffer, at: number): number {
  out.writeUInt32LE(RECORD_MAGIC, at);
  out.writeUInt32LE(head.payloadCrc, at + 8);
  out.writeUInt32LE(head.payloadBytes, at + 12);
  out.writeUInt16LE(head.path.length, at + 16);
  out.writeUInt16LE(head.path2.length, at + 18);
  out.writeUInt16LE(head.extension.length, at + 20);
  out[at + 22] = head.name.length;
  out[at + 23] = head.kind;
  out.writeUInt16LE(head.flags, at + 24);
  out[at + 26] = head.hops;
  out[at + 27] = RECORD_VERSION;
  out.writeUInt32LE(head.mode, at + 28);
  writeU64(out, head.seq, at + 32);
  writeU64(out, head.offset, at + 40);
  writeU64(out, head.size, at + 48);
  out.writeBigInt64LE(head.mtimeNs, at + 56);
  out.writeBigInt64LE(head.atimeNs, at + 64);
  writeId(out, head.originId, at + 72);
  writeU64(out, head.originSeq, at + 88);
  writeId(out, head.senderId, at + 96);
  writeU64(out, head.senderSeq, at + 112);
  writeU64(out, head.payloadSegment, at + 120);
  writeU64(out, head.payloadOffset, at + 128);
  let end = at + HEADER_BYTES;
  end += out.write(head.name, end, 'latin1');
  end += out.write(head.path, end, 'latin1');
  end += out.write(head.path2, end, 'latin1');
  end += head.extension.copy(out, end);
  sealHead(out, at, end);
  return end;
}

/** Makes the header checksum of an encoded head good again after a field was changed in place. */
export function sealHead(out: Buffer, at: number, end: number): void {
  out.writeUInt32LE(crc32c(out.subarray(at + 8, end)), at + 4);
}

/**
 * Gives an encoded head, in place, the numbers of the log or link it enters next.
 * Cheaper than decoding and encoding it again, and what it does not name stays bit for bit.
 */
export function renumber(
  out: Buffer,
  at: number,
  end: number,
  numbers: {
    readonly seq?: number;
    readonly hops?: number;
    readonly origin?: readonly [id: string, seq: number];
    readonly sender?: readonly [id: string, seq: number];
    /** null: the payload follows the head. */
    readonly payload?: readonly [segment: number, offset: number] | null;
  },
): void {
  if (numbers.seq !== undefined) writeU64(out, numbers.seq, at + 32);
  if (numbers.hops !== undefined) out[at + 26] = numbers.hops;
  if (numbers.origin !== undefined) {
    writeId(out, numbers.origin[0], at + 72);
    writeU64(out, numbers.origin[1], at + 88);
  }
  if (numbers.sender !== undefined) {
    writeId(out, numbers.sender[0], at + 96);
    writeU64(out, numbers.sender[1], at + 112);
  }
  if (numbers.payload !== undefined) {
    const [segment, offset] = numbers.payload ?? [0, 0];
    const flags = out.readUInt16LE(at + 24) & ~FLAGS.EXTERNAL;
    out.writeUInt16LE(numbers.payload === null ? flags : flags | FLAGS.EXTERNAL, at + 24);
    writeU64(out, segment, at + 120);
    writeU64(out, offset, at + 128);
  }
  sealHead(out, at, end);
}

/**
 * Lengths of the record that starts at `at`, from its first 136 bytes alone, before anything is
 * believed: null when these cannot be the start of a record.
 */
export function measure(
  bytes: Buffer,
  at: number,
): { readonly head: number; readonly total: number } | null {
  if (bytes.length - at < HEADER_BYTES || bytes.readUInt32LE(at) !== RECORD_MAGIC) return null;
  const payloadBytes = bytes.readUInt32LE(at + 12);
  const pathBytes = bytes.readUInt16LE(at + 16);
  const path2Bytes = bytes.readUInt16LE(at + 18);
  const extensionBytes = bytes.readUInt16LE(at + 20);
  if (
    payloadBytes > limits.payloadBytesMax ||
    pathBytes > limits.pathBytesMax ||
    path2Bytes > limits.pathBytesMax ||
    extensionBytes > limits.extensionBytesMax
  ) {
    return null;
  }
  const head = HEADER_BYTES + (bytes[at + 22] as number) + pathBytes + path2Bytes + extensionBytes;
  const external = (bytes.readUInt16LE(at + 24) & FLAGS.EXTERNAL) !== 0;
  return { head, total: external ? head : head + payloadBytes };
}

/**
 * The record head at `at`; `bytes` must hold it whole (see measure).
 * Returns the name of the broken rule instead when it is not a sound one.
 */
export function decodeHead(bytes: Buffer, at = 0): RecordHeader | string {
  const size = measure(bytes, at);
  if (size === null) return 'no record header';
  if (bytes.length - at < size.head) return 'record header cut short';
  if (crc32c(bytes.subarray(at + 8, at + size.head)) !== bytes.readUInt32LE(at + 4)) {
    return 'header checksum';
  }
  return decodeSound(bytes, at);
}

/**
 * As decodeHead, of a head whose lengths and checksum are known to be right, as those of a frame
 * that passed the addon's checkRecords.
 */
export function decodeSound(bytes: Buffer, at: number): RecordHeader | string {
  const nameEnd = at + HEADER_BYTES + (bytes[at + 22] as number);
  const pathEnd = nameEnd + bytes.readUInt16LE(at + 16);
  const path2End = pathEnd + bytes.readUInt16LE(at + 18);
  const headEnd = path2End + bytes.readUInt16LE(at + 20);
  if (bytes[at + 27] !== RECORD_VERSION) return `record version ${bytes[at + 27]}`;
  const head: RecordHeader = {
    kind: bytes[at + 23] as Kind,
    flags: bytes.readUInt16LE(at + 24),
    name: bytes.toString('latin1', at + HEADER_BYTES, nameEnd),
    path: bytes.toString('latin1', nameEnd, pathEnd),
    path2: pathEnd === path2End ? '' : bytes.toString('latin1', pathEnd, path2End),
    extension: path2End === headEnd ? NO_BYTES : Buffer.from(bytes.subarray(path2End, headEnd)),
    payloadBytes: bytes.readUInt32LE(at + 12),
    payloadCrc: bytes.readUInt32LE(at + 8),
    hops: bytes[at + 26] as number,
    mode: bytes.readUInt32LE(at + 28),
    seq: readU64(bytes, at + 32),
    offset: readU64(bytes, at + 40),
    size: readU64(bytes, at + 48),
    mtimeNs: bytes.readBigInt64LE(at + 56),
    atimeNs: bytes.readBigInt64LE(at + 64),
    originId: readId(bytes, at + 72),
    originSeq: readU64(bytes, at + 88),
    senderId: readId(bytes, at + 96),
    senderSeq: readU64(bytes, at + 112),
    payloadSegment: readU64(bytes, at + 120),
    payloadOffset: readU64(bytes, at + 128),
  };
  return invalid(head) ?? head;
}

/** The rule that `head` breaks, or null when it is sound. */
export function invalid(head: RecordHeader): string | null {
  if (head.kind < KIND.write || head.kind > KIND.remove) return `unknown kind ${head.kind}`;
  if ((head.flags & ~KNOWN_FLAGS) !== 0) return `unknown flags ${head.flags}`;
  if (head.payloadBytes > 0 && head.kind !== KIND.write) return 'payload without a write';
  if ((head.path2 !== '') !== (head.kind === KIND.rename)) return 'second path';
  if (invalidName(head.name) || invalidPath(head.path) || invalidPath(head.path2)) {
    return 'name or path';
  }
  if (head.path === '' && head.kind !== KIND.write) return 'empty path';
  for (const number of [head.seq, head.offset, head.size, head.originSeq, head.senderSeq]) {
    if (!Number.isSafeInteger(number)) return 'number beyond 2^53';
  }
  if (!Number.isSafeInteger(head.offset + head.payloadBytes)) return 'offset beyond 2^53';
  if (!Number.isSafeInteger(head.payloadSegment + head.payloadOffset)) return 'payload place';
  if (head.mode > 0o7777) return 'mode';
  return null;
}

/** Is this no server name? Letters, digits, '.', '-', not starting with '.' or '-'. */
export function invalidName(name: string): boolean {
  return name.length > limits.nameBytesMax || !/^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(name);
}

/** Is this no path below an export directory? Absolute, '..', '.', '//' and NUL are refused. */
export function invalidPath(path: string): boolean {
  if (path === '') return false;
  if (path.length > limits.pathBytesMax || path.includes('\0')) return true;
  return /(?:^|\/)(?:\.{0,2})(?:\/|$)/.test(path);
}

const IDS_KEPT = 8;

/** An id as text and as its four words. */
interface Id {
  readonly text: string;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

/** The ids met last: neighbours share theirs, and hex digits are dear to make and to read. */
const ids: Id[] = [];

function keepId(text: string, bytes: Buffer, at: number): Id {
  const [a, b] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
  const [c, d] = [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)];
  if (ids.length === IDS_KEPT) ids.shift();
  const id = { text, a, b, c, d };
  ids.push(id);
  return id;
}

function readId(bytes: Buffer, at: number): string {
  const a = bytes.readUInt32LE(at);
  const b = bytes.readUInt32LE(at + 4);
  const c = bytes.readUInt32LE(at + 8);
  const d = bytes.readUInt32LE(at + 12);
  for (const id of ids) {
    if (id.a === a && id.b === b && id.c === c && id.d === d) return id.text;
  }
  return keepId(bytes.toString('hex', at, at + 16), bytes, at).text;
}

function writeId(out: Buffer, text: string, at: number): void {
  for (const id of ids) {
    if (id.text !== text) continue;
    out.writeUInt32LE(id.a, at);
    out.writeUInt32LE(id.b, at + 4);
    out.writeUInt32LE(id.c, at + 8);
    out.writeUInt32LE(id.d, at + 12);
    return;
  }
  out.write(text, at, 16, 'hex');
  keepId(text, out, at);
}

/** u64 as a JavaScript number; what is beyond 2^53 comes out unsafe and is refused by `invalid`. */
export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}

export function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}
