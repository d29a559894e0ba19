/** Sets kept as ranges, against sets kept as sets; and their encoding, sound and not. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RangeSet } from '../../../src/base/ranges.ts';

const MOST = 60;
const number = fc.integer({ min: 1, max: MOST });
type Step =
  | { readonly do: 'add'; readonly value: number }
  | { readonly do: 'floor'; readonly value: number }
  | { readonly do: 'addAll'; readonly values: readonly number[]; readonly floor: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('add' as const), value: number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('floor' as const), value: number }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('addAll' as const),
      values: fc.array(number, { maxLength: 10 }),
      floor: fc.nat(10),
    }),
  },
);

const of = (values: readonly number[], floor = 0): RangeSet => {
  const set = new RangeSet(floor);
  for (const value of values) set.add(value);
  return set;
};
const upTo = (floor: number): number[] => Array.from({ length: floor }, (_, i) => i + 1);
const members = (set: RangeSet): number[] => upTo(MOST + 2).filter((value) => set.has(value));
/** Ascending, disjoint, not adjacent, all above the floor. */
const isCanonical = (set: RangeSet): boolean => {
  let before = set.floor;
  for (const [first, last] of set.ranges()) {
    if (first <= before + 1 || last < first) return false;
    before = last;
  }
  return [...set.ranges()].length === set.rangeCount;
};

test('any steps give what a set of numbers gives', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const set = new RangeSet();
      const model = new Set<number>();
      for (const one of steps) {
        if (one.do === 'add') {
          expect(set.add(one.value)).toBe(!model.has(one.value));
          model.add(one.value);
        } else if (one.do === 'floor') {
          set.raiseFloor(one.value);
          for (const value of upTo(one.value)) model.add(value);
        } else {
          set.addAll(of(one.values, one.floor));
          for (const value of [...one.values, ...upTo(one.floor)]) model.add(value);
        }
        expect(members(set)).toEqual([...model].sort((a, b) => a - b));
        expect(isCanonical(set)).toBe(true);
      }
      const copy = set.clone();
      const decoded = RangeSet.decode(set.encode());
      copy.add(MOST + 2);
      expect(set.has(MOST + 2)).toBe(false);
      expect(members(decoded)).toEqual(members(set));
      expect([decoded.floor, [...decoded.ranges()]]).toEqual([set.floor, [...set.ranges()]]);
    }),
    { numRuns: 500 },
  );
});

test('the floor never goes down, and swallows what it reaches', () => {
  const set = of([2, 3, 7]);
  expect([set.floor, set.rangeCount]).toEqual([0, 2]);
  set.add(1);
  expect([set.floor, set.rangeCount]).toEqual([3, 1]);
  set.raiseFloor(2);
  expect(set.floor).toBe(3);
  set.raiseFloor(6);
  expect([set.floor, set.rangeCount]).toEqual([7, 0]);
});

test('a set made of bounds may be given as it is found', () => {
  expect(members(new RangeSet(0, [1, 1]))).toEqual([1]);
  const set = new RangeSet(0, [1, 1]);
  set.add(2);
  expect([set.floor, set.rangeCount]).toEqual([2, 0]);
});

test('numbers to 2^53 are exact', () => {
  const top = Number.MAX_SAFE_INTEGER;
  const set = of([top - 2, top]);
  const again = RangeSet.decode(set.encode());
  expect([top - 3, top - 2, top - 1, top].map((value) => again.has(value))).toEqual([
    false,
    true,
    false,
    true,
  ]);
});

test('as many numbers as a segment has records are quick, in any order', () => {
  const most = 65_536;
  const set = new RangeSet();
  const startMs = performance.now();
  for (let value = most; value > 0; value -= 2) set.add(value);
  expect(set.rangeCount).toBe(most / 2);
  for (let value = 1; value < most; value += 2) set.add(value);
  expect([set.floor, set.rangeCount]).toEqual([most, 0]);
  expect(performance.now() - startMs).toBeLessThan(8_000);
});

describe('an encoding', () => {
  test('is little endian: floor, then first and last of each range', () => {
    expect(of([5, 6], 2).encode().toString('hex')).toBe(
      '0200000000000000' + '0500000000000000' + '0600000000000000',
    );
  });

  test('that is none is refused', () => {
    const good = of([5, 6, 9], 2).encode();
    const bad = [
      good.subarray(0, 7),
      good.subarray(0, 16),
      Buffer.concat([good, Buffer.alloc(8)]),
      Buffer.concat([good.subarray(0, 8), good.subarray(16, 24), good.subarray(8, 16)]),
      Buffer.concat([good, good.subarray(8)]),
      Buffer.concat([Buffer.alloc(7), Buffer.from([0xff])]),
    ];
    for (const bytes of bad) expect(() => RangeSet.decode(bytes)).toThrow(RangeError);
  });

  test('of any bytes is a set or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          isCanonical(RangeSet.decode(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
