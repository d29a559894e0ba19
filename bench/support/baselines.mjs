/**
 * The programs that the figures are held against, each set up to be as quick as it can be on this
 * disk: cp, chirp_server with chirp_put, an rsync daemon.
 *
 * chirp_server refuses to run as root, so it runs as nobody with a directory of that account; the
 * rsync daemon writes without a chroot into a directory of the scratch directory. Neither speaks to
 * anybody but the loopback.
 */

import { spawn } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, createServer } from 'node:net';
import { cleanEnvironment, firstLine, hasProgram, runProgram, until } from './program.mjs';
import { onEnd } from './scratch.mjs';

/** cp, and then sync of the copy. */
export async function copyAndSync(source, target) {
  const script = 'cp "$1" "$2" && sync "$2"';
  return (await runProgram('sh', ['-c', script, 'sh', source, target])).ms;
}

/** Why the comparison with Chirp cannot be made; null when it can. */
export function whyNoChirp() {
  const missing = ['chirp_server', 'chirp_put'].find((program) => !hasProgram(program));
  return missing === undefined ? null : `${missing} is not installed (coop-computing-tools)`;
}

/** Starts chirp_server on `directory`. @returns {Promise<{ pid: number, put: Function }>} */
export async function startChirp(directory) {
  const store = join(directory, 'store');
  mkdirSync(store, { recursive: true });
  writeFileSync(join(store, '.__acl'), 'unix:* rwlda\n');
  const portFile = join(directory, 'port');
  const argv = ['-r', store, '-Z', portFile, '-I', '127.0.0.1', '-a', 'unix', '-u', '-'];
  if (process.getuid() === 0) {
    const nobody = Number(firstLine('id', ['-u', 'nobody']));
    for (const path of [directory, store, join(store, '.__acl')]) chownSync(path, nobody, -1);
    argv.push('-i', 'nobody');
  }
  const child = startProgram('chirp_server', [...argv, '-o', join(directory, 'log')]);
  const port = await until('start of chirp_server', () => {
    if (child.exitCode !== null) throw new Error(`chirp_server ended with ${child.exitCode}`);
    return existsSync(portFile) ? readFileSync(portFile, 'utf8').trim() || undefined : undefined;
  });
  const script = 'chirp_put -a unix "$1" "127.0.0.1:$2" "/$3" && sync "$4/$3"';
  return {
    pid: child.pid,
    store,
    /** Puts a file and syncs it; resolves with the wall time in milliseconds. */
    put: async (source, name) =>
      (await runProgram('sh', ['-c', script, 'sh', source, port, name, store])).ms,
  };
}

export function whyNoRsync() {
  return hasProgram('rsync') ? null : 'rsync is not installed';
}

/** Starts an rsync daemon. */
export async function startRsync(directory) {
  const store = join(directory, 'store');
  mkdirSync(store, { recursive: true });
  const config = join(directory, 'rsyncd.conf');
  const account = process.getuid() === 0 ? 'uid = root\ngid = root\n' : '';
  writeFileSync(config, `use chroot = no\n${account}[store]\npath = ${store}\nread only = no\n`);
  const port = await freePort();
  const argv = ['--daemon', '--no-detach', `--config=${config}`, `--port=${port}`];
  const child = startProgram('rsync', [...argv, '--address=127.0.0.1']);
  await until('start of rsync', async () => ((await isOpen(port)) ? true : undefined));
  const script = 'rsync -a "$1/" "rsync://127.0.0.1:$2/store/$3/" && sync';
  return {
    pid: child.pid,
    store,
    /** Copies a tree and syncs; resolves with the wall time in milliseconds. */
    copy: async (tree, name) =>
      (await runProgram('sh', ['-c', script, 'sh', tree, String(port), name])).ms,
  };
}

/** Starts a program that stays, and is ended with the bench. */
export function startProgram(program, argv) {
  const child = spawn(program, argv, { env: cleanEnvironment(), stdio: 'ignore' });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.once('error', () => {});
  onEnd(async () => {
    if (child.exitCode !== null || child.pid === undefined) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await gone;
    clearTimeout(timer);
  });
  return child;
}

/** A port that nobody listens on; the daemon cannot be asked which one it chose. */
export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Does anybody listen there? */
export async function isOpen(port) {
  return await new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const done = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
