/**
 * The stage of `kangaroo demo`: a scratch directory, real servers in it as processes of their own,
 * and real commands that talk to them.
 *
 * It leaves nothing behind: `close` stops every server and removes the directory, and so does an
 * exit on the way there. Each server is the leader of a process group, so that Ctrl-C on the
 * terminal reaches only the demo, and a kill takes a server and its mover at one blow, as a power
 * cut would. Ports are chosen by the kernel.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, openSync, closeSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deadlineIn, hasPassed, nowMs, sleep } from '../../base/deadline.ts';
import { KangarooError } from '../../base/errors.ts';

/** The command itself: two folders above both src/client/cli and dist/client/cli is the root. */
const PROGRAM = fileURLToPath(new URL('../../../bin/kangaroo', import.meta.url));
const READY_WITHIN_MS = 20_000;
const STOP_WITHIN_MS = 3_000;

export interface ServerPlan {
  readonly name: string;
  /** HOST:PORT each. */
  readonly listen: readonly string[];
  readonly exports: boolean;
  /** PATTERN=ADDR each. */
  readonly routes: readonly string[];
}

interface ReadyFile {
  readonly pid: number;
  readonly moverPid: number | null;
  readonly listen: readonly string[];
}

export interface Outcome {
  readonly status: number;
  /** Both streams, as they came. */
  readonly output: string;
  readonly elapsedMs: number;
}

export class DemoScene {
  readonly directory: string;
  readonly #signal: AbortSignal;
  readonly #running = new Map<string, DemoServer>();
  readonly #atExit = (): void => this.#endNow();
  // A terminal that is closed would end the demo without a word to its servers.
  readonly #atHangup = (): never => process.exit(130);

  constructor(directory: string, signal: AbortSignal) {
    this.directory = directory;
    this.#signal = signal;
    process.once('exit', this.#atExit);
    process.once('SIGHUP', this.#atHangup);
  }

  static async open(signal: AbortSignal): Promise<DemoScene> {
    return new DemoScene(await mkdtemp(join(tmpdir(), 'kangaroo-demo-')), signal);
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Starts a server, again if it has run before, and waits until it accepts. */
  async start(plan: ServerPlan): Promise<DemoServer> {
    const { name } = plan;
    const readyFile = this.path(`${name}.ready`);
    await rm(readyFile, { force: true });
    if (plan.exports) await mkdir(this.path(name), { recursive: true });
    const argv = [
      'server',
      ...['--name', name, '--ready-file', readyFile],
      ...['--socket', this.path(`${name}.sock`), '--spool', this.path(`${name}.spool`)],
      ...(plan.exports ? ['--export', this.path(name)] : []),
      ...plan.listen.flatMap((address) => ['--listen', address]),
      ...plan.routes.flatMap((route) => ['--route', route]),
    ];
    const log = openSync(this.path(`${name}.log`), 'a');
    const child = spawn(process.execPath, [PROGRAM, ...argv], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: this.directory,
    });
    closeSync(log);
    const server = new DemoServer(child);
    this.#running.set(name, server);
    server.ready = await this.#waitForReady(server, readyFile, name);
    return server;
  }

  async #waitForReady(server: DemoServer, file: string, name: string): Promise<ReadyFile> {
    const deadline = deadlineIn(READY_WITHIN_MS);
    while (!server.isOver && !hasPassed(deadline)) {
      const text = await readFile(file, 'utf8').catch(() => null);
      if (text !== null) return JSON.parse(text) as ReadyFile;
      await sleep(20, this.#signal);
    }
    const log = await readFile(this.path(`${name}.log`), 'utf8').catch(() => '');
    const last = log.trim().split('\n').at(-1) ?? '';
    throw new KangarooError('INTERNAL', `the server '${name}' did not start: ${last}`);
  }

  /** Runs a command as somebody on `server`'s machine would, in the scratch directory. */
  async run(argv: readonly string[], server: string): Promise<Outcome> {
    const startMs = nowMs();
    const child = spawn(process.execPath, [PROGRAM, ...argv], {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, KANGAROO_SERVER: this.path(`${server}.sock`) },
    });
    const stop = (): boolean => child.kill('SIGKILL');
    this.#signal.addEventListener('abort', stop, { once: true });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    const [status] = (await once(child, 'close')) as [number | null];
    this.#signal.removeEventListener('abort', stop);
    if (this.#signal.aborted) throw new KangarooError('INTERRUPTED', 'interrupted');
    return { status: status ?? -1, output, elapsedMs: nowMs() - startMs };
  }

  async close(): Promise<void> {
    const servers = [...this.#running.values()];
    await Promise.all(servers.map((server) => server.stop()));
    process.off('exit', this.#atExit);
    process.off('SIGHUP', this.#atHangup);
    await rm(this.directory, { recursive: true, force: true });
  }

  #endNow(): void {
    for (const server of this.#running.values()) server.killGroup();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class DemoServer {
  /** What its ready file says. */
  ready: ReadyFile | null = null;
  readonly #child: ChildProcess;
  readonly #over: Promise<unknown>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#over = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', resolve);
    });
  }

  get isOver(): boolean {
    const { exitCode, signalCode, pid } = this.#child;
    return exitCode !== null || signalCode !== null || pid === undefined;
  }

  /** Server and mover, at once and without a word. */
  async kill(): Promise<void> {
    this.killGroup();
    await this.#over;
  }

  /** As an operator would; by force if that takes too long. */
  async stop(): Promise<void> {
    if (this.isOver) return;
    this.#child.kill('SIGTERM');
    const patience = setTimeout(() => this.killGroup(), STOP_WITHIN_MS);
    await this.#over;
    clearTimeout(patience);
  }

  killGroup(): void {
    if (this.isOver) return;
    killQuietly(-(this.#child.pid as number));
    // A mover with a group of its own.
    const moverPid = this.ready?.moverPid ?? null;
    if (moverPid !== null) killQuietly(moverPid);
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Bytes on disk in the files of a directory: what has really been written, holes left out. */
export async function bytesWritten(directory: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(directory)) {
    const found = await stat(join(directory, name)).catch(() => null);
    if (found?.isFile() === true) sum += Math.min(found.size, found.blocks * 512);
  }
  return sum;
}
