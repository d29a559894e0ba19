/**
 * What Order promises beyond the rules that the model states (order-histories.test.ts): the order
 * of the log, turns, hurry; and the shapes whose cost is easily quadratic, with a bound that only a
 * quadratic one breaks.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { KIND } from '../../../src/protocol/operation.ts';
import { Order, type Orderable } from '../../../src/spool/order.ts';
import { attributes, drain, fill, KiB, MiB, range } from './order-model.ts';
import { rename, what, write, type What } from './order-model.ts';

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

  test('what had to wait goes as soon as it may, before what is younger', () => {
    const order = new Order<Orderable>();
    fill(order, [what(KIND.mkdir, 'd'), ...range(10).map((n) => write(`d/${n}`))]);
    order.hold(order.next() as Orderable);
    expect(order.next()).toBe(null);
    order.unhold(() => true);
    fill(order, [write('e'), write('f')], 20);
    expect(drain(order)).toEqual([1, ...range(10).map((n) => n + 2), 20, 21]);
  });

  test('but it does not cut a turn short', () => {
    const order = new Order<Orderable>();
    const [made] = fill(order, [what(KIND.mkdir, 'd'), write('d/a')]);
    const blocks = range(200).map(() => write('big', 64 * KiB));
    const big = fill(order, blocks, 3);
    order.hold(order.next() as Orderable);
    for (let i = 0; i < 10; i++) expect(order.next()).toBe(big[i]);
    order.drop(made as Orderable);
    expect(drain(order).indexOf(2)).toBe(limits.turnBytes / (64 * KiB) - 10);
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

  test('what is stuck behind something held lets others pass until that is mended', () => {
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
  // Of this process, so that a busy machine does not matter; the square would take minutes.
  const boundCpuMs = 8_000;

  test.each(Object.entries(shapes))('%s', { timeout: 60_000 }, (_, shape) => {
    const list = shape();
    const order = new Order<Orderable>();
    const started = process.cpuUsage();
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
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1000).toBeLessThan(boundCpuMs);
  });
});
