/**
 * checkRecords of the addon against the codec: the two agree on every body, whole, damaged at any
 * byte, cut short, or beyond a limit. Skipped without the addon, with the reason.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { crc32c } from '../../../src/base/crc32c.ts';
import { limits } from '../../../src/base/limits.ts';
import {
  decodeHead,
  encodeHead,
  FLAGS,
  KIND,
  measure,
  NO_ID,
  operation,
} from '../../../src/protocol/operation.ts';

const id = 'ab'.repeat(16);

function record(path: string, payload: Buffer, isExternal: boolean, extension: Buffer): Buffer {
  const head = encodeHead({
    ...operation({ kind: KIND.write, name: 'far', path, extension }),
    flags: isExternal ? FLAGS.CREATE | FLAGS.EXTERNAL : FLAGS.CREATE,
    payloadBytes: payload.length,
    payloadCrc: crc32c(payload),
    ...{ hops: 1, seq: 7, originId: id, originSeq: 9, senderId: NO_ID, senderSeq: 0 },
    ...{ payloadSegment: isExternal ? 3 : 0, payloadOffset: isExternal ? 4_096 : 0 },
  });
  return isExternal ? head : Buffer.concat([head, payload]);
}

const records = fc
  .array(
    fc.record({
      path: fc.stringMatching(/^[a-z]{1,12}(\/[a-z]{1,12}){0,3}$/),
      payload: fc.uint8Array({ maxLength: 300 }),
      isExternal: fc.boolean(),
      extension: fc.uint8Array({ maxLength: 9 }),
    }),
    { minLength: 1, maxLength: 5 },
  )
  .map((list) =>
    Buffer.concat(
      list.map(({ path, payload, isExternal, extension }) =>
        record(path, Buffer.from(payload), isExternal, Buffer.from(extension)),
      ),
    ),
  );

/** As the server does it without the addon. */
function isSound(body: Buffer): boolean {
  for (let at = 0; at < body.length;) {
    const size = measure(body, at);
    if (size === null || at + size.total > body.length) return false;
    if (crc32c(body.subarray(at + 8, at + size.head)) !== body.readUInt32LE(at + 4)) return false;
    const payload = body.subarray(at + size.head, at + size.total);
    if (payload.length > 0 && crc32c(payload) !== body.readUInt32LE(at + 8)) return false;
    at += size.total;
  }
  return true;
}

const { payloadBytesMax, pathBytesMax, extensionBytesMax } = limits;
const check = (body: Buffer): boolean | undefined =>
  native?.checkRecords(body, payloadBytesMax, pathBytesMax, extensionBytesMax);

describe.skipIf(native === null)(`checkRecords ${addonReason}`, () => {
  test('takes what the codec wrote', () => {
    fc.assert(
      fc.property(records, (body) => {
        expect(check(body)).toBe(true);
        expect(typeof decodeHead(body)).toBe('object');
      }),
    );
    expect(check(Buffer.alloc(0))).toBe(true);
  });

  test('and says what the codec says of what was damaged or cut', () => {
    fc.assert(
      fc.property(records, fc.nat(), fc.integer({ min: 1, max: 255 }), (whole, where, flip) => {
        const body = Buffer.from(whole);
        const at = where % body.length;
        body[at] = (body[at] as number) ^ flip;
        expect(check(body)).toBe(isSound(body));
        const short = whole.subarray(0, at);
        expect(check(short)).toBe(isSound(short));
      }),
      { numRuns: 2_000 },
    );
  });

  test('lengths beyond the limits are refused although the checksum is right', () => {
    const body = record('a/path', Buffer.from('payload'), false, Buffer.from('more'));
    expect(native?.checkRecords(body, 7, 6, 4)).toBe(true);
    expect(native?.checkRecords(body, 6, 6, 4)).toBe(false);
    expect(native?.checkRecords(body, 7, 5, 4)).toBe(false);
    expect(native?.checkRecords(body, 7, 6, 3)).toBe(false);
    expect(() => native?.checkRecords('x' as never, 1, 1, 1)).toThrow(TypeError);
  });
});
