/** What an entry keeps of a record's head, in a third of the room, is what the head said. */
import { describe, expect, test } from 'vitest';
import {
  FLAGS,
  headBytes,
  headOf,
  KIND,
  type Operation,
  type RecordHeader,
} from '../../../src/protocol/operation.ts';
import { limits } from '../../../src/base/limits.ts';
import { Entry } from '../../../src/spool/entry.ts';

const headWith = (parts: Partial<Operation>, more: Partial<RecordHeader> = {}): RecordHeader => {
  const { kind = KIND.write, ...others } = parts;
  return { ...headOf({ kind, name: 'n', path: 'p', ...others }, 9), seq: 7, ...more };
};

describe('an entry', () => {
  const all = Object.values(FLAGS).reduce((sum, flag) => sum | flag, 0);

  test('keeps every flag, kind, mode and number of hops beside each other', () => {
    for (const flags of [0, ...Object.values(FLAGS), all]) {
      for (const kind of Object.values(KIND)) {
        for (const mode of [0, 0o7777]) {
          for (const hops of [0, 1, limits.hopsMax + 1]) {
            const entry = new Entry(headWith({ kind, flags, mode }, { hops }), 1, 2, 3);
            expect(entry).toMatchObject({ kind, flags, mode, hops });
            entry.released = entry.givenUp = true;
            expect(entry).toMatchObject({ kind, flags, mode, hops, released: true, givenUp: true });
          }
        }
      }
    }
  });

  test('with more hops than anybody counts has still too many', () => {
    const { hops, kind } = new Entry(headWith({ kind: KIND.remove }, { hops: 255 }), 1, 2, 3);
    expect([hops > limits.hopsMax, kind]).toEqual([true, KIND.remove]);
  });

  test('keeps what few have', () => {
    const head = headWith({ kind: KIND.rename, path2: 'q', size: 5, mtimeNs: 6n });
    const said = { path2: 'q', size: 5, mtimeNs: 6n };
    expect(new Entry(head, 1, 2, 3)).toMatchObject(said);
    const none = { path2: '', size: 0, mtimeNs: 0n };
    expect(new Entry(headWith({}), 1, 2, 3)).toMatchObject(none);
  });

  test('has the numbers of its own spool instead of what came in', () => {
    const head = headWith({ flags: FLAGS.CREATE | FLAGS.EXTERNAL }, { hops: 2, payloadBytes: 10 });
    const own = { seq: 70, hops: 3, originId: 'ab'.repeat(16) };
    const inline = new Entry(head, 1, 100, 3, { ...own, place: null });
    expect(inline).toMatchObject({ ...own, flags: FLAGS.CREATE, isExternal: false });
    expect(inline.bytes).toBe(headBytes(head) + 10);
    const external = new Entry(head, 1, 100, 3, { ...own, place: [8, 9] });
    expect(external).toMatchObject({ isExternal: true, payloadSegment: 8, payloadOffset: 9 });
    expect(external.bytes).toBe(headBytes(head));
  });

  test('knows where its payload is, also when the record is moved', () => {
    const inline = headWith({}, { payloadBytes: 10 });
    const entry = new Entry(inline, 1, 100, 3);
    const place = (): number[] => [entry.payloadSegment, entry.payloadOffset];
    expect(place()).toEqual([1, 100 + headBytes(inline)]);
    Object.assign(entry, { segment: 4, at: 200 });
    expect(place()).toEqual([4, 200 + headBytes(inline)]);

    const elsewhere = { payloadBytes: 10, payloadSegment: 8, payloadOffset: 0 };
    const external = new Entry(headWith({ flags: FLAGS.EXTERNAL }, elsewhere), 1, 100, 3);
    Object.assign(external, { segment: 4, at: 200 });
    expect([external.payloadSegment, external.payloadOffset]).toEqual([8, 0]);
  });
});
