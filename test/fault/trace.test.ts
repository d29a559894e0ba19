/**
 * The order of syncs and answers (invariants I1, I2, and the directory syncs that ext4 would
 * forgive), checked on the system calls of a round of put, commit and push at the first hop and at
 * the destination. The rules are in support/lint.ts; each must also be able to fail, so every kind
 * of sync is taken out of the recorded trace once, and the lint has to complain. Needs strace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../src/index.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import { cycle } from '../support/cycle.ts';
import { program, startProgram } from '../support/kangaroo.ts';
import { answeredAt, lint, TRACE_ARGS } from '../support/lint.ts';
import { childrenOf, signal } from '../support/proc.ts';
import { type Call, parseStrace, pathOf, straceComplaint } from '../support/strace.ts';
import { pause, until } from '../support/wait.ts';

const complaint = straceComplaint();
if (complaint !== null) process.stderr.write(`trace lint: skipped: ${complaint}\n`);

let cluster: Cluster;
let first: Hop;
let last: Hop;
let atFirst: Call[] = [];
let atLast: Call[] = [];
/** With nothing but puts, and a push that no commit went before. */
let pushedAtFirst: Call[] = [];
let pushedAtLast: Call[] = [];
/** Delivered, with neither commit nor push, and syncs that take their time. */
let releasedAtLast: Call[] = [];

/** On a fast disk an answer that does not wait would come behind the sync by luck. */
const SLOW_SYNCS = ['-e', 'inject=fsync,fdatasync,syncfs:delay_exit=20000'];

async function attach(hop: Hop, out: string, isSlow: boolean): Promise<ChildProcess> {
  const slow = isSlow ? SLOW_SYNCS : [];
  const child = spawn('strace', ['-f', '-o', out, '-p', `${hop.pid}`, ...TRACE_ARGS, ...slow], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await until(`strace to attach: ${said}`, 15_000, () => said.includes('attached'));
  await pause(50);
  return child;
}

/** The calls that both servers make during `work` and a little after. */
async function traced(
  name: string,
  work: () => Promise<void>,
  isSlow = false,
): Promise<[Call[], Call[]]> {
  const files = [first, last].map((hop) => join(cluster.directory, `${name}.${hop.name}`));
  const straces = await Promise.all(
    [first, last].map((hop, i) => attach(hop, files[i] as string, isSlow)),
  );
  await work();
  await pause(1_500);
  await Promise.all(
    straces.map(async (child) => {
      const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGINT');
      await gone;
    }),
  );
  const [one, two] = files.map((file) => parseStrace(readFileSync(file, 'latin1')));
  return [one ?? [], two ?? []];
}

beforeAll(async () => {
  if (complaint !== null) return;
  cluster = new Cluster();
  [first, last] = (await cluster.chain(['first', 'last'])) as [Hop, Hop];
  [atFirst, atLast] = await traced('commit', async () => {
    const round = { first, last, seed: 1, commitMs: 20_000, pushMs: 20_000 };
    expect(await cycle({ ...round, generation: 1 })).toMatchObject({ failures: [], problems: [] });
    expect(await cycle({ ...round, generation: 2 })).toMatchObject({ failures: [], problems: [] });
  });
  [pushedAtFirst, pushedAtLast] = await traced('push', async () => {
    const client = await connect({ server: first.address });
    await client.write('kangaroo://last/pushed', 0, Buffer.alloc(300_000, 1));
    await client.write('kangaroo://last/small', 0, Buffer.alloc(30, 1));
    await client.push('kangaroo://last', { timeoutMs: 20_000 });
    await client.close();
  });
  const release = async (): Promise<void> => {
    const client = await connect({ server: first.address });
    await client.write('kangaroo://last/released', 0, Buffer.alloc(300_000, 1));
    await client.write('kangaroo://last/released-too', 0, Buffer.alloc(30, 1));
    await until('it to be released', 20_000, async () => {
      const arrived = existsSync(join(last.exportDirectory, 'released-too'));
      return arrived && (await client.status()).spool.operations === 0;
    });
    await client.close();
  };
  [, releasedAtLast] = await traced('release', release, true);
}, 90_000);

/** A name that nobody committed, delivered; and a start that finds what a kill left. */
async function traceNames(): Promise<Call[]> {
  const [calls] = await traced('names', async () => {
    const client = await connect({ server: first.address });
    await client.write('kangaroo://last/a', 0, Buffer.alloc(10, 1));
    await client.rename('kangaroo://last/a', 'kangaroo://last/b');
    await until('it to arrive', 15_000, () => existsSync(join(last.exportDirectory, 'b')));
    await client.close();
  });
  return calls;
}

async function traceRecovery(): Promise<Call[]> {
  await last.kill();
  const client = await connect({ server: first.address });
  await client.write('kangaroo://last/kept', 0, Buffer.alloc(10, 1));
  // It has arrived at the first hop, and nothing has made it durable.
  const address = 'kangaroo://last/kept';
  await until('the put', 10_000, async () => (await client.status(address)).spool.operations > 0);
  await first.kill();
  await client.close();
  const out = join(cluster.directory, 'recovery');
  const ready = join(cluster.directory, 'ready.json');
  const line = ['-f', '-o', out, ...TRACE_ARGS, process.execPath, program, 'server', '--no-mover'];
  line.push('--name', 'first', '--socket', first.socket, '--spool', first.spool);
  const { child, result } = startProgram('strace', [...line, '--ready-file', ready], {
    env: cluster.env,
  });
  await until('the recovery', 30_000, () => existsSync(ready));
  for (const pid of childrenOf(child.pid ?? 0)) signal(pid, 'SIGKILL');
  await result;
  return parseStrace(readFileSync(out, 'latin1'));
}

afterAll(async () => {
  await (cluster as Cluster | undefined)?.close();
});

const placesOf = (hop: Hop) => ({
  spool: hop.spool,
  exportDirectory: hop === last ? hop.exportDirectory : null,
});

describe.skipIf(complaint !== null)('syncs come before answers', () => {
  test('at the first hop, for a commit', () => {
    const { promises, indexSyncs, complaints } = lint(atFirst, placesOf(first));
    expect(complaints).toEqual([]);
    expect(promises).toBeGreaterThanOrEqual(2);
    // What was released is noted before its segment goes.
    expect(indexSyncs).toBeGreaterThanOrEqual(1);
  });

  test('at the destination, for the mover and for a push', () => {
    const { promises, indexSyncs, complaints } = lint(atLast, placesOf(last));
    expect(complaints).toEqual([]);
    expect(promises).toBeGreaterThanOrEqual(4);
    // For each round: which file the rename moves, and what was taken.
    expect(indexSyncs).toBeGreaterThanOrEqual(4);
  });

  test('a push is answered only when the destination has answered', () => {
    expect(lint(pushedAtLast, placesOf(last)).complaints).toEqual([]);
    const there = pushedAtLast.filter(({ name }) => /sync/.test(name)).at(-1)?.endedAt ?? 0;
    expect(there).toBeGreaterThan(0);
    expect(answeredAt(pushedAtLast)).toBeGreaterThan(there);
    expect(answeredAt(pushedAtFirst)).toBeGreaterThan(answeredAt(pushedAtLast));
  });
});

test.skipIf(complaint !== null)('what the mover is told to forget is durable there', () => {
  const { promises, complaints } = lint(releasedAtLast, placesOf(last));
  expect(complaints).toEqual([]);
  expect(promises).toBeGreaterThanOrEqual(1);
});

describe.skipIf(complaint !== null)('names at the destination', () => {
  test('a reused name waits until what had it is durable', () => {
    const isOf = (call: Call, end: string): boolean => pathOf(call).endsWith(end);
    const write = atLast.findIndex((call) => /^pwrite/.test(call.name) && isOf(call, '/new.tmp'));
    const rename = atLast.findIndex(({ name, args }) => /^rename/.test(name) && /tmp/.test(args));
    expect(write).toBeGreaterThan(-1);
    expect(rename).toBeGreaterThan(write);
    const between = atLast.slice(write, rename);
    const synced = between.filter((call) => /sync/.test(call.name));
    expect(synced.some((c) => c.name === 'syncfs' || isOf(c, '/new.tmp'))).toBe(true);
    expect(synced.some((call) => isOf(call, 'index.db-wal'))).toBe(true);
  });

  test('a push of what was put straight to it is synced', async () => {
    const [, calls] = await traced('straight', async () => {
      const client = await connect({ server: last.address });
      await client.write('kangaroo://last/straight', 0, Buffer.alloc(3_000, 1));
      await client.push('kangaroo://last/straight', { timeoutMs: 20_000 });
      await client.close();
    });
    const { promises, complaints } = lint(calls, placesOf(last));
    expect(complaints).toEqual([]);
    expect(promises).toBeGreaterThanOrEqual(1);
  });
});

describe.skipIf(complaint !== null)('what nobody committed', () => {
  test('is synced here before a new name goes on: it must not be done twice', async () => {
    const calls = await traceNames();
    const synced = calls.filter((call) => /^f(data)?sync$/.test(call.name));
    expect(synced.some((call) => pathOf(call).endsWith('.log'))).toBe(true);
  });

  test('is written again and synced by a recovery, before anybody hears of it', async () => {
    const calls = await traceRecovery();
    const isLog = (call: Call): boolean => /segments\/\d+\.log$/.test(pathOf(call));
    const ready = calls.findIndex(({ name, args }) => /^rename/.test(name) && /ready/.test(args));
    expect(ready).toBeGreaterThan(0);
    const before = calls.slice(0, ready);
    // The record as well as the header of the new segment.
    const rewritten = before.findIndex(({ name, args, result }) => {
      return /^pwrite/.test(name) && args.includes('.log') && Number(result) > 100;
    });
    const synced = before.findLastIndex((call) => /sync/.test(call.name) && isLog(call));
    const directory = before.findLastIndex((call) => {
      return /sync/.test(call.name) && pathOf(call).endsWith('/segments');
    });
    expect(rewritten).toBeGreaterThan(0);
    expect(synced).toBeGreaterThan(rewritten);
    expect(directory).toBeGreaterThan(rewritten);
  });
});

describe.skipIf(complaint !== null)('the lint finds a sync that is missing', () => {
  const without = (calls: readonly Call[], out: (call: Call) => boolean): readonly Call[] => {
    const left = calls.filter((call) => !(/sync/.test(call.name) && out(call)));
    expect(left.length).toBeLessThan(calls.length);
    return left;
  };

  test.each(['.log', '.data', 'segments', 'index.db-wal'])('of %s at the first hop', (end) => {
    const calls = without(atFirst, (call) => pathOf(call).endsWith(end));
    expect(lint(calls, placesOf(first)).complaints).not.toEqual([]);
  });

  test.each([
    ['the export', (call: Call) => pathOf(call).startsWith(last.exportDirectory)],
    ['the directories', (call: Call) => /\/g[12](\/dir)?$/.test(pathOf(call))],
    ['the index', (call: Call) => pathOf(call).endsWith('index.db-wal')],
  ])('of %s at the destination', (_, out) => {
    const calls = without(atLast, (call) => call.name === 'syncfs' || out(call));
    expect(lint(calls, placesOf(last)).complaints).not.toEqual([]);
  });
});
