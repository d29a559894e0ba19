/**
 * Order against a model that is too simple to be wrong: a list of operations, the table of conflicts
 * written out on path strings, and a scan for everything. Random histories over few names with every
 * call there is; then the promises that the model does not state (turns, hurry, order of the log),
 * and the shapes whose cost once was quadratic, with a bound that only a quadratic one breaks.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { FLAGS, KIND, type Kind } from '../../../src/protocol/operation.ts';
import { Order, type Orderable } from '../../../src/spool/order.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const { CREATE, MODE, MTIME, DIRECTORY } = FLAGS;

type What = Omit<Orderable, 'seq'>;

function what(kind: Kind, path: string, more: Partial<What> = {}): What {
  return { kind, path, flags: 0, name: 'host', path2: '', payloadBytes: 0, ...more };
}

function write(path: string, payloadBytes = 100): What {
  return what(KIND.write, path, { flags: CREATE, payloadBytes });
}

function attributes(path: string): What {
  return what(KIND.write, path, { flags: MODE | MTIME });
}

function rename(path: string, path2: string): What {
  return what(KIND.rename, path, { path2 });
}

/** Adds them, numbered from `first`. */
function fill(order: Order<Orderable>, list: readonly What[], first = 1): Orderable[] {
  const ops = list.map((op, index) => ({ ...op, seq: first + index }));
  for (const op of ops) order.add(op);
  return ops;
}

function drain(order: Order<Orderable>): number[] {
  const seqs: number[] = [];
  for (let op = order.next(); op !== null; op = order.next()) seqs.push(op.seq);
  return seqs;
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

// ---- the model

function isAbove(one: string, other: string): boolean {
  return one !== other && (one === '' || other.startsWith(`${one}/`));
}

function mustWait(late: Orderable, early: Orderable): boolean {
  if (late.name !== early.name) return false;
  const isName = (op: Orderable) => op.kind !== KIND.write;
  const paths = (op: Orderable) => (op.kind === KIND.rename ? [op.path, op.path2] : [op.path]);
  const setsAttributes =
    late.kind === KIND.write &&
    late.payloadBytes === 0 &&
    (late.flags & CREATE) === 0 &&
    (late.flags & (MODE | MTIME)) !== 0;
  return paths(late).some((ours) =>
    paths(early).some(
      (theirs) =>
        ours === theirs ||
        (isAbove(theirs, ours) && isName(early)) ||
        (isAbove(ours, theirs) && (isName(late) || setsAttributes)),
    ),
  );
}

interface Entry {
  readonly op: Orderable;
  state: 'waiting' | 'in flight' | 'held';
  /** By a call of hurry. */
  hurried: boolean;
  /** Hurried, or once needed by something hurried. */
  mayBeHurried: boolean;
}

class Model {
  readonly entries = new Map<number, Entry>();

  in(state: Entry['state']): Entry[] {
    return [...this.entries.values()].filter((entry) => entry.state === state);
  }

  blockers(late: Orderable): Entry[] {
    return [...this.entries.values()].filter(
      ({ op, state }) => state !== 'in flight' && op.seq < late.seq && mustWait(late, op),
    );
  }

  ready(): Entry[] {
    return this.in('waiting').filter(({ op }) => this.blockers(op).length === 0);
  }

  /** Everything blocking that `op` waits for, directly or not, itself included. */
  closure(op: Orderable, found = new Set<Entry>()): Set<Entry> {
    const entry = this.entries.get(op.seq) as Entry;
    if (found.has(entry)) return found;
    found.add(entry);
    for (const blocker of this.blockers(op)) this.closure(blocker.op, found);
    return found;
  }
}

// ---- random histories

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
      .tuple(belowRoot, fc.constantFrom(0, DIRECTORY))
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
    this.model.entries.set(seq, { op, state: 'waiting', hurried: false, mayBeHurried: false });
  }

  next(): Orderable | null {
    const ready = this.model.ready();
    const waitingAndHurried = this.model.in('waiting').filter(({ mayBeHurried }) => mayBeHurried);
    const urgent = waitingAndHurried.filter(({ op, hurried }) => {
      const closure = [...this.model.closure(op)];
      for (const entry of closure) entry.mayBeHurried = true;
      return hurried && closure.every(({ state }) => state !== 'held');
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
      for (const { op } of some) this.model.entries.delete(op.seq);
    } else if (call === 'hold') {
      this.order.hold(entry.op);
      entry.state = 'held';
    } else if (call === 'drop') {
      this.order.drop(entry.op);
      this.model.entries.delete(entry.op.seq);
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
    for (const seq of seqs) expect(order.has(seq)).toBe(true);
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

describe('against the model', () => {
  test('random histories', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 80, size: 'max' }), (steps) => {
        const pair = new Pair();
        for (const step of steps) {
          pair.take(step);
          pair.check();
        }
        pair.finish();
      }),
      { numRuns: 5000 },
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

describe('order', () => {
  test('small files come out as they were put', () => {
    const order = new Order<Orderable>();
    const tree = ['d', 'd/e', 'f'].flatMap((directory) => [
      what(KIND.mkdir, directory),
      ...range(20).flatMap((n) => [write(`${directory}/${n}`), attributes(`${directory}/${n}`)]),
    ]);
    fill(order, [...tree, attributes('d/e'), attributes('d'), attributes('f')]);
    expect(drain(order)).toEqual(range(tree.length + 3).map((n) => n + 1));
  });

  test('so do files that are written and then renamed, to one name as well', () => {
    const order = new Order<Orderable>();
    const list = range(50).flatMap((n) => [write(`tmp/${n}`), rename(`tmp/${n}`, 'now')]);
    fill(order, list);
    expect(drain(order)).toEqual(range(100).map((n) => n + 1));
  });

  test('the time of a directory comes after what is below, and holds up nothing below', () => {
    const order = new Order<Orderable>();
    const ops = fill(order, [write('d/a'), attributes('d'), write('d/b')]);
    order.hold(ops[0] as Orderable);
    expect(drain(order)).toEqual([3]);
    expect(order.unhold(() => true)).toBe(1);
    expect(drain(order)).toEqual([1, 2]);
  });

  test('what is held holds up its own file and what is below it, nothing else', () => {
    const order = new Order<Orderable>();
    const ops = fill(order, [
      what(KIND.mkdir, 'd'),
      write('d/a'),
      write('e/a'),
      write('e/a'),
      write('b'),
    ]);
    expect([order.next()?.seq, order.next()?.seq, order.next()?.seq]).toEqual([1, 2, 3]);
    order.hold(ops[2] as Orderable);
    expect(drain(order)).toEqual([5]);
    order.rollback();
    order.hold(ops[0] as Orderable);
    expect(drain(order)).toEqual([5]);
    expect(order.conflicts({ ...write('d/x'), seq: 9 })).toBe(true);
    expect(order.conflicts({ ...write('e/x'), seq: 9 })).toBe(false);
    order.drop(ops[0] as Orderable);
    expect(drain(order)).toEqual([2]);
    expect(order.unhold(({ path }) => path === 'e/a')).toBe(1);
    expect(drain(order)).toEqual([3, 4]);
  });

  test('a rollback sends the same again, in the same order', () => {
    const order = new Order<Orderable>();
    fill(
      order,
      range(200).map((n) => write(`${n % 2 === 0 ? 'big' : n}`, 64 * KiB)),
    );
    const before = range(100).map(() => order.next()?.seq);
    order.rollback();
    const again = drain(order);
    expect(again.slice(0, 100)).toEqual(before);
    expect(again.filter((seq) => seq % 2 === 1)).toEqual(range(100).map((n) => 2 * n + 1));
  });
});

describe('turns', () => {
  test('a small file waits for one turn of a big one', () => {
    fc.assert(
      fc.property(fc.nat(900), fc.constantFrom(64 * KiB, MiB - 1, MiB), (sent, blockBytes) => {
        const order = new Order<Orderable>();
        fill(
          order,
          range(1000).map(() => write('big', blockBytes)),
        );
        for (let i = 0; i < sent; i++) expect(order.next()?.path).toBe('big');
        fill(order, [write('small')], 2000);
        let bytes = 0;
        for (let op = order.next(); op?.path === 'big'; op = order.next()) bytes += blockBytes;
        expect(bytes).toBeLessThanOrEqual(limits.turnBytes);
        expect(drain(order).length).toBe(1000 - sent - bytes / blockBytes);
      }),
      { numRuns: 100 },
    );
  });

  test('everybody who is ready gets a turn before anybody gets two', () => {
    const file = fc.record({
      blocks: fc.integer({ min: 1, max: 40 }),
      blockBytes: fc.constantFrom(0, 500, 300 * KiB, MiB),
    });
    fc.assert(
      fc.property(fc.array(file, { minLength: 1, maxLength: 8, size: 'max' }), (files) => {
        const order = new Order<Orderable>();
        const list = files.flatMap(({ blocks, blockBytes }, n) =>
          range(blocks).map(() => write(`${n}`, blockBytes)),
        );
        fill(order, list);
        // Bytes of every file since the file `n` was last on turn.
        const waited = files.map(() => new Map<string, number>());
        const left = files.map(({ blocks }) => blocks);
        for (let op = order.next(); op !== null; op = order.next()) {
          const at = Number(op.path);
          left[at] = (left[at] as number) - 1;
          waited.forEach((seen, n) => {
            if (n === at || left[n] === 0) return seen.clear();
            const bytes = (seen.get(op.path) ?? 0) + op.payloadBytes;
            seen.set(op.path, bytes);
            expect(bytes).toBeLessThanOrEqual(limits.turnBytes);
          });
        }
        expect(left.every((count) => count === 0)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test('a stream of records without payload ends its turn too', () => {
    const order = new Order<Orderable>();
    fill(
      order,
      range(50_000).map(() => attributes('noisy')),
    );
    order.next();
    fill(order, [write('quiet')], 60_000);
    expect(drain(order).indexOf(60_000)).toBeLessThan(limits.turnBytes / 100);
  });
});

describe('hurry', () => {
  test('what waits for nothing is the very next', () => {
    const order = new Order<Orderable>();
    const ops = fill(
      order,
      range(1000).map((n) => write(`${n % 10}/${n}`)),
    );
    order.next();
    order.hurry([ops[700], ops[300]] as Orderable[]);
    expect([order.next()?.seq, order.next()?.seq, order.next()?.seq]).toEqual([301, 701, 2]);
  });

  test('what it depends on comes with it, and nothing else', () => {
    const order = new Order<Orderable>();
    const ops = fill(order, [
      ...range(50).map((n) => write(`other/${n}`)),
      what(KIND.mkdir, 'd'),
      write('d/tmp'),
      write('d/no'),
      write('d/tmp'),
      rename('d/tmp', 'e/x'),
      write('e/x'),
    ]);
    order.hurry([ops[55] as Orderable]);
    expect(range(5).map(() => order.next()?.seq)).toEqual([51, 52, 54, 55, 56]);
    order.rollback();
    expect(range(5).map(() => order.next()?.seq)).toEqual([51, 52, 54, 55, 56]);
    expect(drain(order).length).toBe(51);
  });

  test('what is stuck behind something held lets others pass, and is hurried once that is mended', () => {
    const order = new Order<Orderable>();
    const ops = fill(order, [
      write('a'),
      write('a'),
      ...range(10).map((n) => write(`f${n}`)),
      write('a'),
    ]);
    order.hold(order.next() as Orderable);
    order.hurry([ops[12], ops[1]] as Orderable[]);
    expect(order.next()?.seq).toBe(3);
    order.unhold(() => true);
    expect(range(4).map(() => order.next()?.seq)).toEqual([1, 2, 13, 4]);
  });
});

describe('shapes that must not cost the square of their size', () => {
  const many = 50_000;
  const shapes: Record<string, () => What[]> = {
    'files and a rename of their directory, four times': () =>
      range(4).flatMap((round) => [
        ...range(many / 4).map((n) => write(`d${round}/${n}`)),
        rename(`d${round}`, `d${round + 1}`),
      ]),
    'the time of a directory after every fifth file': () =>
      range(many / 5).flatMap((n) => [
        ...range(5).map((m) => write(`d/${n}-${m}`)),
        attributes('d'),
      ]),
    'a directory renamed to and fro, then files in it': () => [
      ...range(many / 2).map((n) => (n % 2 === 0 ? rename('d', 'e') : rename('e', 'd'))),
      ...range(many / 2).map((n) => write(`d/${n}`)),
    ],
    'one file written': () => range(many).map(() => write('f', MiB)),
    'one name renamed to': () =>
      range(many / 2).flatMap((n) => [write(`tmp/${n}`), rename(`tmp/${n}`, 'now')]),
    'the times of nested directories': () => [
      ...range(many).map((n) => write(`${'d/'.repeat(20)}${n}`)),
      ...range(20).map((n) => attributes('d/'.repeat(20 - n).slice(0, -1))),
    ],
  };
  const boundMs = 5_000;

  test.each(Object.entries(shapes))('%s', (_, shape) => {
    const list = shape();
    const order = new Order<Orderable>();
    const started = performance.now();
    const ops = fill(order, list);
    for (let i = 0; i < 2000; i++) order.next();
    order.rollback();
    order.hold(ops[0] as Orderable);
    drain(order);
    order.rollback();
    order.hurry([ops[list.length - 1] as Orderable]);
    drain(order);
    order.unhold(() => true);
    drain(order);
    order.done(ops);
    expect(order.waitingCount + order.inFlightCount + order.heldCount).toBe(0);
    expect(performance.now() - started).toBeLessThan(boundMs);
  });
});
