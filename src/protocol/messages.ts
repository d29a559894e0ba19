/**
 * The table of messages: one row per frame type, one line per field. Encoder, decoder, PROTOCOL.md
 * (checked by a test) and later the C side come from it.
 *
 * Field kinds: u8, u16, u32, u64 (a safe integer), i64 (bigint), bool (one byte), id (16 bytes, hex
 * in the program), text (u32 length, UTF-8), path (u16 length, bytes, latin1 in the program), bytes
 * (u32 length), and a list of rows (u32 count). Lengths are checked against what is left of the
 * body before anything is made for them. Bytes behind the last field of a known row are ignored, so
 * that a later release may add fields.
 */
import { KangarooError } from '../base/errors.ts';
import { type Frame, PREFIX_BYTES, PUTS_TYPE, sealFrame } from './frame.ts';
import { readU64, writeU64 } from './operation.ts';

type Scalar = 'u8' | 'u16' | 'u32' | 'u64' | 'i64' | 'bool' | 'id' | 'text' | 'path' | 'bytes';
type FieldKind = Scalar | { readonly list: Fields };
interface Fields {
  readonly [field: string]: FieldKind;
}

const ENTRY = {
  name: 'path',
  kind: 'u8',
  size: 'u64',
  mode: 'u32',
  mtimeNs: 'i64',
} as const;

export const MESSAGES = {
  /** First frame of every connection, from whoever dialled. */
  HELLO: {
    type: 1,
    fields: {
      magic: 'u32',
      versionMin: 'u16',
      versionMax: 'u16',
      role: 'text',
      senderId: 'id',
      method: 'text',
      credential: 'bytes',
      software: 'text',
    },
  },
  /** The server's answer; `takenFloor`: it has all of this sender's operations up to there. */
  WELCOME: {
    type: 2,
    fields: {
      version: 'u16',
      serverName: 'text',
      spoolId: 'id',
      incarnation: 'u64',
      takenFloor: 'u64',
      spoolDirectory: 'text',
      software: 'text',
      board: 'text',
    },
  },
  /** Records back to back; no reply. */
  PUTS: { type: PUTS_TYPE, fields: {} },
  COMMIT: { type: 4, fields: { lowWater: 'u64' } },
  /** Every PUTS sent before that COMMIT on this connection is on stable storage. */
  COMMITTED: { type: 5, fields: { incarnation: 'u64' } },
  PUSH: { type: 6, fields: { target: 'text', originId: 'id', timeoutMs: 'u32', hops: 'u8' } },
  PROGRESS: {
    type: 7,
    fields: { operations: 'u64', bytes: 'u64', where: 'text', reason: 'text' },
  },
  GET: {
    type: 8,
    fields: {
      name: 'text',
      path: 'path',
      offset: 'u64',
      length: 'u32',
      timeoutMs: 'u32',
      hops: 'u8',
    },
  },
  /** Pieces of the range in order; then FOUND ends the call. */
  DATA: { type: 9, fields: { offset: 'u64', bytes: 'bytes' } },
  STAT: { type: 10, fields: { name: 'text', path: 'path', timeoutMs: 'u32', hops: 'u8' } },
  FOUND: {
    type: 11,
    fields: { kind: 'u8', size: 'u64', mode: 'u32', mtimeNs: 'i64', pendingBytes: 'u64' },
  },
  /** Entries after `after` in byte order, at most `max`. */
  LIST: {
    type: 12,
    fields: {
      name: 'text',
      path: 'path',
      after: 'path',
      max: 'u32',
      timeoutMs: 'u32',
      hops: 'u8',
    },
  },
  LISTED: { type: 13, fields: { more: 'bool', entries: { list: ENTRY } } },
  /** status, messages, retry, discard: a verb and its arguments as JSON. */
  ASK: { type: 14, fields: { verb: 'text', timeoutMs: 'u32', hops: 'u8', arguments: 'text' } },
  DOCUMENT: { type: 15, fields: { json: 'text' } },
  /** Asks for room in a data segment, so that payload need not cross the socket (decision 8). */
  GRANT: { type: 16, fields: { bytes: 'u32' } },
  GRANTED: { type: 17, fields: { segment: 'u64', file: 'text', offset: 'u64', bytes: 'u32' } },
  /** The mover's greeting to its server: send me what is to be moved, from the beginning. */
  SUBSCRIBE: { type: 18, fields: {} },
  /** Heads of operations to move, each with the place of its record in the log. */
  WORK: {
    type: 19,
    fields: {
      operations: {
        list: {
          seq: 'u64',
          kind: 'u8',
          flags: 'u16',
          name: 'text',
          path: 'path',
          path2: 'path',
          payloadBytes: 'u32',
          bytes: 'u32',
          segment: 'u64',
          at: 'u64',
          payloadSegment: 'u64',
          payloadOffset: 'u64',
        },
      },
    },
  },
  /** Mover to server: these have been committed by the next hop. */
  RELEASE: { type: 20, fields: { operations: { list: { first: 'u64', last: 'u64' } } } },
  /** Server to mover: all below is durably released; commits may say so. */
  LOW_WATER: { type: 21, fields: { seq: 'u64' } },
  /** Server to mover: a push waits for these. */
  HURRY: { type: 22, fields: { operations: { list: { first: 'u64', last: 'u64' } } } },
  /** Mover to server: how a link is doing. */
  LINK: {
    type: 23,
    fields: {
      name: 'text',
      address: 'text',
      state: 'text',
      reason: 'text',
      retryInMs: 'u32',
      bytesPerSecond: 'u64',
    },
  },
  /** Server to mover: an operation was moved to another segment by compaction, or given up. */
  MOVED: {
    type: 24,
    fields: { operations: { list: { seq: 'u64', segment: 'u64', at: 'u64' } } },
  },
  DONE: { type: 25, fields: {} },
  ERROR: { type: 26, fields: { code: 'text', message: 'text', hint: 'text' } },
  PING: { type: 27, fields: {} },
  PONG: { type: 28, fields: {} },
  /** The caller no longer wants the answer of that call. */
  CANCEL: { type: 29, fields: {} },
  /** The sender will not send anything more on this session, ever. */
  BYE: { type: 30, fields: {} },
  /** Server to mover: these were given up. What was sent of them already may still arrive. */
  DROP: { type: 32, fields: { operations: { list: { first: 'u64', last: 'u64' } } } },
  /** An adapted program opens a file; the server decides on creating and truncating. */
  OPEN: {
    type: 33,
    fields: {
      seq: 'u64',
      name: 'text',
      path: 'path',
      flags: 'u8',
      mode: 'u32',
      timeoutMs: 'u32',
    },
  },
  OPENED: {
    type: 34,
    fields: {
      slot: 'u32',
      generation: 'u32',
      kind: 'u8',
      size: 'u64',
      mode: 'u32',
      mtimeNs: 'i64',
      ino: 'u64',
    },
  },
  /** An adapted program changes names, or a file that it has not open; DONE when it is spooled. */
  CHANGE: {
    type: 35,
    fields: {
      seq: 'u64',
      kind: 'u8',
      flags: 'u16',
      name: 'text',
      path: 'path',
      path2: 'path',
      mode: 'u32',
      size: 'u64',
      mtimeNs: 'i64',
      atimeNs: 'i64',
      timeoutMs: 'u32',
    },
  },
  /** There is something new in the board. */
  NUDGE: { type: 36, fields: {} },
  /** Where in the spool's segments do the bytes of a range lie? For programs of this machine. */
  LOCATE: { type: 37, fields: { name: 'text', path: 'path', offset: 'u64', length: 'u32' } },
  /** Up to `end` of the file, gapless: segment 0 is zeros. They stay there for the lease. */
  PLACES: {
    type: 38,
    fields: {
      end: 'u64',
      leaseMs: 'u32',
      pieces: {
        list: {
          offset: 'u64',
          bytes: 'u32',
          segment: 'u64',
          at: 'u64',
          ino: 'u64',
          file: 'text',
        },
      },
    },
  },
  /** Mover to server: can these be read at all? DONE comes when the damaged ones were dropped. */
  BAD: { type: 31, fields: { operations: { list: { seq: 'u64', problem: 'text' } } } },
} as const satisfies Record<string, { readonly type: number; readonly fields: Fields }>;

export type MessageName = keyof typeof MESSAGES;

type ScalarValue<K extends Scalar> = K extends 'u8' | 'u16' | 'u32' | 'u64'
  ? number
  : K extends 'i64'
    ? bigint
    : K extends 'bool'
      ? boolean
      : K extends 'bytes'
        ? Buffer
        : string;
type FieldValue<K> = K extends Scalar
  ? ScalarValue<K>
  : K extends { readonly list: infer F }
    ? readonly { [P in keyof F]: FieldValue<F[P]> }[]
    : never;
export type Message<N extends MessageName> = {
  -readonly [P in keyof (typeof MESSAGES)[N]['fields']]: FieldValue<
    (typeof MESSAGES)[N]['fields'][P]
  >;
};

export const HELLO_MAGIC = 0x474e414b;
export const PROTOCOL_VERSION = 1;
/** `kind` in FOUND and LISTED. */
export const FOUND_KIND = { absent: 0, file: 1, directory: 2, symlink: 3, other: 4 } as const;

const NAME_BY_TYPE: readonly (MessageName | undefined)[] = (() => {
  const names: MessageName[] = [];
  for (const [name, row] of Object.entries(MESSAGES)) names[row.type] = name as MessageName;
  return names;
})();

export function messageName(type: number): MessageName | null {
  return NAME_BY_TYPE[type] ?? null;
}

/** A whole frame with this message. */
export function encodeMessage<N extends MessageName>(
  name: N,
  message: Message<N>,
  callId = 0,
): Buffer {
  const { type, fields } = MESSAGES[name];
  const rows = fieldRows(fields);
  const bodyBytes = sizeOf(rows, message as Record<string, unknown>);
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + bodyBytes);
  const out = { bytes: frame, at: PREFIX_BYTES, what: name };
  encodeFields(rows, message as Record<string, unknown>, out);
  sealFrame(frame, type, callId);
  return frame;
}

/**
 * A DATA frame in two parts: what comes before the bytes, which are sent as they are. Saves a copy
 * of each block that a server reads for others.
 */
export function encodeDataHead(offset: number, bytes: Buffer, callId: number): Buffer {
  const head = Buffer.allocUnsafe(PREFIX_BYTES + 12);
  writeU64(head, offset, PREFIX_BYTES);
  head.writeUInt32LE(bytes.length, PREFIX_BYTES + 8);
  sealFrame(head, MESSAGES.DATA.type, callId, bytes);
  return head;
}

/**
 * The message in a frame's body.
 * @throws KangarooError PROTOCOL when the body is too short for its row or a value is out of range
 */
export function decodeMessage<N extends MessageName>(name: N, frame: Frame): Message<N> {
  const cursor = { bytes: frame.body, at: 0, what: name };
  return decodeFields(fieldRows(MESSAGES[name].fields), cursor) as Message<N>;
}

interface Cursor {
  readonly bytes: Buffer;
  at: number;
  readonly what: string;
}

/** Bytes that the fields take, so that a message is written into one buffer of its exact size. */
function sizeOf(fields: FieldRows, message: Record<string, unknown>): number {
  let bytes = 0;
  for (const [field, kind] of fields) {
    const value = message[field];
    if (typeof kind === 'object') {
      const rows = value as readonly Record<string, unknown>[];
      const row = fieldRows(kind.list);
      bytes += 4;
      for (const one of rows) bytes += sizeOf(row, one);
    } else {
      bytes += FIXED_BYTES[kind] ?? variableBytes(kind, value);
    }
  }
  return bytes;
}

const FIXED_BYTES: Readonly<Partial<Record<Scalar, number>>> = {
  u8: 1,
  bool: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  i64: 8,
  id: 16,
};

function variableBytes(kind: Scalar, value: unknown): number {
  if (kind === 'path') return 2 + (value as string).length;
  if (kind === 'text') return 4 + Buffer.byteLength(value as string, 'utf8');
  return 4 + (value as Buffer).length;
}

type FieldRows = readonly (readonly [string, FieldKind])[];
const rowsOf = new WeakMap<Fields, FieldRows>();

/**
 * The fields of a row as pairs, made once: Object.entries for each row of a long list is not free.
 */
function fieldRows(fields: Fields): FieldRows {
  let rows = rowsOf.get(fields);
  if (rows === undefined) {
    rows = Object.entries(fields);
    rowsOf.set(fields, rows);
  }
  return rows;
}

function encodeFields(fields: FieldRows, message: Record<string, unknown>, out: Cursor): void {
  for (const [field, kind] of fields) {
    const value = message[field];
    if (typeof kind === 'object') {
      const list = value as readonly Record<string, unknown>[];
      const row = fieldRows(kind.list);
      out.at = out.bytes.writeUInt32LE(list.length, out.at);
      for (const one of list) encodeFields(row, one, out);
    } else {
      encodeScalar(kind, value, out);
    }
  }
}

function encodeScalar(kind: Scalar, value: unknown, out: Cursor): void {
  const { bytes } = out;
  switch (kind) {
    case 'u8':
      out.at = bytes.writeUInt8(value as number, out.at);
      return;
    case 'bool':
      out.at = bytes.writeUInt8(value === true ? 1 : 0, out.at);
      return;
    case 'u16':
      out.at = bytes.writeUInt16LE(value as number, out.at);
      return;
    case 'u32':
      out.at = bytes.writeUInt32LE(value as number, out.at);
      return;
    case 'u64':
      writeU64(bytes, value as number, out.at);
      out.at += 8;
      return;
    case 'i64':
      out.at = bytes.writeBigInt64LE(value as bigint, out.at);
      return;
    case 'id':
      out.at += bytes.write(value as string, out.at, 16, 'hex');
      return;
    case 'text': {
      const written = bytes.write(value as string, out.at + 4, 'utf8');
      bytes.writeUInt32LE(written, out.at);
      out.at += 4 + written;
      return;
    }
    case 'path':
      bytes.writeUInt16LE((value as string).length, out.at);
      out.at += 2 + bytes.write(value as string, out.at + 2, 'latin1');
      return;
    case 'bytes':
      bytes.writeUInt32LE((value as Buffer).length, out.at);
      out.at += 4 + (value as Buffer).copy(bytes, out.at + 4);
  }
}

function decodeFields(fields: FieldRows, cursor: Cursor): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const [field, kind] of fields) {
    if (typeof kind !== 'object') {
      message[field] = decodeScalar(kind, cursor);
      continue;
    }
    const count = cursor.bytes.readUInt32LE(advance(cursor, 4));
    // A row has at least one byte: a count beyond what is left is a lie, told before any is made.
    if (count > cursor.bytes.length - cursor.at) throw tooShort(cursor);
    const row = fieldRows(kind.list);
    const rows: Record<string, unknown>[] = [];
    for (let i = 0; i < count; i++) rows.push(decodeFields(row, cursor));
    message[field] = rows;
  }
  return message;
}

function decodeScalar(kind: Scalar, cursor: Cursor): unknown {
  const { bytes } = cursor;
  switch (kind) {
    case 'u8':
      return bytes[advance(cursor, 1)];
    case 'bool':
      return bytes[advance(cursor, 1)] !== 0;
    case 'u16':
      return bytes.readUInt16LE(advance(cursor, 2));
    case 'u32':
      return bytes.readUInt32LE(advance(cursor, 4));
    case 'u64': {
      const value = readU64(bytes, advance(cursor, 8));
      if (!Number.isSafeInteger(value)) {
        throw new KangarooError('PROTOCOL', `${cursor.what}: number beyond 2^53`);
      }
      return value;
    }
    case 'i64':
      return bytes.readBigInt64LE(advance(cursor, 8));
    case 'id':
      return take(cursor, 16).toString('hex');
    case 'text':
      return take(cursor, bytes.readUInt32LE(advance(cursor, 4))).toString('utf8');
    case 'path':
      return take(cursor, bytes.readUInt16LE(advance(cursor, 2))).toString('latin1');
    case 'bytes':
      return take(cursor, bytes.readUInt32LE(advance(cursor, 4)));
  }
}

/** Steps over `bytes` that must be there and returns where they start. */
function advance(cursor: Cursor, bytes: number): number {
  const start = cursor.at;
  if (start + bytes > cursor.bytes.length) throw tooShort(cursor);
  cursor.at = start + bytes;
  return start;
}

function take(cursor: Cursor, bytes: number): Buffer {
  const start = advance(cursor, bytes);
  return cursor.bytes.subarray(start, start + bytes);
}

function tooShort(cursor: Cursor): KangarooError {
  return new KangarooError('PROTOCOL', `${cursor.what}: the frame is too short for its fields`);
}
