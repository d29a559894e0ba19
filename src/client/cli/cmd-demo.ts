/**
 * kangaroo demo: an outage and its recovery, told in plain words, in about ten seconds.
 *
 * Everything is real: two servers, files of random bytes, the commands that are shown, SIGKILL for
 * the outages, and SHA-256 over what arrived. It exits with 0 only when every byte is there. What
 * the machine was too quick for is said, not pretended.
 */
import { randomBytes } from 'node:crypto';
import { open, statfs } from 'node:fs/promises';
import type { Command } from 'commander';
import { deadlineIn, hasPassed, sleep } from '../../base/deadline.ts';
import { KangarooError } from '../../base/errors.ts';
import { formatBytes, formatDuration } from '../../base/units.ts';
import type { StatusReport } from '../report.ts';
import type { Context } from './commands.ts';
import {
  bytesWritten,
  DemoScene,
  type DemoServer,
  type Outcome,
  type ServerPlan,
  sha256Of,
} from './demo-scene.ts';
import { exitStatusHelp } from './exit-status.ts';
import { type Colors, colorsFor, type Io, print } from './io.ts';
import { visible } from './text.ts';

const MiB = 1024 * 1024;
const SMALL_BYTES = 8 * MiB;
const BIG_BYTES = 128 * MiB;
/** The archive is killed when this part of the big file has been written there. */
const KILL_AT = 0.2;
const WATCH_EVERY_MS = 2;
const PUSH_TIMEOUT = '60s';

export function define(program: Command, context: Context): void {
  program
    .command('demo')
    .description(
      'Two servers in a scratch directory, a real file through one hop, an outage and its\n' +
        'recovery, with what happens in plain words. About ten seconds; leaves nothing behind.',
    )
    .addHelpText(
      'after',
      `
Example:
  kangaroo demo

${exitStatusHelp([0, 1, 75, 130], 'every byte has arrived')}`,
    )
    .action(() => demo(context.io));
}

async function demo(io: Io): Promise<void> {
  const scene = await DemoScene.open(io.signal);
  try {
    await new Story(scene, io).play();
  } finally {
    await scene.close();
  }
}

class Story {
  readonly #scene: DemoScene;
  readonly #io: Io;
  readonly #colors: Colors;
  #archivePlan: ServerPlan = {
    name: 'archive',
    listen: ['127.0.0.1:0'],
    exports: true,
    routes: [],
  };

  constructor(scene: DemoScene, io: Io) {
    this.#scene = scene;
    this.#io = io;
    this.#colors = colorsFor(io.stdout, io.env);
  }

  async play(): Promise<void> {
    this.#title('Two servers on this machine, in a scratch directory');
    const archive = await this.#scene.start(this.#archivePlan);
    const address = archive.ready?.listen[0] ?? '';
    // The same port from now on: a server that comes back is found where it was.
    this.#archivePlan = { ...this.#archivePlan, listen: [address] };
    const routes = [`archive=${address}`];
    await this.#scene.start({ name: 'node', listen: [], exports: false, routes });
    this.#say(`'archive', at ${address}, is where results belong: kangaroo://archive/...`);
    this.#say("'node' is where the job runs. It spools on its own disk and passes on to archive.");
    await this.#outageBefore(archive);
    const again = await this.#scene.start(this.#archivePlan);
    await this.#arrives('results.dat');
    await this.#outageAmid(again);
    await this.#scene.start(this.#archivePlan);
    await this.#arrives('big.dat');
    const { output } = await this.#command(['messages']);
    this.#show(output);
    this.#title('Done');
    this.#good('Both files arrived byte for byte. The job never saw an error and never waited.');
  }

  /** First act: the archive is away when the job finishes. */
  async #outageBefore(archive: DemoServer): Promise<void> {
    this.#title('1. The archive goes down before the job has finished');
    await archive.kill();
    this.#say('The archive was killed (SIGKILL). Now the job puts its results:');
    await this.#makeFile('results.dat', SMALL_BYTES);
    const put = await this.#command(['put', 'results.dat', 'kangaroo://archive/']);
    this.#good(
      `${formatBytes(SMALL_BYTES)} are safe on the node's disk after ` +
        `${formatDuration(put.elapsedMs)}, exit status 0. The job may leave.`,
    );
    await this.#showWaiting();
    this.#say('The archive comes back, and somebody asks for everything to arrive:');
  }

  /** Second act: the archive is killed while it receives. */
  async #outageAmid(archive: DemoServer): Promise<void> {
    this.#title('2. The archive is killed while it receives');
    const bytes = await this.#bigBytes();
    await this.#makeFile('big.dat', bytes);
    const before = await bytesWritten(this.#scene.path('archive'));
    const putting = this.#command(['put', 'big.dat', 'kangaroo://archive/']);
    const arrived = this.#waitForBytes(before + bytes * KILL_AT);
    // Whichever fails first is told; the other must not end as an unhandled rejection.
    putting.catch(() => undefined);
    await arrived;
    await archive.kill();
    const got = (await bytesWritten(this.#scene.path('archive'))) - before;
    const put = await putting;
    const share = `${formatBytes(got)} of ${formatBytes(bytes)}`;
    if (got < bytes) this.#say(`Killed (SIGKILL) with ${share} written there.`);
    else this.#say(`This machine was quicker than the demo: killed with ${share} written there.`);
    this.#good(`The put took ${formatDuration(put.elapsedMs)} and did not notice: exit status 0.`);
    await this.#showWaiting();
    this.#say('The archive starts again on the same spool and export directory:');
  }

  /** Pushes, and compares what arrived with what was put. */
  async #arrives(name: string): Promise<void> {
    const push = await this.#command(['push', '--timeout', PUSH_TIMEOUT]);
    this.#say(`Push answered after ${formatDuration(push.elapsedMs)}: all has arrived. Compared:`);
    const wanted = await sha256Of(this.#scene.path(name));
    const got = await sha256Of(this.#scene.path('archive', name)).catch(() => 'missing');
    this.#show(`sha256 put      ${wanted}\nsha256 arrived  ${got}`);
    if (wanted !== got) {
      throw new KangarooError('CORRUPT', `${name}: what arrived is not what was put`, {
        hint: 'please report this',
      });
    }
    this.#good('Equal.');
  }

  /** Shows the status once the node has noticed the outage, or as it is after some seconds. */
  async #showWaiting(): Promise<void> {
    const deadline = deadlineIn(5_000);
    while (!hasPassed(deadline)) {
      const { output } = await this.#run(['status', '--json']);
      const { destinations } = JSON.parse(output) as StatusReport;
      if (destinations.some(({ state }) => state === 'waiting')) break;
      await sleep(100, this.#io.signal);
    }
    const { output } = await this.#command(['status']);
    this.#show(output);
  }

  async #waitForBytes(bytes: number): Promise<void> {
    const deadline = deadlineIn(20_000);
    while ((await bytesWritten(this.#scene.path('archive'))) < bytes && !hasPassed(deadline)) {
      await sleep(WATCH_EVERY_MS, this.#io.signal);
    }
  }

  /** The big file is in four places for a moment; on a small disk it is smaller. */
  async #bigBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#scene.directory);
    const share = Math.floor((bavail * bsize) / 8 / MiB) * MiB;
    return Math.min(BIG_BYTES, Math.max(SMALL_BYTES, share));
  }

  async #makeFile(name: string, bytes: number): Promise<void> {
    const file = await open(this.#scene.path(name), 'w');
    try {
      for (let done = 0; done < bytes; done += MiB) await file.write(randomBytes(MiB));
    } finally {
      await file.close();
    }
  }

  /** Runs a command of the node, shows it first, and wants it to succeed. */
  async #command(argv: readonly string[]): Promise<Outcome> {
    print(this.#io, this.#colors.cyan(`  $ kangaroo ${argv.join(' ')}`));
    return await this.#run(argv);
  }

  async #run(argv: readonly string[]): Promise<Outcome> {
    const outcome = await this.#scene.run(argv, 'node');
    if (outcome.status !== 0) {
      const text = `kangaroo ${argv.join(' ')}: exit status ${outcome.status}: ${outcome.output}`;
      throw new KangarooError('INTERNAL', text.trim(), { hint: 'please report this' });
    }
    return outcome;
  }

  #title(text: string): void {
    print(this.#io, `\n${this.#colors.bold(text)}`);
  }

  #say(text: string): void {
    print(this.#io, `  ${text}`);
  }

  #good(text: string): void {
    print(this.#io, this.#colors.green(`  ${text}`));
  }

  #show(output: string): void {
    for (const line of output.trimEnd().split('\n')) {
      print(this.#io, this.#colors.dim(`    ${visible(line)}`).trimEnd());
    }
  }
}
