/** Lanes against a sorted list: nothing, one, and many, at both ends and in the middle. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  laneBefore,
  laneFirst,
  laneWith,
  laneWithout,
  type Lane,
} from '../../../src/spool/seq-queue.ts';

interface Op {
  readonly seq: number;
}

test('a lane is sorted, whatever comes and goes', () => {
  const step = fc.oneof(
    fc.record({ call: fc.constant('put'), count: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ call: fc.constant('shift'), count: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ call: fc.constant('giveBack'), count: fc.nat(60) }),
    fc.record({ call: fc.constantFrom('take', 'insert', 'takeUnknown'), count: fc.nat(1000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      let lane: Lane<Op> = null;
      let model: Op[] = [];
      const shifted: Op[] = [];
      let last = 0;
      const put = (op: Op) => {
        lane = laneWith(lane, op);
        model = [...model, op].sort((a, b) => a.seq - b.seq);
      };
      const take = (op: Op | undefined) => {
        if (op === undefined) return;
        lane = laneWithout(lane, op);
        model = model.filter((one) => one !== op);
      };
      for (const { call, count } of steps) {
        if (call === 'put') for (let i = 0; i < count; i++) put({ seq: (last += 4) });
        else if (call === 'take') take(model[count % Math.max(1, model.length)]);
        else if (call === 'takeUnknown') lane = laneWithout(lane, { seq: 4 * count + 1 });
        else if (call === 'insert') {
          const seq = 4 * (count % (last + 1)) + 2;
          if (!model.some((op) => op.seq === seq)) put({ seq });
        } else if (call === 'shift') {
          for (const op of model.slice(0, count)) {
            take(op);
            if (op.seq % 4 === 0) shifted.push(op);
          }
        } else {
          for (const op of shifted.splice(-count, count)) put(op);
        }
        expect(laneFirst(lane)).toBe(model[0] ?? null);
        for (const seq of [0, 41, 400, 2 * last, last + 1]) {
          expect(laneBefore(lane, seq)).toBe(model.findLast((op) => op.seq < seq) ?? null);
        }
      }
      for (const op of [...model]) {
        expect(laneFirst(lane)).toBe(op);
        take(op);
      }
      expect(lane).toBe(null);
    }),
    { numRuns: 300 },
  );
});
