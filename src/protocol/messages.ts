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
import { encodeFrame, PUTS_TYPE, type Frame } from './frame.ts';

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
          offset: 'u64',
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
    fields: { operations: { list: { seq: 'u64', segment: 'u64', offset: 'u64' } } },
  },
  DONE: { type: 25, fields: {} },
  ERROR: { type: 26, fields: { code: 'text', message: 'text', hint: 'text' } },
  PING: { type: 27, fields: {} },
  PONG: { type: 28, fields: {} },
  /** The caller no longer wants the answer of that call. */
  CANCEL: { type: 29, fields: {} },
  /** The sender will not send anything more on this session, ever. */
  BYE: { type: 30, fields: {} },
  /** Mover to server: these records of the spool cannot be read any more. */
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
  const row = MESSAGES[name];
  const parts: Buffer[] = [];
  encodeFields(row.fields, message as Record<string, unknown>, parts);
  return encodeFrame(row.type, callId, Buffer.concat(parts));
}

/**
 * The message in a frame's body.
 * @throws KangarooError PROTOCOL when the body is too short for its row or a value is out of range
 */
export function decodeMessage<N extends MessageName>(name: N, frame: Frame): Message<N> {
  const cursor = { bytes: frame.body, at: 0, what: name };
  return decodeFields(MESSAGES[name].fields, cursor) as Message<N>;
}

interface Cursor {
  readonly bytes: Buffer;
  at: number;
  readonly what: string;
}

function encodeFields(fields: Fields, message: Record<string, unknown>, parts: Buffer[]): void {
  for (const [field, kind] of Object.entries(fields)) {
    const value = message[field];
    if (typeof kind === 'object') {
      const rows = value as readonly Record<string, unknown>[];
      parts.push(u32(rows.length));
      for (const row of rows) encodeFields(kind.list, row, parts);
    } else {
      parts.push(encodeScalar(kind, value));
    }
  }
}

function u32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32LE(value);
  return out;
}

function encodeScalar(kind: Scalar, value: unknown): Buffer {
  switch (kind) {
    case 'u8':
      return Buffer.from([value as number]);
    case 'bool':
      return Buffer.from([value === true ? 1 : 0]);
    case 'u16': {
      const out = Buffer.allocUnsafe(2);
      out.writeUInt16LE(value as number);
      return out;
    }
    case 'u32':
      return u32(value as number);
    case 'u64': {
      const out = Buffer.allocUnsafe(8);
      out.writeBigUInt64LE(BigInt(value as number));
      return out;
    }
    case 'i64': {
      const out = Buffer.allocUnsafe(8);
      out.writeBigInt64LE(value as bigint);
      return out;
    }
    case 'id':
      return Buffer.from(value as string, 'hex');
    case 'text': {
      const text = Buffer.from(value as string, 'utf8');
      return Buffer.concat([u32(text.length), text]);
    }
    case 'path': {
      const path = Buffer.from(value as string, 'latin1');
      const out = Buffer.allocUnsafe(2 + path.length);
      out.writeUInt16LE(path.length);
      path.copy(out, 2);
      return out;
    }
    case 'bytes':
      return Buffer.concat([u32((value as Buffer).length), value as Buffer]);
  }
}

function decodeFields(fields: Fields, cursor: Cursor): Record<string, unknown> {
  const message: Record<string, unknown> = {};
  for (const [field, kind] of Object.entries(fields)) {
    if (typeof kind !== 'object') {
      message[field] = decodeScalar(kind, cursor);
      continue;
    }
    const count = advance(cursor, 4).readUInt32LE();
    // A row has at least one byte: a count beyond what is left is a lie, told before any is made.
    if (count > cursor.bytes.length - cursor.at) throw tooShort(cursor);
    const rows: Record<string, unknown>[] = [];
    for (let i = 0; i < count; i++) rows.push(decodeFields(kind.list, cursor));
    message[field] = rows;
  }
  return message;
}

function decodeScalar(kind: Scalar, cursor: Cursor): unknown {
  switch (kind) {
    case 'u8':
      return advance(cursor, 1)[0];
    case 'bool':
      return advance(cursor, 1)[0] !== 0;
    case 'u16':
      return advance(cursor, 2).readUInt16LE();
    case 'u32':
      return advance(cursor, 4).readUInt32LE();
    case 'u64': {
      const value = Number(advance(cursor, 8).readBigUInt64LE());
      if (!Number.isSafeInteger(value)) {
        throw new KangarooError('PROTOCOL', `${cursor.what}: number beyond 2^53`);
      }
      return value;
    }
    case 'i64':
      return advance(cursor, 8).readBigInt64LE();
    case 'id':
      return advance(cursor, 16).toString('hex');
    case 'text':
      return advance(cursor, advance(cursor, 4).readUInt32LE()).toString('utf8');
    case 'path':
      return advance(cursor, advance(cursor, 2).readUInt16LE()).toString('latin1');
    case 'bytes':
      return advance(cursor, advance(cursor, 4).readUInt32LE());
  }
}

function advance(cursor: Cursor, bytes: number): Buffer {
  const end = cursor.at + bytes;
  if (end > cursor.bytes.length) throw tooShort(cursor);
  const piece = cursor.bytes.subarray(cursor.at, end);
  cursor.at = end;
  return piece;
}

function tooShort(cursor: Cursor): KangarooError {
  return new KangarooError('PROTOCOL', `${cursor.what}: the frame is too short for its fields`);
}
