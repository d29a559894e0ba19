/**
 * Order against the model: random histories over few names with every call there is. After each
 * step both know the same operations in the same states; what `next` gives is ready, is something
 * whenever something is, and is hurried whenever something hurried can go; at the end all comes out
 * and nothing is left of it.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAGS, KIND } from '../../../src/protocol/operation.ts';
import { Order, type Orderable } from '../../../src/spool/order.ts';
import { attributes, drain, fill, KiB, MiB, Model, mustWait } from './order-model.ts';
import { rename, what, write, type Entry, type What } from './order-model.ts';

const pathArbitrary = fc
  .array(fc.constantFrom('x', 'y'), { maxLength: 3, size: 'max' })
  .map((parts) => parts.join('/'));
const belowRoot = pathArbitrary.filter((path) => path !== '');
const nameArbitrary = fc.constantFrom('host', 'host', 'host', 'other');

const whatArbitrary: fc.Arbitrary<What> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(pathArbitrary, fc.constantFrom(0, 1, 5 * KiB, MiB), fc.nat(255))
      .map(([path, payloadBytes, flags]) => what(KIND.write, path, { payloadBytes, flags })),
  },
  { weight: 1, arbitrary: belowRoot.map((path) => attributes(path)) },
  { weight: 1, arbitrary: belowRoot.map((path) => what(KIND.mkdir, path)) },
  { weight: 2, arbitrary: fc.tuple(belowRoot, belowRoot).map(([a, b]) => rename(a, b)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(belowRoot, fc.constantFrom(0, FLAGS.DIRECTORY))
      .map(([path, flags]) => what(KIND.remove, path, { flags })),
  },
);

type Step =
  | { readonly call: 'add'; readonly what: What; readonly name: string; readonly late: boolean }
  | { readonly call: 'next'; readonly count: number }
  | { readonly call: 'done' | 'hold' | 'drop' | 'hurry'; readonly pick: number }
  | { readonly call: 'rollback' | 'unhold' }
  | { readonly call: 'unholdPath'; readonly path: string };

const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      call: fc.constant('add' as const),
      what: whatArbitrary,
      name: nameArbitrary,
      late: fc.nat(9).map((n) => n === 0),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      call: fc.constant('next' as const),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      call: fc.constantFrom('done' as const, 'hold' as const, 'drop' as const, 'hurry' as const),
      pick: fc.nat(1000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ call: fc.constantFrom('rollback' as const, 'unhold' as const) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ call: fc.constant('unholdPath' as const), path: pathArbitrary }),
  },
);

/** Order and model side by side. */
class Pair {
  readonly order = new Order<Orderable>();
  readonly model = new Model();
  #seq = 10;

  take(step: Step): void {
    switch (step.call) {
      case 'add':
        return this.add({ ...step.what, name: step.name }, step.late);
      case 'next':
        for (let i = 0; i < step.count; i++) this.next();
        return;
      case 'rollback':
        this.order.rollback();
        for (const entry of this.model.in('in flight')) entry.state = 'waiting';
        return;
      case 'unhold':
        return this.unhold(() => true);
      case 'unholdPath':
        return this.unhold((op) => op.path === step.path);
      case 'done':
      case 'hold':
      case 'drop':
      case 'hurry':
        return this.#act(step.call, step.pick);
    }
  }

  /** `late`: with a number before others that are there, as after a restart out of step. */
  add(parts: What, late: boolean): void {
    this.#seq += 10;
    let seq = this.#seq;
    if (late) {
      seq -= 25;
      while (this.model.entries.has(seq)) seq += 1;
    }
    const op = { ...parts, seq };
    const pending = [...this.model.entries.values()];
    expect(this.order.conflicts(op)).toBe(pending.some((entry) => mustWait(op, entry.op)));
    this.order.add(op);
    this.model.add(op);
  }

  next(): Orderable | null {
    const ready = this.model.ready();
    const waitingAndHurried = this.model.in('waiting').filter(({ mayBeHurried }) => mayBeHurried);
    const urgent = waitingAndHurried.filter((entry) => {
      const closure = [...this.model.closure(entry)];
      for (const one of closure) one.mayBeHurried = true;
      return entry.hurried && closure.every(({ state }) => state !== 'held');
    });
    const op = this.order.next();
    if (op === null) {
      expect(ready.map((entry) => entry.op.seq)).toEqual([]);
      return null;
    }
    const entry = this.model.entries.get(op.seq) as Entry;
    expect(entry.op).toBe(op);
    expect(ready).toContain(entry);
    if (urgent.length > 0) {
      expect(entry.mayBeHurried).toBe(true);
      const first = urgent.reduce((a, b) => (a.op.seq < b.op.seq ? a : b));
      const waiting = this.model.in('waiting').filter(({ mayBeHurried }) => mayBeHurried);
      const isFirst = waiting.every((other) => other.op.seq >= first.op.seq);
      if (isFirst && ready.includes(first)) expect(op.seq).toBe(first.op.seq);
    }
    entry.state = 'in flight';
    return op;
  }

  unhold(matches: (op: Orderable) => boolean): void {
    const held = this.model.in('held').filter(({ op }) => matches(op));
    expect(this.order.unhold(matches)).toBe(held.length);
    for (const entry of held) entry.state = 'waiting';
  }

  #act(call: 'done' | 'hold' | 'drop' | 'hurry', pick: number): void {
    const all = [...this.model.entries.values()];
    const inFlight = this.model.in('in flight');
    const among = call === 'done' || (call === 'hold' && pick % 4 > 0) ? inFlight : all;
    const entry = among[pick % among.length];
    if (entry === undefined) return;
    if (call === 'done') {
      // Mostly the oldest ones up to some place, as commits are; at times a single one.
      const some = pick % 3 === 0 ? [entry] : inFlight.slice(0, inFlight.indexOf(entry) + 1);
      this.order.done(some.map(({ op }) => op));
      for (const { op } of some) this.model.remove(op);
    } else if (call === 'hold') {
      this.order.hold(entry.op);
      entry.state = 'held';
    } else if (call === 'drop') {
      this.order.drop(entry.op);
      this.model.remove(entry.op);
    } else {
      const some = pick % 3 === 0 ? all.filter((_, index) => index % 3 === 0) : [entry];
      this.order.hurry(some.map(({ op }) => op));
      for (const one of some) one.hurried = one.mayBeHurried = true;
    }
  }

  check(): void {
    const { order, model } = this;
    const bytes = (list: Entry[]) => list.reduce((sum, { op }) => sum + op.payloadBytes, 0);
    const waiting = model.in('waiting');
    const inFlight = model.in('in flight');
    expect([order.waitingCount, order.inFlightCount, order.heldCount]).toEqual([
      waiting.length,
      inFlight.length,
      model.in('held').length,
    ]);
    expect([order.waitingBytes, order.inFlightBytes]).toEqual([bytes(waiting), bytes(inFlight)]);
    const seqs = [...model.entries.keys()].sort((a, b) => a - b);
    expect([...order.all()].map(({ seq }) => seq)).toEqual(seqs);
    expect(seqs.filter((seq) => !order.has(seq))).toEqual([]);
    expect(order.has(this.#seq + 1)).toBe(false);
  }

  /** All comes out in the end, and then nothing is left of it. */
  finish(): void {
    this.unhold(() => true);
    while (this.next() !== null);
    expect(this.model.in('waiting')).toEqual([]);
    this.order.done(this.model.in('in flight').map(({ op }) => op));
    this.model.entries.clear();
    this.check();
    for (const name of ['host', 'other']) {
      expect(this.order.conflicts({ ...attributes(''), name, seq: 1 })).toBe(false);
    }
  }
}

describe('Order against the model', () => {
  test('random histories', { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 80, size: 'max' }), (steps) => {
        const pair = new Pair();
        for (const step of steps) {
          pair.take(step);
          pair.check();
        }
        pair.finish();
      }),
      { numRuns: 2200 },
    );
  });

  test('what comes out after a rollback keeps every conflict in order', () => {
    const ops = fc.array(whatArbitrary, { minLength: 1, maxLength: 30, size: 'max' });
    fc.assert(
      fc.property(ops, fc.array(fc.nat(12), { maxLength: 6, size: 'max' }), (list, cuts) => {
        const order = new Order<Orderable>();
        fill(order, list);
        for (const cut of cuts) {
          for (let i = 0; i < cut; i++) order.next();
          order.rollback();
          expect(order.inFlightCount).toBe(0);
        }
        const sent: Orderable[] = [];
        for (let op = order.next(); op !== null; op = order.next()) sent.push(op);
        expect(sent.length).toBe(list.length);
        sent.forEach((op, index) => {
          const passed = sent.slice(index + 1).filter(({ seq }) => seq < op.seq);
          expect(passed.filter((early) => mustWait(op, early))).toEqual([]);
        });
      }),
      { numRuns: 500 },
    );
  });

  test('a number that is pending is refused', () => {
    const order = new Order<Orderable>();
    const [op] = fill(order, [write('a')]);
    expect(() => order.add(op as Orderable)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
    expect(order.waitingCount).toBe(1);
    order.drop(op as Orderable);
    order.add(op as Orderable);
    expect(drain(order)).toEqual([1]);
  });
});
