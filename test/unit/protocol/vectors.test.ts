/**
 * The wire format against bytes that were written down once: a change here is a change of the
 * format, and the bytes are what another implementation is tested with too. Each message also comes
 * back from its bytes, and random ones survive the way there and back.
 */
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { crc32cByTables } from '../../../src/base/crc32c.ts';
import {
  type Frame,
  FRAME_FLAGS,
  FrameReader,
  PREFIX_BYTES,
  PUTS_TYPE,
} from '../../../src/protocol/frame.ts';
import {
  decodeMessage,
  encodeDataHead,
  encodeMessage,
  type Message,
  messageName,
  type MessageName,
  MESSAGES,
} from '../../../src/protocol/messages.ts';
import {
  decodeHead,
  encodeHead,
  measure,
  type RecordHeader,
} from '../../../src/protocol/operation.ts';

type FieldKind = string | { readonly list: Fields };
interface Fields {
  readonly [field: string]: FieldKind;
}
type Json = Record<string, unknown>;
interface FrameVector {
  readonly name: MessageName;
  readonly callId: number;
  readonly message: Json;
  readonly records?: readonly string[];
  readonly hex: string;
}
interface RecordVector {
  readonly what: string;
  readonly head: Json;
  readonly payload: string;
  readonly hex: string;
}

const load = (file: string): unknown => {
  return JSON.parse(readFileSync(new URL(`../../vectors/${file}`, import.meta.url), 'utf8'));
};
const frames = load('frames.json') as FrameVector[];
const records = load('records.json') as RecordVector[];
const controls = frames.filter(({ name }) => name !== 'PUTS');

const fromJson = (fields: Fields, json: Json): Json => {
  const message: Json = {};
  for (const [field, kind] of Object.entries(fields)) {
    const value = json[field];
    if (typeof kind === 'object') {
      message[field] = (value as Json[]).map((row) => fromJson(kind.list, row));
    } else if (kind === 'i64') message[field] = BigInt(value as string);
    else if (kind === 'bytes') message[field] = Buffer.from(value as string, 'hex');
    else message[field] = value;
  }
  return message;
};
const messageOf = ({ name, message }: FrameVector): Message<MessageName> => {
  return fromJson(MESSAGES[name].fields, message) as Message<MessageName>;
};
const headOf = ({ head }: RecordVector): RecordHeader => {
  return {
    ...head,
    mtimeNs: BigInt(head['mtimeNs'] as string),
    atimeNs: BigInt(head['atimeNs'] as string),
    extension: Buffer.from(head['extension'] as string, 'hex'),
  } as unknown as RecordHeader;
};
const readFrames = (bytes: Buffer): Frame[] => {
  const reader = new FrameReader();
  reader.bodyBytesMax = 1 << 20;
  reader.push(bytes);
  const found: Frame[] = [];
  for (let frame = reader.next(); frame !== null; frame = reader.next()) found.push(frame);
  return found;
};

describe('frames', () => {
  test('there is a vector of every message, and each type has one name', () => {
    const named = new Set(frames.map(({ name }) => name));
    expect([...named].sort()).toEqual(Object.keys(MESSAGES).sort());
    for (const [name, { type }] of Object.entries(MESSAGES)) expect(messageName(type)).toBe(name);
    expect([messageName(0), messageName(255)]).toEqual([null, null]);
  });

  test.each(controls.map((vector) => [vector.name, vector.callId, vector] as const))(
    '%s of call %i is written and read as it was written down',
    (name, callId, vector) => {
      const message = messageOf(vector);
      expect(encodeMessage(name, message, callId).toString('hex')).toBe(vector.hex);
      const [frame, ...others] = readFrames(Buffer.from(vector.hex, 'hex'));
      expect(others).toEqual([]);
      expect(frame).toMatchObject({ type: MESSAGES[name].type, flags: 0, callId });
      expect(decodeMessage(name, frame as Frame)).toEqual(message);
    },
  );

  test('the prefix is as drawn, worked out by hand', () => {
    const bytes = encodeMessage('COMMIT', { lowWater: 0x0102_0304_0506 }, 0x0a0b_0c0d);
    const body = Buffer.from('0605040302010000', 'hex');
    const crc = Buffer.alloc(4);
    crc.writeUInt32LE(crc32cByTables(body));
    const prefix = Buffer.from('08000000' + '04' + '00' + '0000' + '0d0c0b0a', 'hex');
    expect(bytes).toEqual(Buffer.concat([prefix, crc, body]));
    expect(PREFIX_BYTES).toBe(16);
  });

  test('PUTS holds records back to back, and says REPEATED', () => {
    const vector = frames.find(({ name }) => name === 'PUTS') as FrameVector;
    const [frame] = readFrames(Buffer.from(vector.hex, 'hex'));
    expect(frame).toMatchObject({ type: PUTS_TYPE, flags: FRAME_FLAGS.REPEATED, callId: 0 });
    const body = (frame as Frame).body;
    const found: string[] = [];
    for (let at = 0; at < body.length; at += measure(body, at)?.total ?? Infinity) {
      found.push(body.toString('hex', at, at + (measure(body, at)?.total ?? 0)));
    }
    expect(found).toEqual(vector.records?.map((what) => records.find((r) => r.what === what)?.hex));
  });

  test('a later release may add fields: what is behind the last one is passed over', () => {
    for (const vector of controls) {
      const [frame] = readFrames(Buffer.from(vector.hex, 'hex')) as [Frame];
      const longer = { ...frame, body: Buffer.concat([frame.body, Buffer.from('more')]) };
      expect(decodeMessage(vector.name, longer)).toEqual(messageOf(vector));
    }
  });

  test('any message comes back from its bytes', () => {
    const name = fc.constantFrom(...(Object.keys(MESSAGES) as MessageName[]));
    const pair = name.chain((one) => fc.tuple(fc.constant(one), arbitrary(MESSAGES[one].fields)));
    fc.assert(
      fc.property(pair, fc.integer({ min: 0, max: 2 ** 32 - 1 }), ([one, message], callId) => {
        if (one === 'PUTS') return;
        const bytes = encodeMessage(one, message as Message<typeof one>, callId);
        const [frame] = readFrames(bytes);
        expect(decodeMessage(one, frame as Frame)).toEqual(message);
      }),
      { numRuns: 2_000 },
    );
  });
});

test('a DATA frame in two parts is that in one', () => {
  for (const length of [0, 1, 5_000, 70_000]) {
    const bytes = Buffer.alloc(length, 'some');
    const whole = encodeMessage('DATA', { offset: 2 ** 40 + 3, bytes }, 77);
    const head = encodeDataHead(2 ** 40 + 3, bytes, 77);
    expect(Buffer.concat([head, bytes])).toEqual(whole);
  }
});

describe('records', () => {
  test.each(records.map((vector) => [vector.what, vector] as const))(
    '%s is written and read as it was written down',
    (_, vector) => {
      const head = headOf(vector);
      const bytes = Buffer.from(vector.hex, 'hex');
      const payload = Buffer.from(vector.payload, 'hex');
      expect(Buffer.concat([encodeHead(head), payload])).toEqual(bytes);
      expect(decodeHead(bytes)).toEqual(head);
      expect(measure(bytes, 0)).toEqual({
        head: bytes.length - payload.length,
        total: bytes.length,
      });
    },
  );

  test('the layout is as drawn, field by field', () => {
    const bytes = Buffer.from(records.find(({ what }) => what === 'relayed')?.hex ?? '', 'hex');
    expect(bytes.toString('latin1', 0, 4)).toBe('KOP1');
    expect(bytes.readUInt32LE(4)).toBe(crc32cByTables(bytes.subarray(8, bytes.length - 1)));
    expect(bytes.readUInt32LE(8)).toBe(crc32cByTables(Buffer.from('x')));
    expect(bytes.readUInt32LE(12)).toBe(1);
    expect([bytes.readUInt16LE(16), bytes.readUInt16LE(18), bytes.readUInt16LE(20)]).toEqual([
      'run8/out.dat'.length,
      0,
      0,
    ]);
    expect([...bytes.subarray(22, 28)]).toEqual(['archive'.length, 1, 0, 0, 3, 1]);
    expect(bytes.readUInt32LE(28)).toBe(0);
    expect(bytes.readBigUInt64LE(32)).toBe(4_294_967_301n);
    expect(bytes.readBigUInt64LE(40)).toBe(5n);
    expect(bytes.toString('hex', 72, 88)).toBe('00112233445566778899aabbccddeeff');
    expect(bytes.readBigUInt64LE(88)).toBe(77n);
    expect(bytes.toString('hex', 96, 112)).toBe('ff'.repeat(16));
    expect(bytes.readBigUInt64LE(112)).toBe(BigInt(Number.MAX_SAFE_INTEGER));
    expect(bytes.toString('latin1', 136)).toBe('archiverun8/out.datx');
  });
});

/** Messages with these fields. */
function arbitrary(fields: Fields): fc.Arbitrary<Json> {
  const parts: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [field, kind] of Object.entries(fields)) {
    parts[field] =
      typeof kind === 'object'
        ? fc.array(arbitrary(kind.list), { maxLength: 4 })
        : (SCALARS[kind] as fc.Arbitrary<unknown>);
  }
  // Objects with a prototype, as the decoder makes them.
  return fc.record(parts, { noNullPrototype: true });
}

const bytesOf = (maxLength: number): fc.Arbitrary<Buffer> => {
  return fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
};
const SCALARS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  u8: fc.integer({ min: 0, max: 255 }),
  u16: fc.integer({ min: 0, max: 65_535 }),
  u32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  u64: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  bool: fc.boolean(),
  id: fc
    .uint8Array({ minLength: 16, maxLength: 16 })
    .map((bytes) => Buffer.from(bytes).toString('hex')),
  text: fc.string({ unit: 'grapheme', maxLength: 40 }),
  path: bytesOf(60).map((bytes) => bytes.toString('latin1')),
  bytes: bytesOf(60),
};
