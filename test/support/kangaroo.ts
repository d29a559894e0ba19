/**
 * Runs the command `bin/kangaroo` as a script would: arguments in, exit status and output out.
 *
 * Every run has a deadline and is killed at it, so that a command which hangs fails its test and
 * not the whole suite. The environment is a bare one; no setting of the developer's own leaks in.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const program = fileURLToPath(new URL('../../bin/kangaroo', import.meta.url));

const DEADLINE_MS = 60_000;

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Written to standard input, which then ends. */
  readonly input?: string | Uint8Array;
  readonly deadlineMs?: number;
}

export interface RunResult {
  /** null: ended by a signal. */
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A run that goes on; `result` resolves when it has ended. */
export interface Running {
  readonly child: ChildProcess;
  readonly result: Promise<RunResult>;
}

/** What a program of ours needs to see of the machine, with everything personal below `home`. */
export function bareEnvironment(home: string): Record<string, string> {
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: home,
    XDG_RUNTIME_DIR: home,
    XDG_STATE_HOME: `${home}/state`,
    XDG_CONFIG_HOME: `${home}/config`,
    LANG: 'C.UTF-8',
    TZ: 'UTC',
  };
  const temporary = process.env['TMPDIR'];
  return temporary === undefined ? env : { ...env, TMPDIR: temporary };
}

/** Starts `kangaroo ARGS` and leaves its standard input open unless `input` is given. */
export function start(args: readonly string[], options: RunOptions = {}): Running {
  return startProgram(program, args, options);
}

/** Starts any program in the same way. */
export function startProgram(
  file: string,
  args: readonly string[],
  options: RunOptions = {},
): Running {
  const { env, cwd, input, deadlineMs = DEADLINE_MS } = options;
  const child = spawn(file, args, { env: env ?? bareEnvironment('/nonexistent'), cwd });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
  child.stdin.on('error', () => {
    // It ended without reading: its status says why.
  });
  if (input !== undefined) child.stdin.end(input);
  const result = new Promise<RunResult>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${args.join(' ')}: still running after ${deadlineMs} ms`));
    }, deadlineMs);
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(timer);
      const text = Buffer.concat(stderr).toString('utf8');
      resolve({ status, stdout: Buffer.concat(stdout), stderr: text });
    });
  });
  // Whoever started it may look at the result much later, or at the child alone.
  result.catch(() => {});
  return { child, result };
}

/** Runs `kangaroo ARGS` to its end. @throws when it takes longer than its deadline */
export async function kangaroo(
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return await start(args, { input: '', ...options }).result;
}
