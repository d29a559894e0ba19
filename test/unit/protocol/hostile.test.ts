/**
 * Decoders under bytes that nobody meant: random ones, sound ones with a few changed, lengths and
 * counts that lie. Nothing but PROTOCOL or the name of a rule comes out, nothing is made before its
 * length has been checked, and nothing sound is refused or changed on the way.
 */
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../src/base/crc32c.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { limits } from '../../../src/base/limits.ts';
import { type Frame, FrameReader, PREFIX_BYTES, PUTS_TYPE } from '../../../src/protocol/frame.ts';
import {
  decodeMessage,
  encodeMessage,
  type MessageName,
  MESSAGES,
} from '../../../src/protocol/messages.ts';
import {
  decodeHead,
  FLAGS,
  HEADER_BYTES,
  invalidName,
  invalidPath,
  KIND,
  measure,
  sealHead,
} from '../../../src/protocol/operation.ts';

const RUNS = 7_000;
const vectors = (file: string): Buffer[] => {
  const text = readFileSync(new URL(`../../vectors/${file}`, import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly hex: string }[]).map(({ hex }) => Buffer.from(hex, 'hex'));
};
const frames = vectors('frames.json');
const records = vectors('records.json');
const names = Object.keys(MESSAGES) as MessageName[];

/** A sound thing with some bytes changed, put in or cut off. */
const mutated = (sound: readonly Buffer[]): fc.Arbitrary<Buffer> => {
  const change = fc.tuple(fc.constantFrom('set', 'cut', 'insert', 'huge'), fc.nat(), fc.nat(255));
  return fc
    .tuple(fc.constantFrom(...sound), fc.array(change, { maxLength: 6 }))
    .map(([one, list]) => {
      let bytes = Buffer.from(one);
      for (const [what, where, value] of list) {
        const at = bytes.length === 0 ? 0 : where % bytes.length;
        if (what === 'cut') bytes = bytes.subarray(0, at);
        else if (what === 'insert') {
          bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([value]), bytes.subarray(at)]);
        } else if (what === 'set' && bytes.length > 0) bytes[at] = value;
        else bytes.fill(0xff, at, Math.min(at + 4, bytes.length));
      }
      return bytes;
    });
};
const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
const isProtocol = (error: unknown): boolean => {
  return error instanceof KangarooError && error.code === 'PROTOCOL';
};

describe('messages', () => {
  test(`any body is a message or PROTOCOL (${RUNS} cases)`, () => {
    const bodies = frames.map((frame) => frame.subarray(PREFIX_BYTES));
    const input = fc.tuple(fc.constantFrom(...names), fc.oneof(mutated(bodies), noise));
    fc.assert(
      fc.property(input, ([name, body]) => {
        const frame: Frame = { type: MESSAGES[name].type, flags: 0, callId: 0, body };
        try {
          const message = decodeMessage(name, frame);
          // What was read is something that can be written.
          expect(encodeMessage(name, message).length).toBeGreaterThanOrEqual(PREFIX_BYTES);
        } catch (error) {
          expect(isProtocol(error)).toBe(true);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('a count or a length that lies is refused before anything is made for it', () => {
    const lies = [
      ['RELEASE', Buffer.from('ffffffff', 'hex')],
      ['WORK', Buffer.concat([Buffer.from('00000001', 'hex'), Buffer.alloc(60)])],
      ['LISTED', Buffer.from('01ffffff7f', 'hex')],
      ['DOCUMENT', Buffer.from('ffffffff41', 'hex')],
      ['DATA', Buffer.concat([Buffer.alloc(8), Buffer.from('00000080', 'hex'), Buffer.alloc(50)])],
      ['GET', Buffer.from('00000000ffff', 'hex')],
    ] as const;
    const before = process.memoryUsage().arrayBuffers;
    for (const [name, body] of lies) {
      const frame = { type: MESSAGES[name].type, flags: 0, callId: 0, body };
      expect(() => decodeMessage(name, frame)).toThrow(
        expect.objectContaining({ code: 'PROTOCOL' }),
      );
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });

  test('numbers beyond 2^53 are refused', () => {
    const body = Buffer.alloc(8, 0xff);
    const frame = { type: MESSAGES.COMMIT.type, flags: 0, callId: 0, body };
    expect(() => decodeMessage('COMMIT', frame)).toThrow(/beyond 2\^53/);
  });
});

describe('records', () => {
  test(`any bytes are a record or break a rule that has a name (${RUNS} cases)`, () => {
    fc.assert(
      fc.property(fc.oneof(mutated(records), noise), fc.boolean(), (bytes, reseal) => {
        const size = measure(bytes, 0);
        if (reseal && size !== null && size.head <= bytes.length) sealHead(bytes, 0, size.head);
        const head = decodeHead(bytes);
        if (typeof head === 'string') {
          expect(head.length).toBeGreaterThan(3);
          return;
        }
        expect(size?.head).toBeLessThanOrEqual(bytes.length);
        expect(head.payloadBytes).toBeLessThanOrEqual(limits.payloadBytesMax);
        expect(invalidName(head.name) || invalidPath(head.path) || invalidPath(head.path2)).toBe(
          false,
        );
        expect(Number.isSafeInteger(head.offset + head.payloadBytes)).toBe(true);
      }),
      { numRuns: RUNS },
    );
  });

  test('every bit of a head is covered by its checksum or its magic', () => {
    const sound = records[5] as Buffer;
    const { head = 0 } = measure(sound, 0) ?? {};
    for (let bit = 0; bit < head * 8; bit++) {
      const bytes = Buffer.from(sound);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(typeof decodeHead(bytes)).toBe('string');
    }
  });

  test.each([
    ['unknown kind', 23, 0],
    ['unknown kind', 23, 5],
    ['unknown flags', 25, 1],
    ['record version', 27, 2],
    ['mode', 30, 1],
    ['beyond 2^53', 38, 0x20],
    ['beyond 2^53', 46, 0x20],
    ['payload place', 126, 0x20],
  ])('%s is named', (rule, at, value) => {
    const bytes = Buffer.from(records[0] as Buffer);
    bytes[at] = value;
    sealHead(bytes, 0, bytes.length);
    expect(decodeHead(bytes)).toContain(rule);
  });

  test.each([
    ['payloadBytes', 12, limits.payloadBytesMax + 1, 4],
    ['pathBytes', 16, limits.pathBytesMax + 1, 2],
    ['path2Bytes', 18, limits.pathBytesMax + 1, 2],
    ['extensionBytes', 20, limits.extensionBytesMax + 1, 2],
  ] as const)('%s beyond its bound is no record, before anything is read', (_, at, value, size) => {
    const bytes = Buffer.from(records[0] as Buffer);
    if (size === 4) bytes.writeUInt32LE(value, at);
    else bytes.writeUInt16LE(value, at);
    expect(measure(bytes, 0)).toBeNull();
  });

  test('what does not go together is refused', () => {
    const changed = (change: (bytes: Buffer) => void, from = records[1] as Buffer): unknown => {
      const bytes = Buffer.from(from);
      change(bytes);
      sealHead(bytes, 0, measure(bytes, 0)?.head ?? HEADER_BYTES);
      return decodeHead(bytes);
    };
    expect(changed((bytes) => (bytes[23] = KIND.mkdir))).toBe('payload without a write');
    expect(changed((bytes) => (bytes[23] = KIND.rename), records[0])).toBe('second path');
    expect(changed((bytes) => bytes.writeUInt16LE(FLAGS.EXTERNAL, 24))).toBeTypeOf('object');
    expect(changed((bytes) => bytes.write('/', HEADER_BYTES + 7))).toBe('name or path');
  });
});

describe('names and paths', () => {
  test.each(['a', 'A-1.b', '7'])('%s is a server name', (name) => {
    expect(invalidName(name)).toBe(false);
  });
  test.each(['', '.a', '-a', 'a b', 'a/b', 'a_b', 'ä', 'a\n', 'a\0'])(
    '%j is no server name',
    (name) => {
      expect(invalidName(name)).toBe(true);
    },
  );
  test.each(['', 'a', 'a/b', '...', 'a/..b', '.a/b.', '\xff\n\t'])('%j is a path', (path) => {
    expect(invalidPath(path)).toBe(false);
  });
  test.each(['/', '/a', 'a/', 'a//b', '.', '..', 'a/.', 'a/..', '../a', './a', 'a/../b', 'a\0b'])(
    '%j is no path',
    (path) => {
      expect(invalidPath(path)).toBe(true);
    },
  );

  test('have a greatest length', () => {
    const { nameBytesMax, pathBytesMax } = limits;
    expect([nameBytesMax, nameBytesMax + 1].map((n) => invalidName('x'.repeat(n)))).toEqual([
      false,
      true,
    ]);
    expect([pathBytesMax, pathBytesMax + 1].map((n) => invalidPath('x'.repeat(n)))).toEqual([
      false,
      true,
    ]);
  });

  test('no path that is let through leaves the directory it starts in', () => {
    const part = fc.constantFrom('.', '..', '/', 'a', '\0', ' ', '...', '');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 10 }), (parts) => {
        const path = parts.join('');
        if (invalidPath(path) || path === '') return;
        const steps = path.split('/');
        expect(steps.some((step) => step === '' || step === '.' || step === '..')).toBe(false);
        expect(path.includes('\0')).toBe(false);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe('the stream', () => {
  const stream = Buffer.concat(frames);
  const all = (reader: FrameReader): string[] => {
    const found: string[] = [];
    for (let frame = reader.next(); frame !== null; frame = reader.next()) {
      found.push(`${frame.type}:${frame.callId}:${frame.flags}:${frame.body.toString('hex')}`);
    }
    return found;
  };
  const wholeReader = new FrameReader();
  wholeReader.push(stream);
  const whole = all(wholeReader);

  test('cut in two at every byte gives the same frames', () => {
    expect(whole).toHaveLength(frames.length);
    for (let cut = 0; cut <= stream.length; cut++) {
      const reader = new FrameReader();
      reader.push(stream.subarray(0, cut));
      const found = all(reader);
      reader.push(stream.subarray(cut));
      found.push(...all(reader));
      expect(found.length).toBe(whole.length);
      expect(reader.pendingBytes).toBe(0);
      if (cut % 97 === 0) expect(found).toEqual(whole);
    }
  });

  test('cut anywhere, with frames too large for one chunk, gives the same frames', () => {
    const large = [70_000, limits.batchBytes + 1, 1_000_000].map((length) => {
      return encodeMessage('DATA', { offset: length, bytes: Buffer.alloc(length, length & 0xff) });
    });
    const mixed = Buffer.concat([stream, ...large, stream, large[2] as Buffer]);
    const reference = new FrameReader();
    reference.bodyBytesMax = limits.frameBytesMax;
    reference.push(mixed);
    const expected = all(reference);
    fc.assert(
      fc.property(fc.array(fc.nat(mixed.length), { maxLength: 60 }), (cuts) => {
        const reader = new FrameReader();
        reader.bodyBytesMax = limits.frameBytesMax;
        const found: string[] = [];
        let from = 0;
        for (const cut of [...cuts.sort((a, b) => a - b), mixed.length]) {
          reader.push(Buffer.from(mixed.subarray(from, cut)));
          found.push(...all(reader));
          from = cut;
        }
        expect(found.length).toBe(expected.length);
        expect(found.every((frame, i) => frame === expected[i])).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  test(`of any bytes is frames or PROTOCOL, and never more than one frame is kept (${RUNS} cases)`, () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(mutated(frames), noise), { maxLength: 5 }), (chunks) => {
        const reader = new FrameReader();
        try {
          for (const chunk of chunks) {
            reader.push(chunk);
            all(reader);
          }
          expect(reader.pendingBytes).toBeLessThanOrEqual(PREFIX_BYTES + limits.greetingBytesMax);
        } catch (error) {
          expect(isProtocol(error)).toBe(true);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('a giant length is refused from its first 16 bytes, before and after the greeting', () => {
    for (const [allowed, length] of [
      [limits.greetingBytesMax, limits.greetingBytesMax + 1],
      [limits.frameBytesMax, limits.frameBytesMax + 1],
      [limits.frameBytesMax, 0xffff_ffff],
    ] as const) {
      const reader = new FrameReader();
      reader.bodyBytesMax = allowed;
      const prefix = Buffer.alloc(PREFIX_BYTES);
      prefix.writeUInt32LE(length, 0);
      const before = process.memoryUsage().arrayBuffers;
      reader.push(prefix);
      expect(() => reader.next()).toThrow(expect.objectContaining({ code: 'PROTOCOL' }));
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000);
    }
  });

  test('a wrong body or a set reserved byte is refused', () => {
    const sound = encodeMessage('COMMIT', { lowWater: 5 }, 1);
    for (const at of [6, 7, 12, PREFIX_BYTES, sound.length - 1]) {
      const bytes = Buffer.from(sound);
      bytes[at] = (bytes[at] as number) ^ 1;
      const reader = new FrameReader();
      reader.push(bytes);
      expect(() => reader.next()).toThrow(expect.objectContaining({ code: 'PROTOCOL' }));
    }
    const puts = Buffer.from(sound);
    puts[4] = PUTS_TYPE;
    puts.writeUInt32LE(0, 12);
    const reader = new FrameReader();
    reader.push(puts);
    expect(crc32c(reader.next()?.body ?? Buffer.alloc(0))).not.toBe(0);
  });
});
