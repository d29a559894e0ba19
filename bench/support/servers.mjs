/**
 * Real servers, as a user starts them: bin/kangaroo server with its mover, each with a spool and,
 * where wanted, an export directory below the scratch directory. Ports are chosen by the kernel.
 */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './machine.mjs';
import { isRunning } from './processes.mjs';
import { cleanEnvironment, pause, runProgram, until } from './program.mjs';
import { onEnd } from './scratch.mjs';

export const kangaroo = join(root, 'bin/kangaroo');

/** How long a server may take to start or to stop before the bench fails. */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;

/**
 * A running server. `start` makes one, and again after `stop` or `kill`: the spool stays, and so
 * does its address.
 */
export class BenchServer {
  #options;
  #process = null;
  /** What its ready file said, last. */
  #ready = null;
  #isReady = false;
  #leave = async () => {};

  /**
   * @param {object} options
   * @param {string} options.directory where its spool, export, socket and log go
   * @param {string} options.name
   * @param {boolean} [options.stores] has it an export directory?
   * @param {string} [options.listen] HOST:PORT, default a port of the loopback
   * @param {string[]} [options.routes] PATTERN=ADDR
   * @param {string[]} [options.allow] ADDRESS/BITS
   * @param {string} [options.spoolLimit]
   * @param {string[]} [options.through] what to start it with, such as ip netns exec NAME
   */
  constructor(options) {
    this.#options = { stores: false, listen: '127.0.0.1:0', routes: [], allow: [], ...options };
    mkdirSync(options.directory, { recursive: true });
  }

  get name() {
    return this.#options.name;
  }

  get exportDirectory() {
    return join(this.#options.directory, 'export');
  }

  get spool() {
    return join(this.#options.directory, 'spool');
  }

  /** For clients on this machine. */
  get socket() {
    return `unix:${join(this.#options.directory, 'socket')}`;
  }

  /** HOST:PORT for other servers. */
  get address() {
    return this.#ready.listen[0];
  }

  /** Of the server and of its mover. */
  get pids() {
    return [this.#ready.pid, this.#ready.moverPid].filter((pid) => pid !== null);
  }

  /** Resolves when it accepts, with the milliseconds that took. */
  async start() {
    const { directory, through = [] } = this.#options;
    const readyFile = join(directory, 'ready.json');
    rmSync(readyFile, { force: true });
    const [program, ...argv] = [...through, process.execPath, kangaroo, ...this.#argv(readyFile)];
    const log = openSync(join(directory, 'log'), 'a');
    const startMs = performance.now();
    const child = spawn(program, argv, { env: cleanEnvironment(), stdio: ['ignore', log, log] });
    closeSync(log);
    this.#process = child;
    this.#isReady = false;
    this.#leave = onEnd(() => this.kill());
    const look = () => {
      if (child.exitCode !== null) throw new Error(`${this.name} ended: ${this.lastWords()}`);
      return existsSync(readyFile) ? JSON.parse(readFileSync(readyFile, 'utf8')) : undefined;
    };
    this.#ready = await until(`start of ${this.name}`, look, {
      timeoutMs: START_TIMEOUT_MS,
      everyMs: 5,
    });
    this.#isReady = true;
    return performance.now() - startMs;
  }

  /** Asks it to end, as an administrator does. */
  async stop() {
    await this.#end('SIGTERM');
  }

  /** Ends it as a crash does. */
  async kill() {
    await this.#end('SIGKILL');
  }

  lastWords() {
    const log = join(this.#options.directory, 'log');
    return existsSync(log) ? readFileSync(log, 'utf8').slice(-1_000) : 'nothing was logged';
  }

  async #end(signal) {
    const child = this.#process;
    if (child === null) return;
    this.#process = null;
    const movers = this.#isReady ? this.pids.slice(1) : [];
    if (child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await gone;
      clearTimeout(timer);
    }
    // The mover ends by itself when its server is gone.
    await until(`end of the mover of ${this.name}`, () =>
      movers.some(isRunning) ? undefined : true,
    );
    await this.#leave();
  }

  #argv(readyFile) {
    const { directory, name, stores, routes, allow, spoolLimit } = this.#options;
    const listen = this.#ready?.listen[0] ?? this.#options.listen;
    if (stores) mkdirSync(this.exportDirectory, { recursive: true });
    return [
      ...['server', '--name', name, '--listen', listen, '--spool', this.spool],
      ...['--socket', join(directory, 'socket'), '--ready-file', readyFile],
      ...['--log-level', 'warn'],
      ...(stores ? ['--export', this.exportDirectory] : []),
      ...routes.flatMap((route) => ['--route', route]),
      ...allow.flatMap((range) => ['--allow', range]),
      ...(spoolLimit === undefined ? [] : ['--spool-limit', spoolLimit]),
    ];
  }
}

/**
 * A chain of servers, started from the destination on: its first is the first hop, its last the
 * destination, and the bytes go over as many hops as there are servers less one.
 */
export async function startChain(directory, names, options = {}) {
  const chain = [];
  const destination = names.at(-1);
  for (const name of [...names].reverse()) {
    const next = chain[0];
    const server = new BenchServer({
      directory: join(directory, name),
      name,
      stores: next === undefined,
      routes: next === undefined ? [] : [`${destination}=${next.address}`],
      ...options,
    });
    await server.start();
    chain.unshift(server);
  }
  return chain;
}

export async function stopAll(servers) {
  for (const server of servers) await server.stop();
}

/** Runs the command as a user does; resolves with its wall time in milliseconds. */
export async function runKangaroo(server, argv) {
  const env = { KANGAROO_SERVER: server.socket };
  return (await runProgram(process.execPath, [kangaroo, ...argv], { env })).ms;
}

/** Waits until processes have used next to no processor time for a second. */
export async function untilQuiet(pids, readSeconds, timeoutMs = 120_000) {
  const sum = () => pids.reduce((seconds, pid) => seconds + readSeconds(pid), 0);
  let before = sum();
  for (const startMs = performance.now(); performance.now() - startMs < timeoutMs;) {
    await pause(1_000);
    const now = sum();
    if (now - before < 0.05) return;
    before = now;
  }
  throw new Error('the servers do not come to rest');
}
