/**
 * The C core of the adapter without the library around it: its test programs compiled, plain or
 * with sanitizers, and `core-file` driven command by command.
 *
 * `core-file` answers each command with one line (native/test/core-file.c). A driver that ends
 * takes what it still had to answer with it; `ended` tells how.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './kangaroo.ts';

const DEADLINE_MS = 60_000;
const FLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-O2', '-g', '-Wall', '-Wextra', '-Werror'];
const SANITIZE = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

export type Variant = 'plain' | 'sanitized';

/** Compiles native/core and the programs `core-NAME` into `directory`; returns their paths. */
export function compileCore(
  directory: string,
  names: readonly string[],
  variant: Variant,
): Readonly<Record<string, string>> {
  const out = join(directory, variant);
  mkdirSync(out, { recursive: true });
  const core = join(root, 'native/core');
  const sources = readdirSync(core).filter((file) => file.endsWith('.c'));
  const flags = variant === 'sanitized' ? [...FLAGS, ...SANITIZE] : FLAGS;
  cc(['-c', ...flags, ...sources.map((file) => join(core, file))], out);
  const objects = sources.map((file) => join(out, file.replace(/c$/, 'o')));
  const programs: Record<string, string> = {};
  for (const name of names) {
    const program = join(out, `core-${name}`);
    const source = join(root, 'native/test', `core-${name}.c`);
    cc([...flags, '-o', program, source, ...objects, '-lpthread'], out);
    programs[name] = program;
  }
  return programs;
}

function cc(argv: readonly string[], cwd: string): void {
  const { status, stderr } = spawnSync('cc', argv, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`cc: ${stderr}`);
}

/** The byte that core-file.c writes at that place of a file. */
export function patternByte(seed: number, at: number): number {
  const sum = seed * 31 + at * 7 + Math.floor(at / 256) * 13 + Math.floor(at / 2 ** 20) * 5;
  return sum % 256;
}

export function pattern(seed: number, from: number, count: number): Buffer {
  const bytes = Buffer.alloc(count);
  for (let i = 0; i < count; i++) bytes[i] = patternByte(seed, from + i);
  return bytes;
}

interface Asked {
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

/** A running core-file. */
export class CoreDriver {
  readonly child: ChildProcess;
  /** Status or signal. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  stderr = '';
  readonly #asked: Asked[] = [];
  #rest = '';

  constructor(program: string, env: Readonly<Record<string, string>>) {
    this.child = spawn(program, [], { env, stdio: 'pipe' });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.child.stdin?.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      this.child.once('close', (status, signal) => {
        const why = new Error(`core-file ended (${signal ?? status}): ${this.stderr}`);
        for (const { reject } of this.#asked.splice(0)) reject(why);
        resolve(signal ?? status);
      });
    });
  }

  /** The answer to one command. @throws when the driver ends or says nothing */
  async ask(command: string, deadlineMs = DEADLINE_MS): Promise<string> {
    return await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${command}: no answer in ${deadlineMs} ms; ${this.stderr}`));
      }, deadlineMs);
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          settle(value);
        };
      this.#asked.push({ resolve: done(resolve), reject: done(reject) });
      this.child.stdin?.write(`${command}\n`);
    });
  }

  /** Ends it if it still runs. */
  async close(): Promise<void> {
    this.child.stdin?.end();
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await this.ended;
    clearTimeout(timer);
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#asked.shift()?.resolve(line);
  }
}
