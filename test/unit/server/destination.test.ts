/**
 * What a destination promises about durability: numbers are noted after the bytes they stand for,
 * never before, and a sync that fails takes back everything since the last good one, for those who
 * wait as well.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '../../../src/base/log.ts';
import { Destination } from '../../../src/server/destination.ts';
import type { Storage } from '../../../src/server/storage.ts';
import { openLocalStorage } from '../../../src/server/storage-local.ts';
import type { Entry } from '../../../src/spool/entry.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { incoming, SENDER, SpoolCase } from '../../support/spool-case.ts';

let scene: SpoolCase;
let spool: Spool;
let storage: Storage;
/** Ends the sync that runs. */
let endSync: (error?: Error) => void;
let failures: unknown[];
let destination: Destination;

beforeEach(async () => {
  scene = new SpoolCase();
  const directory = join(scene.root, 'export');
  mkdirSync(directory);
  spool = await scene.open();
  storage = openLocalStorage(directory);
  storage.sync = () =>
    new Promise((resolve, reject) => {
      endSync = (error) => (error === undefined ? resolve() : reject(error));
    });
  failures = [];
  const logger = createLogger('server', { level: 'silent' });
  const onSyncFailed = (error: unknown): unknown => failures.push(error);
  destination = new Destination({ storage, spool, logger, onSyncFailed });
});
afterEach(async () => {
  storage.close();
  await scene.end();
});

function apply(seq: number): void {
  const payload = Buffer.from(`content ${seq}`);
  expect(
    destination.apply(incoming(seq, `f${seq}`, payload, { name: 'dest' }), payload),
  ).toBeNull();
}

/** What the index would tell the next incarnation. */
function noted(seq: number): boolean {
  return spool.index.taken().some(({ sender, ranges }) => sender === SENDER && ranges.has(seq));
}

const aMoment = async (): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, 20));
};

test('numbers are noted when the storage has synced, and not before', async () => {
  apply(1);
  const synced = destination.sync();
  await aMoment();
  expect(noted(1)).toBe(false);
  apply(2);
  endSync();
  await synced;
  expect([noted(1), noted(2)]).toEqual([true, false]);
});

test('a failed sync takes back what it was for, and nobody hears of a success', async () => {
  apply(1);
  const first = destination.sync();
  const told = expect(first).rejects.toThrow('no disk');
  await aMoment();
  endSync(new Error('no disk'));
  await told;
  expect(failures.length).toBe(1);
  expect([noted(1), spool.taken.has(SENDER, 1)]).toEqual([false, false]);
});

test('a held entry is not released by a sync that came after a failed one', async () => {
  const payload = Buffer.from('was held');
  const [entry] = spool.append([incoming(1, 'held', payload, { name: 'dest' })]);
  apply(2);
  const failing = destination.sync();
  const told = expect(failing).rejects.toThrow('no disk');
  expect(await destination.attempt(entry as Entry)).toEqual({ done: true });
  await aMoment();
  endSync(new Error('no disk'));
  await told;
  const finishing = destination.finish([entry as Entry]);
  const refused = expect(finishing).rejects.toThrow();
  await aMoment();
  endSync();
  await refused;
  expect(spool.live.has((entry as Entry).seq)).toBe(true);
});
