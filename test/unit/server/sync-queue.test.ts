/** Overlapping syncs: who waits for which round, and who fails with it. */

import { expect, test } from 'vitest';
import { SyncQueue } from '../../../src/server/sync-queue.ts';

interface Round {
  resolve(): void;
  reject(error: Error): void;
}

function queueOfRounds(): { queue: SyncQueue; rounds: Round[] } {
  const rounds: Round[] = [];
  const queue = new SyncQueue(() => {
    return new Promise((resolve, reject) => rounds.push({ resolve, reject }));
  });
  return { queue, rounds };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('who asks while one runs shares the next', async () => {
  const { queue, rounds } = queueOfRounds();
  const done: string[] = [];
  const ask = (name: string): void => void queue.request().then(() => done.push(name));
  ask('a');
  ask('b');
  ask('c');
  await settle();
  expect(rounds.length).toBe(1);
  rounds[0]?.resolve();
  await settle();
  expect([done, rounds.length]).toEqual([['a'], 2]);
  ask('d');
  rounds[1]?.resolve();
  await settle();
  expect([done, rounds.length]).toEqual([['a', 'b', 'c'], 3]);
  rounds[2]?.resolve();
  await settle();
  expect(done).toEqual(['a', 'b', 'c', 'd']);
  ask('e');
  expect(rounds.length).toBe(4);
});

test('who waited fails with the round before, and the next one starts afresh', async () => {
  const { queue, rounds } = queueOfRounds();
  const outcomes: string[] = [];
  const ask = (): void =>
    void queue.request().then(
      () => outcomes.push('good'),
      (error: Error) => outcomes.push(error.message),
    );
  ask();
  ask();
  rounds[0]?.reject(new Error('bad'));
  await settle();
  expect([outcomes, rounds.length]).toEqual([['bad', 'bad'], 1]);
  ask();
  rounds[1]?.resolve();
  await settle();
  expect(outcomes).toEqual(['bad', 'bad', 'good']);
});
