/**
 * Three servers in a row, and what a chain has to do that a single hop does not show: pass a file
 * on while it is still arriving, sit out a hop that dies or falls silent, let a push overtake what
 * nobody waits for, and answer reads from wherever the bytes are.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { connect, type Kangaroo } from '../../src/index.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import type { RunResult } from '../support/kangaroo.ts';
import { pause, until } from '../support/wait.ts';

const MiB = 1024 * 1024;
const HEAL_MS = 45_000;

let cluster: Cluster;
let first: Hop;
let middle: Hop;
let last: Hop;

beforeAll(async () => {
  cluster = new Cluster();
  [first, middle, last] = (await cluster.chain(['first', 'middle', 'last'])) as [Hop, Hop, Hop];
});
afterEach(async () => {
  for (const hop of [last, middle, first]) if (!hop.isRunning) await hop.start();
});
afterAll(async () => {
  await cluster.close();
});

const at = (path: string): string => `kangaroo://last/${path}`;
const exported = (path: string): string => join(last.exportDirectory, path);

async function ok(...args: string[]): Promise<RunResult> {
  const result = await first.run(args);
  expect({ status: result.status, stderr: result.stderr }, args.join(' ')).toEqual({
    status: 0,
    stderr: '',
  });
  return result;
}

async function put(path: string, input: Uint8Array, ...options: string[]): Promise<void> {
  const result = await first.run(['put', '-', at(path), ...options], { input });
  expect(result, path).toMatchObject({ status: 0, stderr: '' });
}

/** A push that must not have arrived when its time is up, and says so in time. */
async function pushInVain(target: string, timeoutMs: number): Promise<string> {
  const startMs = performance.now();
  const { status, stderr } = await first.run(['push', target, '--timeout', `${timeoutMs}ms`]);
  expect(status, stderr).toBe(75);
  expect(stderr).toMatch(/^kangaroo push: [^\n]+\n$/);
  // Its own time, and that of starting a program on a busy machine.
  expect(performance.now() - startMs).toBeLessThan(timeoutMs + 6_000);
  return stderr;
}

async function pushAll(): Promise<void> {
  await ok('push', '--timeout', `${HEAL_MS}ms`);
}

function sizeAtDestination(path: string): number {
  return statSync(exported(path), { throwIfNoEntry: false })?.size ?? 0;
}

describe('a file on its way', () => {
  test('enters the next link while the rest of it is still arriving', async () => {
    const content = randomBytes(6 * MiB);
    const { child, result } = first.begin(['put', '-', at('growing')]);
    child.stdin?.write(content.subarray(0, 3 * MiB));
    await until('the first part to reach the destination', 20_000, () => {
      return sizeAtDestination('growing') >= 2 * MiB;
    });
    expect(child.exitCode).toBeNull();
    const sofar = readFileSync(exported('growing'));
    expect(sofar.equals(content.subarray(0, sofar.length))).toBe(true);
    // A small piece comes through as well, a moment after the writer has paused.
    child.stdin?.write(content.subarray(3 * MiB, 3 * MiB + 1_000));
    await until('a small piece to reach the destination', 20_000, () => {
      return sizeAtDestination('growing') >= 3 * MiB + 1_000;
    });
    child.stdin?.end(content.subarray(3 * MiB + 1_000));
    expect(await result).toMatchObject({ status: 0, stderr: '' });
    await pushAll();
    expect(readFileSync(exported('growing')).equals(content)).toBe(true);
  });

  test('a push of one file overtakes what nobody waits for', async () => {
    await middle.stop();
    const block = randomBytes(4 * MiB);
    const backlog = Array.from({ length: 60 }, (_, i) => `backlog${i}`);
    const large = cluster.scratch('backlog');
    for (const name of backlog) writeFileSync(join(large, name), block);
    await ok('put', '-r', large, at('backlog'));
    await put('urgent', Buffer.from('now'));
    const queued = (await first.status()).spool.bytes;
    expect(queued).toBeGreaterThan(200 * MiB);
    await middle.start();
    await ok('push', at('urgent'), '--timeout', `${HEAL_MS}ms`);
    const behind = (await first.status()).spool.bytes + (await middle.status()).spool.bytes;
    expect(readFileSync(exported('urgent'), 'utf8')).toBe('now');
    expect(behind).toBeGreaterThan(20 * MiB);
    await pushAll();
    for (const name of backlog) {
      expect(readFileSync(exported(`backlog/${name}`)).equals(block), name).toBe(true);
    }
    await ok('rm', '-r', at('backlog'));
    await pushAll();
    expect(existsSync(exported('backlog'))).toBe(false);
  });
});

describe('a hop that fails', () => {
  test.each(['middle', 'last'])('%s dies while it is sent to, and returns', async (name) => {
    const victim = cluster.hop(name);
    const content = randomBytes(24 * MiB);
    const { child, result } = first.begin(['put', '-', at(`killed-${name}`)]);
    child.stdin?.write(content.subarray(0, 12 * MiB));
    await until('something to arrive', 20_000, () => sizeAtDestination(`killed-${name}`) > 0);
    await victim.kill();
    child.stdin?.end(content.subarray(12 * MiB));
    // The job is not held up: it is safe at its first hop.
    expect(await result).toMatchObject({ status: 0, stderr: '' });
    const why = await pushInVain(at(`killed-${name}`), 1_500);
    expect(why).toContain(name === 'middle' ? 'first' : 'middle');
    const from = name === 'middle' ? first : middle;
    const [there] = (await from.status('last')).destinations;
    expect(there).toMatchObject({ name: 'last', state: 'waiting' });
    expect(there?.reason).toBeTruthy();
    expect(there?.queuedBytes).toBeGreaterThan(0);

    await victim.start();
    await pushAll();
    expect(readFileSync(exported(`killed-${name}`)).equals(content)).toBe(true);
    // Once more is no harm.
    await pushAll();
    await ok('push', at(`killed-${name}`));
  });

  test.each(['middle', 'last'])('%s falls silent for some seconds', async (name) => {
    const victim = cluster.hop(name);
    victim.pause();
    try {
      const content = randomBytes(8 * MiB);
      const startMs = performance.now();
      await put(`paused-${name}`, content);
      expect(performance.now() - startMs).toBeLessThan(10_000);
      await pushInVain(at(`paused-${name}`), 1_500);
      await pause(2_000);
      victim.continue();
      await pushAll();
      expect(readFileSync(exported(`paused-${name}`)).equals(content)).toBe(true);
    } finally {
      victim.continue();
    }
  });

  test('a push that waits survives the death of the hops it waits for', async () => {
    const content = randomBytes(5 * MiB);
    await last.stop();
    await put('patient', content);
    const push = first.begin(['push', at('patient'), '--timeout', `${HEAL_MS}ms`], { input: '' });
    await pause(700);
    await middle.kill();
    await pause(300);
    await last.start();
    await middle.start();
    expect(await push.result).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(exported('patient')).equals(content)).toBe(true);
  });

  test('put --push says 75 when its time is up, and the put is kept', async () => {
    await middle.stop();
    const input = Buffer.from('kept all the same');
    const late = await first.run(['put', '-', at('late'), '--push', '--timeout', '1s'], { input });
    expect(late.status, late.stderr).toBe(75);
    await ok('commit');
    await middle.start();
    await pushAll();
    expect(readFileSync(exported('late'), 'utf8')).toBe('kept all the same');
  });
});

describe('reading while the destination is away', () => {
  test('what is here is served, what is not ends with 75 in time', async () => {
    const old = randomBytes(300_000);
    await put('delivered', old, '--push');
    await put('patched', old, '--push');
    await last.stop();
    const fresh = randomBytes(300_000);
    await put('fresh', fresh);
    await pause(300);
    await inSession(async (client) => {
      await client.write(at('patched'), 100_000, fresh.subarray(0, 50_000));
    });

    expect((await ok('get', at('fresh'), '-')).stdout.equals(fresh)).toBe(true);
    const range = ['--offset', '110000', '--length', '20000'];
    const piece = await ok('get', at('patched'), '-', ...range);
    expect(piece.stdout.equals(fresh.subarray(10_000, 30_000))).toBe(true);
    for (const [path, ...rest] of [
      ['delivered'],
      ['patched'],
      ['patched', '--offset', '90000', '--length', '20000'],
    ]) {
      const startMs = performance.now();
      const args = ['get', at(path ?? ''), '-', ...rest, '--timeout', '1500ms'];
      const { status, stderr } = await first.run(args);
      expect(status, stderr).toBe(75);
      expect(performance.now() - startMs).toBeLessThan(8_000);
    }
    // A directory made here is known here.
    await inSession(async (client) => await client.mkdir(at('made')));
    await put('made/file', fresh);
    expect((await ok('ls', at('made'))).stdout.toString()).toBe('file\n');
    expect((await ok('get', at('made/file'), '-')).stdout.equals(fresh)).toBe(true);

    await last.start();
    await pushAll();
    const expected = Buffer.from(old);
    fresh.copy(expected, 100_000, 0, 50_000);
    expect((await ok('get', at('patched'), '-')).stdout.equals(expected)).toBe(true);
    expect((await ok('get', at('delivered'), '-')).stdout.equals(old)).toBe(true);
    expect(readFileSync(exported('made/file')).equals(fresh)).toBe(true);
  });
});

/** What only the library can do, committed. */
async function inSession(work: (client: Kangaroo) => Promise<void>): Promise<void> {
  const client = await connect({ server: first.socket });
  try {
    await work(client);
    await client.commit();
  } finally {
    await client.close();
  }
}

describe('routes that go wrong', () => {
  test('a loop is held and said so', async () => {
    const loops = new Cluster();
    try {
      const a = loops.add({ name: 'a' });
      await a.start();
      const b = loops.add({ name: 'b', routes: [`far=${a.address}`] });
      await b.start();
      await a.stop();
      a.routeBy([`far=${b.address}`]);
      await a.start();
      const put = ['put', '-', 'kangaroo://far/x', '--timeout', '20s'];
      const made = await a.run(put, { input: 'round and round' });
      expect(made.status, made.stderr).toBe(0);
      const push = await a.run(['push', '--timeout', '20s']);
      expect([1, 73], push.stderr).toContain(push.status);
      expect(push.stderr).toMatch(/route|without arriving/);
    } finally {
      await loops.close();
    }
  });
});
