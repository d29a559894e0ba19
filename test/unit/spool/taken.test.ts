/**
 * What a server remembers of its senders: repeats are known, nothing counts as durable before it
 * is,
 * and a failed disk takes back what was only applied.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RangeSet } from '../../../src/base/ranges.ts';
import { type Numbers, Taken } from '../../../src/spool/taken.ts';

const A = 'aa'.repeat(16);
const B = 'bb'.repeat(16);
const numbers = (sender: string, first: number, last: number): Numbers => {
  return new Map([[sender, new RangeSet(0, [first, last])]]);
};
const has = (taken: Taken, sender: string, ...seqs: readonly number[]): boolean[] => {
  return seqs.map((seq) => taken.has(sender, seq));
};
/** What a server started now would be told by the index. */
const afterRestart = (taken: Taken, rows: ReturnType<Taken['changes']>['taken'] = []): Taken => {
  return new Taken([...rows, ...taken.changes().taken]);
};

describe('repeats', () => {
  test('are known by number, not by the last one: A, B, A again', () => {
    const taken = new Taken([]);
    taken.add(A, 1);
    taken.add(A, 2);
    expect(has(taken, A, 1, 2, 3)).toEqual([true, true, false]);
    expect(has(taken, B, 1)).toEqual([false]);
  });

  test('below the floor that a sender has promised are known for ever', () => {
    const taken = new Taken([]);
    taken.add(A, 7);
    taken.raiseFloor(A, 5);
    expect(has(taken, A, 1, 5, 6, 7)).toEqual([true, true, false, true]);
    expect(taken.floor(A)).toBe(5);
    expect(has(afterRestart(taken), A, 5, 6)).toEqual([true, false]);
  });

  test('of a sender nobody has met raise nothing', () => {
    const taken = new Taken([]);
    taken.raiseFloor(A, 5);
    expect(taken.changes().taken).toEqual([]);
  });
});

describe('durable', () => {
  test('spooled numbers are as long as their records are: no row for them', () => {
    const taken = new Taken([]);
    taken.add(A, 1);
    expect(taken.changes().taken).toEqual([]);
    taken.promote(numbers(A, 1, 1));
    expect(has(afterRestart(taken), A, 1)).toEqual([true]);
  });

  test('applied numbers are only once promoted', () => {
    const taken = new Taken([]);
    taken.addDirect(A, 1);
    expect(has(afterRestart(taken), A, 1)).toEqual([false]);
    const direct = taken.takeDirect();
    taken.addDirect(A, 2);
    taken.promote(direct);
    expect(has(afterRestart(taken), A, 1, 2)).toEqual([true, false]);
    expect(taken.takeDirect().get(A)?.has(2)).toBe(true);
    expect(taken.takeDirect().size).toBe(0);
  });

  test('changes are handed over once, and again after a flush that failed', () => {
    const taken = new Taken([]);
    taken.meet(B, true);
    taken.promote(numbers(B, 1, 3));
    taken.meet(A, true);
    taken.forget(A);
    const changes = taken.changes();
    expect(changes.taken.map(({ sender, session }) => [sender, session])).toEqual([[B, true]]);
    expect(changes.forgottenSenders).toEqual([A]);
    expect(taken.changes()).toEqual({ taken: [], forgottenSenders: [] });
    taken.restore(changes);
    const again = taken.changes();
    expect(again.taken[0]?.ranges.has(3)).toBe(true);
    expect(again.forgottenSenders).toEqual([A]);
  });

  test('a row handed over does not change with the set', () => {
    const taken = new Taken([]);
    taken.meet(A, false);
    taken.promote(numbers(A, 1, 1));
    const [row] = taken.changes().taken;
    taken.promote(numbers(A, 2, 9));
    expect([row?.ranges.has(1), row?.ranges.has(9)]).toEqual([true, false]);
  });
});

describe('a failed disk', () => {
  test('takes back what was applied and not durable, and leaves what lies in the log', () => {
    const taken = new Taken([]);
    taken.addDirect(A, 1);
    taken.promote(taken.takeDirect());
    taken.addDirect(A, 2);
    taken.takeDirect();
    taken.addDirect(A, 3);
    taken.add(A, 4);
    taken.distrustDirect(numbers(A, 4, 4));
    expect(has(taken, A, 1, 2, 3, 4)).toEqual([true, false, false, true]);
  });
});

describe('a session that is over', () => {
  test('leaves nothing behind, and is not made again by its records', () => {
    const taken = new Taken([]);
    taken.meet(A, true);
    taken.add(A, 1);
    taken.forget(A);
    expect(taken.changes().forgottenSenders).toEqual([A]);
    taken.promote(numbers(A, 1, 1));
    expect(taken.changes().taken).toEqual([]);
  });

  test('that recovery finds in the log is known as a session', () => {
    const taken = new Taken([]);
    taken.takeIn(new Map([...numbers(A, 1, 2), ...numbers(B, 1, 2)]), new Set([A]));
    taken.promote(new Map([...numbers(A, 1, 2), ...numbers(B, 1, 2)]));
    const rows = taken.changes().taken;
    expect(rows.map(({ sender, session }) => [sender, session])).toEqual([
      [A, true],
      [B, false],
    ]);
  });

  test('is kept while something of it is not durable', () => {
    const taken = new Taken([]);
    taken.meet(A, true);
    taken.addDirect(A, 1);
    taken.forget(A);
    expect(has(taken, A, 1)).toEqual([true]);
    expect(taken.changes().forgottenSenders).toEqual([]);
  });
});

test('against a model: what was promised durable is known after every restart', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('add' as const), seq: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ do: fc.constant('direct' as const), seq: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ do: fc.constant('sync' as const) }),
    fc.record({ do: fc.constant('fail' as const) }),
    fc.record({ do: fc.constant('floor' as const), seq: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ do: fc.constant('restart' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let taken = new Taken([]);
      let rows: ReturnType<Taken['changes']>['taken'] = [];
      const spooled = new Set<number>();
      const durable = new Set<number>();
      let direct = new Set<number>();
      taken.meet(A, false);
      const inLog = (): Numbers => {
        const set = new RangeSet();
        for (const seq of spooled) set.add(seq);
        return new Map([[A, set]]);
      };
      for (const one of steps) {
        if (one.do === 'add' && !taken.has(A, one.seq)) {
          taken.add(A, one.seq);
          spooled.add(one.seq);
        } else if (one.do === 'direct' && !taken.has(A, one.seq)) {
          taken.addDirect(A, one.seq);
          direct.add(one.seq);
        } else if (one.do === 'sync') {
          taken.promote(taken.takeDirect());
          for (const seq of direct) durable.add(seq);
          direct = new Set();
        } else if (one.do === 'fail') {
          taken.distrustDirect(inLog());
          direct = new Set();
        } else if (one.do === 'floor') {
          taken.raiseFloor(A, one.seq);
          for (let seq = 1; seq <= one.seq; seq++) durable.add(seq);
        } else if (one.do === 'restart') {
          rows = [...taken.changes().taken, ...rows].slice(0, 1);
          taken = new Taken(rows);
          taken.takeIn(inLog(), new Set());
          taken.meet(A, false);
          direct = new Set();
        }
        const wrong = Array.from({ length: 60 }, (_, i) => i + 1).filter((seq) => {
          return taken.has(A, seq) !== (spooled.has(seq) || durable.has(seq) || direct.has(seq));
        });
        expect(wrong).toEqual([]);
      }
    }),
    { numRuns: 300 },
  );
});
