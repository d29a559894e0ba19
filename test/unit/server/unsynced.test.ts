/** The list of what is not on disk yet: who holds which descriptor, and what a failure names. */

import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { Held } from '../../../src/server/held.ts';
import { Unsynced } from '../../../src/server/unsynced.ts';

let directory: string;
beforeEach(() => {
  directory = fs.mkdtempSync(join(tmpdir(), 'kangaroo-unsynced-'));
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

function hold(name: string, dev = 1n): Held {
  const fd = fs.openSync(join(directory, name), 'a');
  return new Held(fd, { dev, ino: fs.fstatSync(fd, { bigint: true }).ino });
}

function isOpen(fd: number): boolean {
  try {
    fs.fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** An Unsynced that has had its first sync of file system 1, and what it gives to syncfs. */
async function settled(): Promise<{ unsynced: Unsynced; synced: number[] }> {
  const synced: number[] = [];
  const unsynced = new Unsynced((fd) => {
    synced.push(fd);
    return Promise.resolve();
  });
  const held = hold('first');
  unsynced.expect(held);
  held.release();
  expect(await unsynced.take().run()).toEqual([]);
  expect(synced).toEqual([held.fd]);
  synced.length = 0;
  return { unsynced, synced };
}

test('holds each descriptor until its round has ended', async () => {
  const { unsynced, synced } = await settled();
  const held = hold('a');
  unsynced.file(held, 'a', false);
  unsynced.file(held, 'a', true);
  held.release();
  expect(isOpen(held.fd)).toBe(true);
  const round = unsynced.take();
  expect(isOpen(held.fd)).toBe(true);
  expect(await round.run()).toEqual([]);
  expect(isOpen(held.fd)).toBe(false);
  expect(await unsynced.take().run()).toEqual([]);
  expect(synced).toEqual([]);
});

test('keeps at most a few, and lets go of all when syncfs is cheaper', async () => {
  const { unsynced, synced } = await settled();
  const files = Array.from({ length: limits.fsyncFilesMax + 1 }, (_, i) => hold(`f${i}`));
  files.forEach((held, i) => {
    unsynced.file(held, `f${i}`, true);
    held.release();
  });
  // The first stays: syncfs is asked on it.
  expect(files.map((held) => isOpen(held.fd))).toEqual(files.map((_, i) => i === 0));
  await unsynced.take().run();
  expect(synced).toEqual([files[0]?.fd]);
});

test('each file system is treated on its own', async () => {
  const { unsynced, synced } = await settled();
  const [here, there] = [hold('here', 1n), hold('there', 2n)];
  unsynced.file(here, 'here', true);
  unsynced.file(there, 'there', true);
  await unsynced.take().run();
  // The second was never seen before.
  expect(synced).toEqual([there.fd]);
  unsynced.unsettle(2n);
  unsynced.file(here, 'here', true);
  unsynced.file(there, 'there', true);
  await unsynced.take().run();
  expect(synced).toEqual([there.fd, there.fd]);
  here.release();
  there.release();
});

test('a failure names the paths, up to a bound', async () => {
  const broken = Object.assign(new Error('broken'), { code: 'EIO' });
  const unsynced = new Unsynced(() => Promise.reject(broken));
  const held = hold('a');
  for (let i = 0; i < limits.unsyncedNamesMax; i++) unsynced.file(held, `n${i}`, true);
  const [full] = await unsynced.take().run();
  expect(full).toMatchObject({ error: broken, dev: 1n });
  expect(full?.paths?.length).toBe(limits.unsyncedNamesMax);
  for (let i = 0; i <= limits.unsyncedNamesMax; i++) unsynced.file(held, `n${i}`, true);
  expect(await unsynced.take().run()).toEqual([{ error: broken, paths: null, dev: 1n }]);
  held.release();
});

test('a failed syncfs names also what had been kept before there was too much', async () => {
  const broken = Object.assign(new Error('broken'), { code: 'EIO' });
  let isBroken = false;
  const unsynced = new Unsynced(() => (isBroken ? Promise.reject(broken) : Promise.resolve()));
  const paths = Array.from({ length: limits.fsyncFilesMax + 5 }, (_, i) => `f${i}`);
  const files = paths.map((path) => hold(path));
  const noteAll = (): void => files.forEach((held, i) => unsynced.file(held, `f${i}`, true));
  noteAll();
  expect(await unsynced.take().run()).toEqual([]);
  isBroken = true;
  noteAll();
  expect(await unsynced.take().run()).toEqual([{ error: broken, paths, dev: 1n }]);
  files.forEach((held) => held.release());
});

test('close lets go of everything', async () => {
  const { unsynced, synced } = await settled();
  const held = hold('a');
  unsynced.file(held, 'a', true);
  held.release();
  unsynced.close();
  expect(isOpen(held.fd)).toBe(false);
  expect(await unsynced.take().run()).toEqual([]);
  expect(synced).toEqual([]);
});

test('a descriptor is never let go twice', () => {
  const held = hold('a');
  held.retain();
  held.release();
  held.release();
  expect(() => held.release()).toThrow('once too often');
  expect(() => held.retain()).toThrow('after it was closed');
});
