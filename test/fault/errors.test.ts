/**
 * One system call fails (invariants I1, I2, I7, I10): the k-th write, sync, rename or open of a
 * round
 * of put, commit, forward and release fails with EIO, ENOSPC or EDQUOT, in the first hop, its
 * mover,
 * or the destination, and while the first hop recovers.
 *
 * After each failure the victim is killed and starts again without it; then a push must succeed and
 * everything acknowledged be there. A server that does not go on must end with a line that says why
 * and a status that is not 0; no call may wait beyond its deadline. The round is counted first. A
 * sample by a rotating seed (KANGAROO_SEED); KANGAROO_LONG=1 does all. EIO also comes to stay, from
 * the k-th call on, as of a disk that is gone. Needs strace.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Cluster, type Hop } from '../support/cluster.ts';
import { cycle, type CycleResult } from '../support/cycle.ts';
import { program, type RunResult, startProgram } from '../support/kangaroo.ts';
import { readTree, verify } from '../support/oracle.ts';
import { chooseSeed, Prng } from '../support/prng.ts';
import { childrenOf, isAlive, membersOfGroup, signal } from '../support/proc.ts';
import { parseStrace, straceComplaint } from '../support/strace.ts';
import { pause, until } from '../support/wait.ts';

const LONG = process.env['KANGAROO_LONG'] === '1';
const SAMPLE_MS = 60_000;
const RECOVERIES_MS = 18_000;
const ERRNOS = ['EIO', 'ENOSPC', 'EDQUOT'] as const;
const CALLS = {
  write: ['write', 'pwrite64', 'pwritev', 'pwritev2', 'writev', 'ftruncate'],
  sync: ['fsync', 'fdatasync', 'syncfs', 'sync_file_range'],
  name: ['rename', 'renameat', 'renameat2', 'mkdirat', 'unlink', 'unlinkat'],
  open: ['openat', 'openat2'],
} as const;
/** Calls that the first hop also makes after the round, to note and remove what was released. */
const LATER = new Set(['pwrite64', 'fsync', 'fdatasync', 'unlink']);
/** The others go to sockets and event descriptors too, which a disk that is gone leaves alone. */
const ON_DISKS = /^pwrite|sync|^open|^rename|^mkdir|^unlink|^ftruncate/;
const ALL_CALLS = Object.values(CALLS).flat();
/** What a client may be told; anything else is a failure that no disk explains. */
const HONEST = /^\w+: (NOT_YET|UNREACHABLE|DISCONNECTED|SPOOL_FAILED|HELD|BUSY): /;
const HEAL_MS = 30_000;
const VICTIMS = ['first', 'mover', 'last'] as const;
type VictimName = (typeof VICTIMS)[number];

interface Case {
  readonly victim: VictimName;
  readonly call: string;
  readonly errno: string;
  readonly k: number;
  /** Also every call after it? */
  readonly stays: boolean;
}

/** A pattern of the cases to do, as their failures are headed: 'first pwrite64 EIO k=3'. */
const wanted = new RegExp(process.env['KANGAROO_CASES'] ?? '');
const seed = chooseSeed();
const complaint = straceComplaint();
if (complaint !== null) process.stderr.write(`failing system calls: skipped: ${complaint}\n`);

let cluster: Cluster;
let first: Hop;
let last: Hop;
let generation = 0;

beforeEach(async () => {
  cluster = new Cluster();
  cluster.env['UV_THREADPOOL_SIZE'] = '1';
  [first, last] = (await cluster.chain(['first', 'last'])) as [Hop, Hop];
});
afterEach(async () => {
  await cluster.close();
});

/** strace on a process that runs; resolves when it has attached to all of its threads. */
async function attach(pid: number, out: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn('strace', ['-f', '-o', out, '-p', `${pid}`, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await until(`strace to attach: ${said}`, 10_000, () => said.includes('attached'));
  await pause(30);
  return child;
}

async function detach(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGINT');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await gone;
  clearTimeout(timer);
}

function hopOf(victim: VictimName): Hop {
  return victim === 'last' ? last : first;
}

function pidOf(victim: VictimName): number {
  return victim === 'mover' ? (first.moverPid ?? 0) : hopOf(victim).pid;
}

async function run(): Promise<{ readonly result: CycleResult; readonly generation: number }> {
  const number = (generation += 1);
  const result = await cycle({
    first,
    last,
    seed,
    generation: number,
    commitMs: 8_000,
    pushMs: 4_000,
  });
  return { result, generation: number };
}

/** How often each call is made by one thread at most, in a round that is not disturbed. */
async function count(victim: VictimName): Promise<Map<string, number>> {
  // The cases begin with a server that has just started, and opens more than one that has not.
  await restart(hopOf(victim));
  const out = join(cluster.directory, 'count');
  const strace = await attach(pidOf(victim), out, ['-e', `trace=${ALL_CALLS.join(',')}`]);
  const { result } = await run();
  // What was released is flushed within a second or so.
  await pause(1_500);
  await detach(strace);
  expect(result.failures).toEqual([]);
  const counts = new Map<string, number>();
  const byThread = new Map<string, number>();
  for (const { pid, name } of parseStrace(readFileSync(out, 'utf8'))) {
    const made = (byThread.get(`${pid} ${name}`) ?? 0) + 1;
    byThread.set(`${pid} ${name}`, made);
    counts.set(name, Math.max(counts.get(name) ?? 0, made));
  }
  return counts;
}

async function allCases(): Promise<Case[]> {
  const cases: Case[] = [];
  for (const victim of VICTIMS) {
    const counts = await count(victim);
    const text = [...counts].map(([call, k]) => `${call} ${k}`).join(', ');
    process.stdout.write(`failing system calls: ${victim}: ${text}\n`);
    for (const [call, most] of counts) {
      for (let k = 1; k <= most; k++) {
        for (const errno of ERRNOS) cases.push({ victim, call, errno, k, stays: false });
        if (ON_DISKS.test(call)) cases.push({ victim, call, errno: 'EIO', k, stays: true });
      }
    }
  }
  return cases;
}

/** Kills server and mover, which hold the spool. */
async function killGroup(hop: Hop): Promise<void> {
  const group = hop.pid;
  await hop.kill();
  if (group !== 0) {
    signal(-group, 'SIGKILL');
    await until('its group to end', 15_000, () => membersOfGroup(group).length === 0);
  }
}

async function restart(hop: Hop): Promise<void> {
  await killGroup(hop);
  await hop.start();
}

/** Pushes what is there and compares it with what was acknowledged. */
async function healed(lines: CycleResult['lines'], number: number): Promise<string[]> {
  const target = `kangaroo://last/g${number}`;
  const push = await first.run(['push', target, '--timeout', `${HEAL_MS}ms`], {
    deadlineMs: HEAL_MS + 9_000,
  });
  const problems: string[] = [];
  if (push.status !== 0) problems.push(`push afterwards: exit ${push.status}: ${push.stderr}`);
  const all = readTree(last.exportDirectory);
  const below = `g${number}/`;
  const tree = new Map(
    [...all].filter(([path]) => path.startsWith(below)).map(([p, b]) => [p.slice(below.length), b]),
  );
  const { lost, wrong, invented } = verify({ seed, generation: number, lines }, tree);
  return [...problems, ...lost, ...wrong, ...invented.map((text) => `invented: ${text}`)];
}

/** What a server that has ended by itself said and how it ended. */
function endOf(hop: Hop, logBefore: number): string[] {
  const log = hop.log.slice(logBefore);
  const ended = /\[\w+ ended: (\w+)\]/.exec(log)?.[1];
  if (ended === undefined) return [];
  // A failed write to an event descriptor makes libuv abort: nothing of ours.
  if (ended === 'SIGABRT') return [];
  if (ended === '0' || /^SIG/.test(ended)) return [`the server ended with ${ended}`];
  const lines = log.split('\n').filter((line) => line !== '' && !/^[{[]/.test(line));
  const [line = ''] = lines;
  if (lines.length === 1 && /^kangaroo server: .+ \(.+\)$/.test(line)) return [];
  return [`the server ended with ${ended} and said:\n${lines.join('\n')}`];
}

function labelOf({ victim, call, errno, k, stays }: Case): string {
  return `${victim} ${call} ${errno} k=${k}${stays ? '+' : ''}`;
}

/** Returns what is wrong, and whether the call was made to fail at all. */
async function one(given: Case): Promise<{ readonly problems: string[]; readonly hit: boolean }> {
  const { victim, call, errno, k, stays } = given;
  const hop = hopOf(victim);
  const out = join(cluster.directory, 'inject');
  const logBefore = hop.log.length;
  const when = `${k}${stays ? '+' : ''}`;
  const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:error=${errno}:when=${when}`];
  const strace = await attach(pidOf(victim), out, inject);
  const { result, generation: number } = await run();
  const { lines, failures } = result;
  // The first hop notes what was released within a second.
  const isLater = victim === 'first' && LATER.has(call);
  await pause(isLater ? 1_300 : 200);
  await detach(strace);
  const hit = parseStrace(readFileSync(out, 'utf8')).some(({ injected }) => injected);
  const problems = [...result.problems, ...endOf(hop, logBefore)];
  problems.push(...failures.filter((text) => !HONEST.test(text)));
  if (victim !== 'mover' && !hop.isRunning) expect(isAlive(hop.pid)).toBe(false);
  await restart(hop);
  problems.push(...(await healed(lines, number)));
  return { problems: problems.map((text) => `${labelOf(given)}: ${text}`), hit };
}

test.skipIf(complaint !== null)('a call of a round fails', async () => {
  process.stdout.write(`failing system calls: KANGAROO_SEED=${seed}\n`);
  await run();
  const random = new Prng(seed);
  const cases = (await allCases()).filter((one) => wanted.test(labelOf(one)));
  const order = LONG
    ? cases
    : cases
        .map((one) => ({ one, at: random.next() }))
        .sort((a, b) => a.at - b.at)
        .map(({ one }) => one);
  const endMs = performance.now() + SAMPLE_MS;
  const problems: string[] = [];
  let [done, hits] = [0, 0];
  for (const next of order) {
    if (!LONG && performance.now() > endMs) break;
    const { problems: found, hit } = await one(next);
    problems.push(...found);
    for (const text of found) process.stdout.write(`failing system calls: ${text}\n`);
    done += 1;
    if (hit) hits += 1;
  }
  process.stdout.write(`failing system calls: ${done} of ${cases.length} cases, ${hits} hit\n`);
  expect(problems).toEqual([]);
  expect(hits).toBeGreaterThan(done / 4);
});

/** Starts the first hop with a failing call; its end, or null when it got ready all the same. */
async function recoverUnder(inject: string, call: string): Promise<RunResult | null> {
  const ready = join(cluster.directory, 'recovered.json');
  rmSync(ready, { force: true });
  // Only what concerns the spool: a program that cannot open its own modules proves nothing.
  const files = ['index.db', 'index.db-wal', 'segments', 'quarantine', 'headroom'];
  files.push(...first.segments().map((name) => `segments/${name}`));
  const line = ['-f', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject];
  for (const file of files) line.push('-P', join(first.spool, file));
  line.push(process.execPath, program, 'server', '--no-mover', '--name', 'first');
  line.push('--socket', first.socket, '--spool', first.spool, '--ready-file', ready);
  const { child, result } = startProgram('strace', line, { env: cluster.env });
  let over: RunResult | null = null;
  void result.then((done) => (over = done));
  await until('the recovery to end', 20_000, () => over !== null || existsSync(ready));
  if (over !== null) return over;
  for (const pid of childrenOf(child.pid ?? 0)) signal(pid, 'SIGKILL');
  await result;
  return null;
}

test.skipIf(complaint !== null)('a call of a recovery fails', async () => {
  expect((await run()).result.failures).toEqual([]);
  await last.kill();
  // Acknowledged and not delivered: this is what the recoveries below find.
  const kept = await run();
  expect(kept.result.lines.some((line) => 'acked' in line)).toBe(true);
  await killGroup(first);
  const calls = ['openat', 'pwrite64', 'pwritev', 'fsync', 'fdatasync', 'ftruncate', 'unlink'];
  const cases = calls.flatMap((call) =>
    ERRNOS.flatMap((errno) => Array.from({ length: 24 }, (_, i) => ({ call, errno, k: i + 1 }))),
  );
  const random = new Prng(seed ^ 1);
  const problems: string[] = [];
  const endMs = performance.now() + (LONG ? Infinity : RECOVERIES_MS);
  let [done, ended] = [0, 0];
  for (; done < cases.length && performance.now() < endMs; done++) {
    const { call, errno, k } = LONG ? (cases[done] as (typeof cases)[0]) : random.pick(cases);
    const inject = `inject=${call}:error=${errno}:when=${k}`;
    const over = await recoverUnder(inject, call);
    if (over === null) continue;
    ended += 1;
    const lines = over.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    if (over.status === 0 || lines.length !== 1 || !/^kangaroo server: /.test(lines[0] ?? '')) {
      problems.push(`${inject}: ended with ${over.status} and said ${over.stderr}`);
    }
  }
  await last.start();
  await first.start();
  problems.push(...(await healed(kept.result.lines, kept.generation)));
  process.stdout.write(`failing system calls: ${done} recoveries, ${ended} of them ended\n`);
  expect(problems).toEqual([]);
});
