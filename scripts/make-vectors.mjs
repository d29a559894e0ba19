/**
 * Makes test/vectors/frames.json and records.json: frames and records with their bytes in hex, for
 * the tests of this codec and of any other one. Run once for a new message or record field, after
 * npm run build; a change of what is there already is a change of the wire format.
 *
 * In the JSON, 64-bit signed numbers are decimal strings, bytes and ids are hex, paths are strings
 * with one character a byte.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { crc32c } from '../dist/base/crc32c.js';
import { encodePrefix, FRAME_FLAGS, PUTS_TYPE } from '../dist/protocol/frame.js';
import { encodeMessage, MESSAGES } from '../dist/protocol/messages.js';
import { encodeHead, FLAGS, KIND } from '../dist/protocol/operation.js';

const directory = new URL('../test/vectors/', import.meta.url);
const ID = '00112233445566778899aabbccddeeff';
const SAFE_MAX = Number.MAX_SAFE_INTEGER;

/** A value of a field that differs from its neighbours, and the greatest one. */
const PLAIN = {
  u8: (n) => (n * 37 + 1) % 256,
  u16: (n) => (n * 1021 + 258) % 65_536,
  u32: (n) => (n * 16_909_060 + 67_305_985) % 2 ** 32,
  u64: (n) => n * 2 ** 33 + 1_234_567,
  i64: (n) => (BigInt(n + 1) * -1_700_000_000_123_456_789n) / 10n,
  bool: () => true,
  id: () => ID,
  text: (n) => `text ${n} – ü`,
  path: (n) => `dir/\xff\xfe ${n}`,
  bytes: (n) => Buffer.from([n, 0, 255, 10]),
};
const GREATEST = {
  u8: () => 255,
  u16: () => 65_535,
  u32: () => 2 ** 32 - 1,
  u64: () => SAFE_MAX,
  i64: () => -(2n ** 63n),
  bool: () => false,
  id: () => 'f'.repeat(32),
  text: () => '',
  path: () => '',
  bytes: () => Buffer.alloc(0),
};

function sample(fields, values, rows) {
  const message = {};
  let n = 0;
  for (const [field, kind] of Object.entries(fields)) {
    message[field] =
      typeof kind === 'object'
        ? Array.from({ length: rows }, () => sample(kind.list, values, rows))
        : values[kind](n++);
  }
  return message;
}

function asJson(value) {
  if (typeof value === 'bigint') return String(value);
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, asJson(one)]));
}

const frames = [];
for (const [name, { fields }] of Object.entries(MESSAGES)) {
  if (name === 'PUTS') continue;
  for (const [callId, values, rows] of [
    [7, PLAIN, 2],
    [2 ** 32 - 1, GREATEST, 0],
  ]) {
    const message = sample(fields, values, rows);
    const hex = encodeMessage(name, message, callId).toString('hex');
    frames.push({ name, callId, message: asJson(message), hex });
  }
}

const BASE = {
  kind: KIND.write,
  flags: 0,
  name: 'archive',
  path: 'run8/out.dat',
  path2: '',
  offset: 0,
  size: 0,
  mode: 0,
  mtimeNs: 0n,
  atimeNs: 0n,
  extension: Buffer.alloc(0),
  hops: 0,
  seq: 1,
  originId: '0'.repeat(32),
  originSeq: 0,
  senderId: '0'.repeat(32),
  senderSeq: 0,
  payloadSegment: 0,
  payloadOffset: 0,
};
const ATTRIBUTES = {
  mode: 0o644,
  mtimeNs: 1_700_000_000_123_456_789n,
  atimeNs: -1n,
};
const NUMBERS = {
  hops: 3,
  seq: 4_294_967_301,
  originId: ID,
  originSeq: 77,
  senderId: 'ff'.repeat(16),
  senderSeq: SAFE_MAX,
};
const CASES = [
  ['create', { flags: FLAGS.CREATE | FLAGS.PARENTS }, ''],
  ['write', { offset: 1_048_576 }, 'some bytes\0\xff'],
  [
    'whole file',
    {
      flags: FLAGS.CREATE | FLAGS.TRUNCATE | FLAGS.MODE | FLAGS.MTIME | FLAGS.ATIME,
      size: 3,
      ...ATTRIBUTES,
    },
    'abc',
  ],
  ['truncate', { flags: FLAGS.TRUNCATE, size: SAFE_MAX }, ''],
  ['attributes of the export directory', { path: '', flags: FLAGS.MODE, mode: 0o7777 }, ''],
  ['relayed', { ...NUMBERS, offset: 5 }, 'x'],
  [
    'with a payload elsewhere',
    {
      ...NUMBERS,
      flags: FLAGS.EXTERNAL,
      payloadSegment: 13,
      payloadOffset: 65_536,
      payloadBytes: 1_048_576,
      payloadCrc: 0xdeadbeef,
    },
    '',
  ],
  ['with an extension', { extension: Buffer.from('signed by nobody') }, 'y'],
  ['path that is no UTF-8', { path: 'a/\xff\xfe/\x01' }, ''],
  ['mkdir', { kind: KIND.mkdir, flags: FLAGS.PARENTS | FLAGS.MODE, mode: 0o755, path: 'run8' }, ''],
  ['rename', { kind: KIND.rename, path: 'a.tmp', path2: 'a' }, ''],
  ['remove', { kind: KIND.remove }, ''],
  ['remove directory', { kind: KIND.remove, flags: FLAGS.DIRECTORY, path: 'run8' }, ''],
];
const records = CASES.map(([what, parts, text]) => {
  const payload = Buffer.from(text, 'latin1');
  const sums = { payloadBytes: payload.length, payloadCrc: crc32c(payload) };
  const head = { ...BASE, ...sums, ...parts };
  const bytes = Buffer.concat([encodeHead(head), payload]);
  return { what, head: asJson(head), payload: payload.toString('hex'), hex: bytes.toString('hex') };
});

const body = Buffer.concat(records.slice(0, 3).map(({ hex }) => Buffer.from(hex, 'hex')));
const prefix = encodePrefix(PUTS_TYPE, 0, body.length, 0, FRAME_FLAGS.REPEATED);
const puts = {
  name: 'PUTS',
  callId: 0,
  repeated: true,
  records: CASES.slice(0, 3).map(([what]) => what),
  hex: Buffer.concat([prefix, body]).toString('hex'),
};

mkdirSync(directory, { recursive: true });
const write = (file, list) => {
  writeFileSync(new URL(file, directory), `${JSON.stringify(list, null, 1)}\n`);
};
write('frames.json', [...frames, puts]);
write('records.json', records);
