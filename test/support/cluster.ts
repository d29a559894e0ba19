/**
 * Real servers for a test: `bin/kangaroo server` processes in a scratch directory, chained by
 * routes, that can be stopped, killed, paused and started again in the same place.
 *
 *   client --Unix socket--> first --TCP--> ... --TCP--> last (with the export directory)
 *
 * Each server is the leader of a process group of its own, its mover is in it. `close` kills every
 * group, checks that nobody is left, and removes the directory; when the test process dies before,
 * its exit handler does the killing. A server that starts again gets the port it had, since the
 * routes of the others name it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StatusReport } from '../../src/index.ts';
import { removeBoardFile } from '../../src/server/board-file.ts';
import { HEADER } from '../../src/server/board-layout.ts';
import {
  bareEnvironment,
  kangaroo,
  program,
  type Running,
  type RunOptions,
  type RunResult,
  start,
} from './kangaroo.ts';
import { childrenOf, membersOfGroup, signal } from './proc.ts';
import { until } from './wait.ts';

const READY_MS = 30_000;
const GONE_MS = 15_000;
/** As much of a server's log as a failed test shows. */
const LOG_CHARACTERS = 4_000;

/** What the ready file says (interface contract). */
export interface Ready {
  readonly name: string;
  readonly pid: number;
  readonly moverPid: number | null;
  readonly spoolId: string;
  readonly socket: string | null;
  readonly listen: readonly string[];
}

export interface HopOptions {
  readonly name: string;
  /** Has an export directory. */
  readonly exports?: boolean;
  /** PATTERN=ADDR each. */
  readonly routes?: readonly string[];
  readonly args?: readonly string[];
  readonly exportDirectory?: string;
}

const allGroups = new Set<number>();
process.once('exit', () => {
  for (const group of allGroups) signal(-group, 'SIGKILL');
});

/** One server with its mover. */
export class Hop {
  readonly name: string;
  readonly directory: string;
  readonly socket: string;
  readonly spool: string;
  readonly exportDirectory: string;
  readonly #options: HopOptions;
  readonly #env: Record<string, string>;
  #routes: readonly string[];
  #child: ChildProcess | null = null;
  #ready: Ready | null = null;
  #port = 0;
  #log = '';
  /** Process groups of all its starts that may not be empty yet. */
  readonly #groups = new Set<number>();

  constructor(directory: string, env: Record<string, string>, options: HopOptions) {
    this.name = options.name;
    this.directory = directory;
    this.socket = join(directory, 'socket');
    this.spool = join(directory, 'spool');
    this.exportDirectory = options.exportDirectory ?? join(directory, 'export');
    this.#options = options;
    this.#routes = options.routes ?? [];
    this.#env = env;
    mkdirSync(this.directory, { recursive: true });
    if (options.exports === true) mkdirSync(this.exportDirectory, { recursive: true });
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  /** What the last start wrote. */
  get ready(): Ready {
    if (this.#ready === null) throw new Error(`${this.name} has not been ready yet`);
    return this.#ready;
  }

  /** HOST:PORT, the same after every start. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** The mover that runs now; null while there is none. */
  get moverPid(): number | null {
    return this.#child === null ? null : (childrenOf(this.pid)[0] ?? null);
  }

  /** Everything it ever wrote to standard error. */
  get log(): string {
    return this.#log;
  }

  /** The environment of a client of this server. */
  get clientEnv(): Record<string, string> {
    return { ...this.#env, KANGAROO_SERVER: this.socket };
  }

  /** Runs `kangaroo ARGS` as a client of this server. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return await kangaroo(args, { env: this.clientEnv, ...options });
  }

  begin(args: readonly string[], options: RunOptions = {}): Running {
    return start(args, { env: this.clientEnv, ...options });
  }

  /** Other routes, from the next start on. */
  routeBy(routes: readonly string[]): void {
    this.#routes = routes;
  }

  /** Starts it; resolves when it accepts. `extra` are further arguments for this start. */
  async start(extra: readonly string[] = []): Promise<void> {
    this.spawn(extra);
    await this.untilReady();
  }

  /** Starts it and does not wait. */
  spawn(extra: readonly string[] = []): void {
    if (this.#child !== null) throw new Error(`${this.name} runs already`);
    const { exports = false, args = [] } = this.#options;
    const readyFile = join(this.directory, 'ready.json');
    rmSync(readyFile, { force: true });
    const line = [
      ...['server', '--name', this.name, '--listen', this.address],
      ...['--socket', this.socket, '--spool', this.spool, '--ready-file', readyFile],
      ...(exports ? ['--export', this.exportDirectory] : []),
      ...this.#routes.flatMap((route) => ['--route', route]),
      ...args,
      ...extra,
    ];
    const child = spawn(program, line, {
      env: this.#env,
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    if (child.pid !== undefined) {
      this.#groups.add(child.pid);
      allGroups.add(child.pid);
    }
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
    child.once('exit', (code, by) => {
      if (this.#child === child) this.#child = null;
      this.#log += `[${this.name} ended: ${by ?? code}]\n`;
    });
  }

  /** Waits for the ready file of the process that runs now. */
  async untilReady(): Promise<void> {
    const child = this.#child;
    await until(`${this.name} to be ready; ${this.tail()}`, READY_MS, () => {
      if (this.#child !== child || child === null) {
        throw new Error(`${this.name} ended instead of getting ready: ${this.tail()}`);
      }
      const ready = this.#readReady();
      return ready?.pid === child.pid ? ready : null;
    });
    this.#ready = this.#readReady();
    this.#port = Number(this.ready.listen[0]?.split(':').at(-1));
  }

  /** SIGTERM, and waits for the end of server and mover. Returns the exit status. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === null) return null;
    signal(this.pid, 'SIGTERM');
    await this.#untilGone(child);
    return child.exitCode;
  }

  /** SIGKILL of the server; the mover finds out by itself. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    signal(this.pid, 'SIGKILL');
    await until(`${this.name} to die`, GONE_MS, () => this.#child !== child);
  }

  /** SIGKILL of the mover that runs now, if there is one. */
  killMover(): boolean {
    const pid = this.moverPid;
    return pid !== null && signal(pid, 'SIGKILL');
  }

  /** SIGSTOP of server and mover: there, and silent. */
  pause(): void {
    signal(-this.pid, 'SIGSTOP');
  }

  continue(): void {
    signal(-this.pid, 'SIGCONT');
  }

  async status(target?: string): Promise<StatusReport> {
    const args = ['status', '--json', ...(target === undefined ? [] : [target])];
    const { status, stdout, stderr } = await this.run(args);
    if (status !== 0) throw new Error(`status of ${this.name}: exit ${status}: ${stderr}`);
    return JSON.parse(stdout.toString('utf8')) as StatusReport;
  }

  /** Names of the files in the spool's segments directory. */
  segments(): string[] {
    return readdirSync(join(this.spool, 'segments')).sort();
  }

  tail(): string {
    return `log of ${this.name}:\n${this.#log.slice(-LOG_CHARACTERS)}`;
  }

  /**
   * Ends all of its processes for good. Returns those that should have ended by themselves: movers
   * whose server is dead.
   */
  async destroy(): Promise<number[]> {
    const child = this.#child;
    if (child?.pid !== undefined) {
      signal(-child.pid, 'SIGKILL');
      await until(`${this.name} to die`, GONE_MS, () => this.#child !== child);
    }
    const left: number[] = [];
    for (const group of this.#groups) {
      signal(-group, 'SIGCONT');
      await until('its group to end', GONE_MS, () => membersOfGroup(group).length === 0).catch(
        () => {
          left.push(...membersOfGroup(group));
          signal(-group, 'SIGKILL');
        },
      );
      allGroups.delete(group);
    }
    this.#groups.clear();
    this.#removeBoard();
    return left;
  }

  /** What a killed server leaves in memory for the next one. */
  #removeBoard(): void {
    if (this.#ready === null) return;
    const path = `/dev/shm/kangaroo-${process.getuid?.() ?? -1}-${this.#ready.spoolId}`;
    if (!existsSync(path)) return;
    const header = Buffer.alloc(32);
    const fd = openSync(path, 'r');
    readSync(fd, header, 0, header.length, 0);
    closeSync(fd);
    removeBoardFile(path, header.toString('hex', HEADER.boardId, HEADER.boardId + 16));
  }

  #readReady(): Ready | null {
    try {
      return JSON.parse(readFileSync(join(this.directory, 'ready.json'), 'utf8')) as Ready;
    } catch {
      return null;
    }
  }

  async #untilGone(child: ChildProcess): Promise<void> {
    const group = child.pid ?? 0;
    await until(`${this.name} to stop; ${this.tail()}`, GONE_MS, () => {
      return this.#child !== child && membersOfGroup(group).length === 0;
    });
  }
}

/** A scratch directory with servers. */
export class Cluster {
  readonly directory = mkdtempSync(join(tmpdir(), 'kg-cluster-'));
  readonly env = bareEnvironment(join(this.directory, 'home'));
  readonly hops: Hop[] = [];

  constructor() {
    mkdirSync(join(this.directory, 'home'), { mode: 0o700 });
  }

  /** A server, not yet started. */
  add(options: HopOptions): Hop {
    const hop = new Hop(join(this.directory, options.name), this.env, options);
    this.hops.push(hop);
    return hop;
  }

  /** Starts `names` as a chain, the last one with an export directory; in the order of `names`. */
  async chain(
    names: readonly string[],
    args: Readonly<Record<string, readonly string[]>> = {},
  ): Promise<Hop[]> {
    const last = names.at(-1);
    const made: Hop[] = [];
    let next: Hop | null = null;
    for (const name of [...names].reverse()) {
      const routes: string[] = next === null ? [] : [`${last}=${next.address}`];
      const hop = this.add({ name, exports: name === last, routes, args: args[name] ?? [] });
      await hop.start();
      made.unshift(hop);
      next = hop;
    }
    return made;
  }

  hop(name: string): Hop {
    const found = this.hops.find((hop) => hop.name === name);
    if (found === undefined) throw new Error(`there is no hop ${name}`);
    return found;
  }

  /** A directory of the test's own beside the servers'. */
  scratch(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Ends everything and removes the directory. @throws when a process did not end by itself */
  async close(): Promise<void> {
    const left: number[] = [];
    for (const hop of this.hops) left.push(...(await hop.destroy()));
    if (process.env['KANGAROO_KEEP'] === '1') {
      process.stderr.write(`kept: ${this.directory}\n`);
    } else {
      rmSync(this.directory, { recursive: true, force: true });
    }
    if (left.length > 0) throw new Error(`processes ${left.join(', ')} did not end by themselves`);
  }
}
