/**
 * SIGKILL at random moments under load (invariants I1, I2, I3, I4, I6, I8, I9, I12): the first hop,
 * its mover, the hop in the middle, its mover, the destination, and now and then the client itself.
 *
 * A client writes all the time and keeps a journal; a supervisor kills and starts again, at times
 * while the victim is still recovering. Then everything heals: a push must succeed within its
 * deadline, every byte must be what the journal says, both at the destination and as read through
 * the first hop, nothing may be held or stuck, and the spools must be empty. 100 kills in all;
 * KANGAROO_LONG=1 makes them 1,000. KANGAROO_SEED repeats the choices of a run.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Cluster, type Hop } from '../support/cluster.ts';
import { chooseSeed, Prng } from '../support/prng.ts';
import { openDescriptors } from '../support/proc.ts';
import { pause, until } from '../support/wait.ts';
import { Writers } from '../support/writers.ts';

const KILLS = process.env['KANGAROO_LONG'] === '1' ? 500 : 50;
const HEAL_MS = 60_000;
/** Beside files that the destination keeps open: sockets, log, index, libraries' own. */
const DESCRIPTORS_MAX = 120;

const seed = chooseSeed();
let cluster: Cluster | null = null;

afterEach(async () => {
  await cluster?.close();
  cluster = null;
});

/** One victim: how it is killed, and how it comes back. */
interface Victim {
  readonly label: string;
  readonly weight: number;
  readonly kill: () => Promise<boolean>;
}

class Campaign {
  readonly #random: Prng;
  readonly #hops: readonly Hop[];
  readonly #writers: Writers;
  readonly #victims: readonly Victim[];
  readonly #counts = new Map<string, number>();
  /** Comebacks under way. */
  readonly #returning = new Set<Promise<void>>();

  constructor(random: Prng, hops: readonly Hop[], writers: Writers) {
    this.#random = random;
    this.#hops = hops;
    this.#writers = writers;
    const servers = hops.map((hop): Victim => {
      return { label: hop.name, weight: 5, kill: () => this.#killServer(hop) };
    });
    // The last hop's mover has nothing to do.
    const movers = hops.slice(0, -1).map((hop): Victim => {
      const kill = (): Promise<boolean> => Promise.resolve(hop.killMover());
      return { label: `mover of ${hop.name}`, weight: 4, kill };
    });
    const client = { label: 'client', weight: 2, kill: () => this.#killClient() };
    this.#victims = [...servers, ...movers, client];
  }

  /** Kills `count` times; resolves when all have come back. */
  async run(count: number): Promise<void> {
    const byLabel = new Map(this.#victims.map((victim) => [victim.label, victim]));
    const weights = Object.fromEntries(this.#victims.map(({ label, weight }) => [label, weight]));
    for (let killed = 0; killed < count;) {
      await pause(this.#random.between(50, 1_700));
      const victim = byLabel.get(this.#random.weighted(weights));
      if (victim === undefined || !(await victim.kill())) continue;
      this.#counts.set(victim.label, (this.#counts.get(victim.label) ?? 0) + 1);
      killed += 1;
    }
    await Promise.all(this.#returning);
    for (const hop of this.#hops) if (!hop.isRunning) await hop.start();
  }

  get summary(): string {
    return [...this.#counts].map(([label, count]) => `${label} ${count}`).join(', ');
  }

  /** Also while it is starting: then it dies in the middle of its recovery. */
  async #killServer(hop: Hop): Promise<boolean> {
    if (!hop.isRunning) return false;
    await hop.kill();
    this.#comeBack(async () => {
      await pause(this.#random.below(500));
      // It may be killed again before it is ready: whoever does that brings it back.
      if (!hop.isRunning) hop.spawn();
    });
    return true;
  }

  async #killClient(): Promise<boolean> {
    if (!this.#writers.isRunning) return false;
    await this.#writers.kill();
    this.#writers.start();
    return true;
  }

  #comeBack(work: () => Promise<void>): void {
    const returning = work().finally(() => this.#returning.delete(returning));
    this.#returning.add(returning);
  }
}

/** I9: nothing lives in the spool, no segment but the current one, no descriptor too many. */
async function expectEmpty(hop: Hop): Promise<void> {
  const { spool } = await hop.status();
  expect(spool, hop.name).toMatchObject({ operations: 0, bytes: 0, state: 'ok' });
  const left = (): string => hop.segments().join(' ');
  await until(`the spool of ${hop.name} to shrink, it has ${left()}`, 15_000, () => {
    return hop.segments().length <= 1;
  });
  expect(openDescriptors(hop.pid), `descriptors of ${hop.name}`).toBeLessThan(DESCRIPTORS_MAX);
  expect(readdirSync(hop.spool), hop.name).not.toContain('quarantine');
}

async function campaign(names: readonly string[], title: string): Promise<void> {
  process.stdout.write(`${title}: KANGAROO_SEED=${seed}\n`);
  const made = (cluster = new Cluster());
  const hops = await made.chain(names);
  const [first, last] = [hops[0] as Hop, hops.at(-1) as Hop];
  const random = new Prng(seed ^ names.length);
  const writers = new Writers(made, { first, last, seed, pauseMs: 12 });
  writers.start();
  const kills = new Campaign(random, hops, writers);
  await kills.run(KILLS);
  for (const hop of hops) await hop.untilReady();
  await writers.finish(HEAL_MS);

  const startMs = performance.now();
  const push = await first.run(['push', '--timeout', `${HEAL_MS}ms`], {
    deadlineMs: HEAL_MS + 9_000,
  });
  const pushMs = Math.round(performance.now() - startMs);
  const logs = hops.map((hop) => hop.log).join('\n');
  expect({ status: push.status, stderr: push.stderr }, logs).toEqual({ status: 0, stderr: '' });
  // Nobody but us ended a server.
  expect(logs).not.toMatch(/ended: (?!SIGKILL)/);
  const there = await writers.verdict('at the destination', (g) => writers.treeAtDestination(g));
  const here = await writers.verdict('at the first hop', (g) => writers.treeAtFirstHop(g));
  const { generations, steps, acked } = there;
  process.stdout.write(
    `${title}: killed ${kills.summary}; ${generations} clients, ${steps} steps, ` +
      `${acked} acknowledged; push after healing ${pushMs} ms\n`,
  );
  expect([...there.problems, ...here.problems], logs).toEqual([]);
  for (const hop of hops) await expectEmpty(hop);
  const check = await Promise.all(hops.map((hop) => first.run(['check', '--spool', hop.spool])));
  expect(check.map(({ status }) => status)).toEqual(check.map(() => 0));
  expect(readdirSync(join(last.exportDirectory)).length).toBeLessThanOrEqual(generations);
}

describe('kill -9 under load', () => {
  test(`one hop, ${KILLS} kills`, async () => {
    await campaign(['first', 'last'], 'one hop');
  });

  test(`three hops, ${KILLS} kills`, async () => {
    await campaign(['first', 'middle', 'last'], 'three hops');
  });
});
