/** The heap against a sorted list: any mixture of putting in, moving and taking out. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SeqHeap, type Slotted } from '../../../src/spool/seq-heap.ts';

interface Item extends Slotted {
  key: number | null;
}

test('the first one is always the least', () => {
  const step = fc.tuple(fc.nat(29), fc.option(fc.nat(1000)));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
      const heap = new SeqHeap<Item>();
      const items = Array.from({ length: 30 }, (): Item => ({ slot: -1, key: null }));
      for (const [at, key] of steps) {
        const item = items[at] as Item;
        item.key = key;
        if (key === null) heap.delete(item);
        else heap.set(item, key);
        const keys = items.flatMap((one) => (one.key === null ? [] : [one.key]));
        expect(heap.least).toBe(Math.min(Infinity, ...keys));
        expect(heap.first?.key ?? Infinity).toBe(heap.least);
        expect(heap.size).toBe(keys.length);
      }
    }),
    { numRuns: 300 },
  );
});
