/**
 * The clients of a fault campaign: one writer.ts process at a time, the next one in a directory of
 * its own when the one before was killed; and the verdict over all their journals.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Cluster, Hop } from './cluster.ts';
import { compileProgram } from './compile.ts';
import { root } from './kangaroo.ts';
import { type Journal, parseJournal, readTree, type Tail, type Tree, verify } from './oracle.ts';
import { isAlive, signal } from './proc.ts';
import { until } from './wait.ts';
import type { Task } from './writer.ts';

export interface WritersOptions {
  readonly first: Hop;
  readonly last: Hop;
  readonly seed: number;
  readonly pauseMs: number;
  /** By default in order. */
  readonly tail?: Tail;
}

export interface Total {
  readonly generations: number;
  readonly steps: number;
  readonly acked: number;
  /** Everything that must not be, each with its generation. */
  readonly problems: readonly string[];
}

export class Writers {
  readonly #directory: string;
  readonly #program: string;
  readonly #options: WritersOptions;
  readonly #env: Record<string, string>;
  #generation = 0;
  #child: ChildProcess | null = null;
  #stderr = '';

  constructor(cluster: Cluster, options: WritersOptions) {
    this.#directory = cluster.scratch('writers');
    this.#program = compileProgram(
      join(root, 'test/support/writer.ts'),
      cluster.scratch('program'),
    );
    this.#options = options;
    this.#env = cluster.env;
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  /** Starts a new client, which knows nothing of the one before. */
  start(): void {
    const { first, last, seed, pauseMs } = this.#options;
    const generation = (this.#generation += 1);
    const task: Task = {
      library: pathToFileURL(join(root, 'dist/index.js')).href,
      server: first.socket,
      journal: this.#journalFile(generation),
      seed,
      generation,
      address: `kangaroo://${last.name}/g${generation}`,
      destination: join(last.exportDirectory, `g${generation}`),
      pauseMs,
    };
    writeFileSync(task.journal, '');
    const child = spawn(process.execPath, [this.#program, JSON.stringify(task)], {
      env: this.#env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    child.once('exit', () => {
      if (this.#child === child) this.#child = null;
    });
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined) return;
    child.kill('SIGKILL');
    await until('the client to die', 10_000, () => this.#child !== child);
  }

  /** Lets the client that runs commit and end. */
  async finish(deadlineMs: number): Promise<void> {
    const child = this.#child;
    if (child?.pid === undefined) return;
    const { pid } = child;
    signal(pid, 'SIGTERM');
    await until('the client to commit and end', deadlineMs, () => !isAlive(pid));
  }

  /** Compares what every client did with what is there; `tree` finds a generation's directory. */
  async verdict(where: string, tree: (generation: number) => Tree | Promise<Tree>): Promise<Total> {
    const problems: string[] = [];
    let [steps, acked] = [0, 0];
    if (this.#stderr !== '') problems.push(`a client said: ${this.#stderr}`);
    for (let generation = 1; generation <= this.#generation; generation++) {
      const journal = this.journal(generation);
      for (const line of journal.lines) {
        if ('problem' in line) problems.push(`g${generation}: ${line.problem}`);
      }
      const result = verify(journal, await tree(generation), this.#options.tail);
      steps += result.steps;
      acked += result.acked;
      const { lost, wrong, invented } = result;
      for (const text of lost) problems.push(`g${generation} ${where}: lost: ${text}`);
      for (const text of wrong) problems.push(`g${generation} ${where}: wrong: ${text}`);
      for (const text of invented) problems.push(`g${generation} ${where}: invented: ${text}`);
    }
    return { generations: this.#generation, steps, acked, problems };
  }

  journal(generation: number): Journal {
    const text = readFileSync(this.#journalFile(generation), 'utf8');
    return parseJournal(this.#options.seed, generation, text);
  }

  /** What the destination's disk holds of a generation. */
  treeAtDestination(generation: number): Tree {
    const directory = join(this.#options.last.exportDirectory, `g${generation}`);
    return existsSync(directory) ? readTree(directory) : new Map();
  }

  /** The same, as `kangaroo get -r` at the first hop gives it. */
  async treeAtFirstHop(generation: number): Promise<Tree> {
    const { first, last } = this.#options;
    const into = join(this.#directory, `get${generation}`);
    mkdirSync(into, { recursive: true });
    const address = `kangaroo://${last.name}/g${generation}`;
    const got = await first.run(['get', '-r', address, into, '--no-progress']);
    if (got.status !== 0 && existsSync(join(last.exportDirectory, `g${generation}`))) {
      throw new Error(`get -r ${address}: exit ${got.status}: ${got.stderr}`);
    }
    const below = join(into, `g${generation}`);
    return readTree(existsSync(below) ? below : into);
  }

  #journalFile(generation: number): string {
    return join(this.#directory, `journal.${generation}`);
  }
}
