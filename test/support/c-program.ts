/**
 * C programs of native/test for a test: compiled into a directory of its own.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './kangaroo.ts';

/** null, or why none can be compiled. */
export function whyNoCompiler(): string | null {
  return spawnSync('cc', ['--version']).status === 0 ? null : 'there is no C compiler';
}

/** Compiles native/test/NAME.c; returns the path of the program. @throws Error what cc said */
export function compileC(name: string, directory: string, flags: readonly string[] = []): string {
  const program = join(directory, name);
  const source = join(root, 'native/test', `${name}.c`);
  const argv = ['-std=gnu11', '-O2', '-Wall', '-Wextra', ...flags, '-o', program, source];
  const { status, stderr } = spawnSync('cc', [...argv, '-lpthread'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cc ${name}.c: ${stderr}`);
  return program;
}
