/**
 * Power cuts (invariants I1, I2, I8, I11): the first hop's disk and the destination's are ext4
 * images that lose what was not on stable storage, at random moments, right after an
 * acknowledgement, and while syncs are slowed down so that the cut falls beside one.
 *
 * A client writes all the time and keeps its journal elsewhere; after each cut the server on that
 * disk is killed, the disk comes back, the server starts again, at times to be cut again while it
 * recovers. The client is on another machine and survives, or on the first hop's and dies with it.
 * In the end a push must succeed and every byte be what the journal says. 32 cuts; KANGAROO_LONG=1
 * makes them 300. KANGAROO_SEED repeats the choices. Needs root and loop devices.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Cluster, type Hop } from '../support/cluster.ts';
import { CUT, Disk, diskComplaint } from '../support/disk.ts';
import { chooseSeed, Prng } from '../support/prng.ts';
import { membersOfGroup, signal } from '../support/proc.ts';
import { straceComplaint } from '../support/strace.ts';
import { pause, until } from '../support/wait.ts';
import { Writers } from '../support/writers.ts';

/** With each of the two clients. */
const CUTS = process.env['KANGAROO_LONG'] === '1' ? 150 : 16;
const HEAL_MS = 60_000;
const SLOW_SYNC_US = 60_000;
/** An acknowledgement is waited for so long before a cut that is to follow one. */
const ACK_MS = 1_500;

const seed = chooseSeed();
const probe = mkdtempSync(join(tmpdir(), 'kg-disk-'));
const complaint = diskComplaint(probe);
rmSync(probe, { recursive: true, force: true });
const strace = straceComplaint();
if (complaint !== null) process.stderr.write(`power cuts: skipped: ${complaint}\n`);
else if (strace !== null) process.stderr.write(`power cuts beside syncs: left out: ${strace}\n`);

const MOMENTS = { random: 4, acknowledged: 5, syncing: strace === null ? 3 : 0 } as const;

let cluster: Cluster | null = null;
const disks: Disk[] = [];

afterEach(async () => {
  const made = cluster;
  cluster = null;
  for (const hop of made?.hops ?? []) await hop.destroy();
  for (const disk of disks.splice(0)) disk.unmountNow();
  await made?.close();
});

/** A server on a disk of its own. */
interface Victim {
  readonly hop: Hop;
  readonly disk: Disk;
}

class Campaign {
  readonly #random: Prng;
  readonly #victims: readonly Victim[];
  readonly #writers: Writers;
  /** Is the client on the first hop's machine? */
  readonly #isNear: boolean;
  readonly #journals: string;
  readonly #counts = new Map<string, number>();

  constructor(
    random: Prng,
    victims: readonly Victim[],
    client: { readonly writers: Writers; readonly isNear: boolean; readonly journals: string },
  ) {
    this.#random = random;
    this.#victims = victims;
    this.#writers = client.writers;
    this.#isNear = client.isNear;
    this.#journals = client.journals;
  }

  get summary(): string {
    return [...this.#counts].map(([label, count]) => `${label} ${count}`).join(', ');
  }

  async run(count: number): Promise<void> {
    for (let cuts = 0; cuts < count; cuts++) {
      const victim = this.#random.pick(this.#victims);
      const moment = this.#random.weighted(MOMENTS);
      const slow = moment === 'syncing' ? this.#slowSyncs(victim.hop) : null;
      await this.#moment(moment);
      await this.#cut(victim, moment);
      if (slow !== null) signal(slow.pid ?? 0, 'SIGKILL');
      await this.#comeBack(victim);
      // Once in a while it is cut again before it is ready.
      if (this.#random.chance(0.15)) {
        cuts += 1;
        await pause(this.#random.between(50, 500));
        await this.#cut(victim, 'starting');
        await this.#comeBack(victim);
      }
      await victim.hop.untilReady();
      if (!this.#writers.isRunning) this.#writers.start();
    }
  }

  async #moment(moment: keyof typeof MOMENTS): Promise<void> {
    await pause(this.#random.between(50, 900));
    if (moment !== 'acknowledged') return;
    const before = acknowledgements(this.#journal());
    const endMs = performance.now() + ACK_MS;
    while (performance.now() < endMs && acknowledgements(this.#journal()) === before) {
      await pause(1);
    }
  }

  async #cut({ hop, disk }: Victim, moment: string): Promise<void> {
    const flag = this.#random.pick([CUT.LOGFLUSH, CUT.NOLOGFLUSH]);
    // It may end by itself when it meets the errors.
    const group = hop.pid;
    disk.cut(flag);
    if (this.#isNear && hop === this.#victims[0]?.hop) await this.#writers.kill();
    const label = `${hop.name} ${moment} ${flag === CUT.LOGFLUSH ? 'logflush' : 'nologflush'}`;
    this.#counts.set(label, (this.#counts.get(label) ?? 0) + 1);
    // At times it lives on for a moment and meets the errors.
    if (this.#random.chance(0.5)) await pause(this.#random.between(1, 100));
    await hop.kill();
    if (group === 0) return;
    signal(-group, 'SIGKILL');
    await until('its group to end', 15_000, () => membersOfGroup(group).length === 0);
  }

  async #comeBack({ hop, disk }: Victim): Promise<void> {
    await disk.remount();
    hop.spawn();
  }

  /** Everything that the clients have noted so far. */
  #journal(): string {
    const files = readdirSync(this.#journals).filter((name) => name.startsWith('journal.'));
    return files.map((name) => readFileSync(join(this.#journals, name), 'utf8')).join('');
  }

  #slowSyncs(hop: Hop): ChildProcess {
    const when = this.#random.pick(['enter', 'exit']);
    const calls = 'fsync,fdatasync,syncfs';
    const inject = `inject=${calls}:delay_${when}=${SLOW_SYNC_US}`;
    const args = ['-f', '-qq', '-o', '/dev/null', '-p', `${hop.pid}`, '-e', `trace=${calls}`];
    return spawn('strace', [...args, '-e', inject], { stdio: 'ignore' });
  }
}

function acknowledgements(journal: string): number {
  return journal.split('"acked"').length;
}

/** The first hop as a client on another machine finds it. */
function fromAfar(hop: Hop): Hop {
  return Object.create(hop, { socket: { get: () => hop.address } }) as Hop;
}

async function cutAll(isNear: boolean): Promise<void> {
  const title = `power cuts, ${isNear ? 'near' : 'far'} client`;
  process.stdout.write(`${title}: KANGAROO_SEED=${seed}\n`);
  const made = (cluster = new Cluster());
  for (const name of ['first', 'last']) {
    disks.push(new Disk(join(made.directory, `${name}.img`), join(made.directory, name)));
  }
  const [first, last] = (await made.chain(['first', 'last'])) as [Hop, Hop];
  const front = isNear ? first : fromAfar(first);
  // A client that survives sends again what the first hop has lost; with one that dies it is gone.
  const tail = isNear ? 'in order by path' : 'in order';
  const writers = new Writers(made, { first: front, last, seed, pauseMs: 20, tail });
  writers.start();
  const victims = [first, last].map((hop, i) => ({ hop, disk: disks[i] as Disk }));
  const journals = join(made.directory, 'writers');
  const campaign = new Campaign(new Prng(seed), victims, { writers, isNear, journals });
  await campaign.run(CUTS);
  await writers.finish(HEAL_MS);
  const push = await first.run(['push', '--timeout', `${HEAL_MS}ms`], {
    deadlineMs: HEAL_MS + 9_000,
  });
  const logs = `${first.tail()}\n${last.tail()}`;
  const { generations, steps, acked, problems } = await writers.verdict('after all', (g) => {
    return writers.treeAtDestination(g);
  });
  process.stdout.write(
    `${title}: ${campaign.summary}; ${generations} clients, ${steps} steps, ` +
      `${acked} acknowledged\n`,
  );
  expect(problems, logs).toEqual([]);
  expect({ status: push.status, stderr: push.stderr }, logs).toEqual({ status: 0, stderr: '' });
  const check = await Promise.all(
    [first, last].map((hop) => first.run(['check', '--spool', hop.spool])),
  );
  expect(check.map(({ status }) => status)).toEqual([0, 0]);
}

describe.skipIf(complaint !== null)(`${CUTS} power cuts under load`, () => {
  test('a client on another machine', async () => {
    await cutAll(false);
  });

  test('a client on the machine of the first hop', async () => {
    await cutAll(true);
  });
});
