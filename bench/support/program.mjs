/**
 * Programs that a bench runs to their end: started without a shell, timed from spawn to exit, with
 * an environment that holds nothing but what they need. A program that fails fails the bench, with
 * the end of its standard error.
 */

import { spawn, spawnSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';

/** Variables that reach the programs. NODE_EXTRA_CA_CERTS, say, would add 40 ms to each start. */
const PASSED_ON = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'USER', 'LOGNAME'];

export function cleanEnvironment(more = {}) {
  const kept = PASSED_ON.filter((name) => process.env[name] !== undefined);
  return { ...Object.fromEntries(kept.map((name) => [name, process.env[name]])), ...more };
}

/**
 * Runs a program to its end. `env` is added to the clean environment.
 * @returns {Promise<{ ms: number, stdout: string }>} wall time and standard output
 */
export async function runProgram(program, argv, { env = {}, cwd = undefined } = {}) {
  const startMs = performance.now();
  const child = spawn(program, argv, {
    env: cleanEnvironment(env),
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (text) => (stdout += text));
  child.stderr.on('data', (text) => (stderr = (stderr + text).slice(-2_000)));
  const [status, ms] = await new Promise((resolve, reject) => {
    let endMs = 0;
    child.on('error', reject);
    child.on('exit', () => (endMs = performance.now()));
    child.on('close', (code, signal) => resolve([code ?? signal, endMs - startMs]));
  });
  if (status !== 0) {
    throw new Error(`${program} ${argv.join(' ')}: ${status}\n${stderr.trim()}`);
  }
  return { ms, stdout };
}

/** Is there such a program? */
export function hasProgram(program) {
  const found = spawnSync('sh', ['-c', `command -v "$1"`, 'sh', program], { stdio: 'ignore' });
  return found.status === 0;
}

/** The first line that `program ...argv` writes, or null. */
export function firstLine(program, argv) {
  const { status, stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  if (status === null) return null;
  return (stdout + stderr).split('\n')[0].trim() || null;
}

export async function pause(ms) {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Polls until `look` gives something that is not undefined. */
export async function until(what, look, { timeoutMs = 60_000, everyMs = 10 } = {}) {
  for (const startMs = performance.now(); ; await pause(everyMs)) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() - startMs > timeoutMs)
      throw new Error(`${what}: not within ${timeoutMs} ms`);
  }
}
