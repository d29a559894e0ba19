/**
 * A reader of frames that gathers batches of records in one buffer: each body is whole while it is
 * the latest one, wherever the stream is cut, and what is no PUTS stays whole for ever.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c } from '../../../src/base/crc32c.ts';
import { limits } from '../../../src/base/limits.ts';
import { encodePrefix, FrameReader, PUTS_TYPE } from '../../../src/protocol/frame.ts';
import { MESSAGES } from '../../../src/protocol/messages.ts';

const types = [PUTS_TYPE, MESSAGES.DATA.type];
const sizes = fc.oneof(
  fc.nat({ max: 300 }),
  fc.integer({ min: 60 * 1024, max: limits.batchBytes }),
  fc.constantFrom(limits.batchBytes, limits.batchBytes + 1, limits.payloadBytesMax),
);
const plan = fc.array(fc.record({ type: fc.constantFrom(...types), bytes: sizes }), {
  minLength: 1,
  maxLength: 6,
});

test('bodies are whole wherever the stream is cut', () => {
  fc.assert(
    fc.property(plan, fc.array(fc.integer({ min: 1, max: 70_000 })), (frames, cuts) => {
      const bodies = frames.map(({ bytes }, i) => Buffer.alloc(bytes, `frame ${i} `));
      const stream = Buffer.concat(
        frames.flatMap(({ type }, i) => {
          const body = bodies[i] as Buffer;
          return [encodePrefix(type, 0, body.length, type === PUTS_TYPE ? 0 : crc32c(body)), body];
        }),
      );
      const reader = new FrameReader();
      reader.bodyBytesMax = limits.frameBytesMax;
      reader.sharePuts();
      const kept: [Buffer, Buffer][] = [];
      let count = 0;
      for (let at = 0, i = 0; at < stream.length; i++) {
        const end = at + (cuts[i] ?? 65_536);
        reader.push(Buffer.from(stream.subarray(at, end)));
        at = end;
        for (let frame = reader.next(); frame !== null; frame = reader.next(), count++) {
          const body = bodies[count] as Buffer;
          expect(frame.body.equals(body)).toBe(true);
          if (frame.type !== PUTS_TYPE) kept.push([frame.body, body]);
        }
      }
      expect(count).toBe(frames.length);
      for (const [body, wanted] of kept) expect(body.equals(wanted)).toBe(true);
    }),
    { numRuns: 60 },
  );
});
