/**
 * Adapted programs for a test: servers of cluster.ts, and programs that are started with the
 * library in LD_PRELOAD, as a user would without `kangaroo run`, each with a deadline.
 *
 *   program --library--> first --TCP--> last (with the export directory)
 *
 * With one server the first is also the last. Programs get a bare environment; what they leave
 * behind when they are late is killed with their process group. KANGAROO_SANITIZE=1 gives them the
 * instrumented library, see sanitizer.ts.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { adaptedEnvironment, type AdapterSettings } from '../../src/adapter/environment.ts';
import { Cluster, type Hop } from './cluster.ts';
import { root } from './kangaroo.ts';
import { signal } from './proc.ts';
import {
  IS_SANITIZED,
  SANITIZED_LIBRARY,
  sanitizerEnvironment,
  takeReports,
  whyNotSanitized,
} from './sanitizer.ts';

const DEADLINE_MS = 60_000;
export const LIBRARY = join(root, 'native/build/preload/libkangaroo.so');

/** null, or why no test of adapted programs can run here. */
export function whyNoAdapter(): string | null {
  if (process.platform !== 'linux') return 'the adapter needs Linux';
  if (IS_SANITIZED) return whyNotSanitized();
  return existsSync(LIBRARY) ? null : 'native/build/preload/libkangaroo.so was not built';
}

export interface Ended {
  /** null: ended by `signal`. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string;
  readonly deadlineMs?: number;
  readonly settings?: Partial<AdapterSettings>;
}

/** A program that runs; `ended` resolves when it and whoever holds its output are gone. */
export interface RunningProgram {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** To its process group. */
  readonly kill: (name: NodeJS.Signals) => void;
}

const running = new Set<number>();
process.once('exit', () => {
  for (const group of running) signal(-group, 'SIGKILL');
});

/** Starts any program with exactly this environment, in a process group of its own. */
export function begin(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  { cwd, input = '', deadlineMs = DEADLINE_MS }: ProgramOptions = {},
): RunningProgram {
  const [file = '', ...rest] = argv;
  const child = spawn(file, rest, { env, cwd, detached: true, stdio: 'pipe' });
  const pid = child.pid ?? 0;
  if (pid > 0) running.add(pid);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('latin1').on('data', (text: string) => {
      output[name] += text;
    });
  }
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const kill = (name: NodeJS.Signals): void => {
    if (pid > 0) signal(-pid, name);
  };
  const ended = new Promise<Ended>((resolve, reject) => {
    const timer = setTimeout(() => {
      kill('SIGKILL');
      const last = `${output.stdout.slice(-500)}${output.stderr.slice(-500)}`;
      reject(new Error(`${argv.join(' ').slice(0, 300)}: over ${deadlineMs} ms; ${last}`));
    }, deadlineMs);
    child.once('error', reject);
    child.once('close', (status, by) => {
      clearTimeout(timer);
      kill('SIGKILL');
      running.delete(pid);
      resolve({ status, signal: by, ...output });
    });
  });
  ended.catch(() => undefined);
  return { pid, ended, kill };
}

/** One or two servers, and programs below them. */
export class Site {
  readonly cluster: Cluster;
  readonly first: Hop;
  readonly last: Hop;

  private constructor(cluster: Cluster, first: Hop, last: Hop) {
    this.cluster = cluster;
    this.first = first;
    this.last = last;
  }

  static async open(servers: 1 | 2 = 2, args: readonly string[] = []): Promise<Site> {
    const cluster = new Cluster();
    try {
      const names = servers === 1 ? ['archive'] : ['job', 'archive'];
      const hops = await cluster.chain(names, { [names[0] ?? '']: args });
      const [first, last] = [hops[0], hops.at(-1)];
      if (first === undefined || last === undefined) throw new Error('no servers');
      return new Site(cluster, first, last);
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** `/kangaroo/archive/PATH`. */
  path(path: string): string {
    return `/kangaroo/${this.last.name}/${path}`;
  }

  /** Where `path` lies when it has arrived. */
  arrived(path: string): string {
    return join(this.last.exportDirectory, path);
  }

  /** Makes a directory at the destination, so that a program finds it. */
  makeDirectory(path: string): string {
    mkdirSync(this.arrived(path), { recursive: true });
    return this.path(path);
  }

  environment(options: ProgramOptions = {}): Record<string, string> {
    const { env = {}, settings = {} } = options;
    const sanitizer = IS_SANITIZED ? sanitizerEnvironment(this.#reports) : {};
    const library = IS_SANITIZED ? SANITIZED_LIBRARY : LIBRARY;
    return adaptedEnvironment(
      { ...this.first.clientEnv, ...sanitizer, ...env },
      { library, server: this.first.socket, timeoutMs: 30_000, ...settings },
    );
  }

  /** What the sanitizers have said of programs since the last time; '' also without them. */
  takeReports(): string {
    return takeReports(this.#reports);
  }

  get #reports(): string {
    return join(this.cluster.directory, 'sanitizer');
  }

  begin(argv: readonly string[], options: ProgramOptions = {}): RunningProgram {
    return begin(argv, this.environment(options), options);
  }

  async run(argv: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
    return await this.begin(argv, options).ended;
  }

  /** @throws Error when not all has arrived */
  async push(path?: string): Promise<void> {
    const target = path === undefined ? [] : [`kangaroo://${this.last.name}/${path}`];
    const { status, stderr } = await this.first.run(['push', '--timeout', '60s', ...target], {
      deadlineMs: 90_000,
    });
    if (status !== 0) throw new Error(`push ended with ${status}: ${stderr}`);
  }

  async close(): Promise<void> {
    await this.cluster.close();
  }
}
