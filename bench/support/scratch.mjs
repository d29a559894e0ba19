/**
 * The one directory that a run of the benches works in, and the promise that nothing is left: every
 * process, namespace and directory that a bench makes is entered here with the way to end it, and
 * goes in reverse order when the bench is over, fails, or the run is interrupted.
 *
 * KANGAROO_BENCH_DIR names the disk to measure; default is the directory for temporary files. All
 * files of a comparison lie below it, so both sides use the same disk.
 */

import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProgram } from './program.mjs';

const MiB = 1024 * 1024;
const cleanups = [];
let scratch;
/** What is being ended; one after the other, whoever asks. */
let ending = Promise.resolve();
let isOver = false;

/**
 * Enters a way to end something; it runs once. Returns a function that does it now. When the run is
 * over it is ended at once, and this throws, so that whoever goes on does not begin more.
 */
export function onEnd(work) {
  const entry = { work };
  cleanups.push(entry);
  if (isOver) {
    void endSince();
    throw new Error('the run is over');
  }
  return async () => {
    const at = cleanups.indexOf(entry);
    if (at < 0) return;
    cleanups.splice(at, 1);
    await work();
  };
}

/** Ends everything entered since `mark`, the newest first; a failure does not stop the others. */
export function endSince(mark = 0) {
  ending = ending.then(() => endNow(mark));
  return ending;
}

/** The run was interrupted: ends everything, and what others still begin meanwhile. */
export async function endForGood() {
  isOver = true;
  for (let last = null; last !== ending;) {
    last = endSince();
    await last;
  }
}

async function endNow(mark) {
  const failures = [];
  while (cleanups.length > mark) {
    const { work } = cleanups.pop();
    try {
      await work();
    } catch (error) {
      failures.push(error);
    }
  }
  for (const error of failures) process.stderr.write(`bench: cleaning up: ${error.message}\n`);
}

export function mark() {
  return cleanups.length;
}

export function scratchDirectory() {
  if (scratch === undefined) {
    scratch = mkdtempSync(join(process.env.KANGAROO_BENCH_DIR ?? tmpdir(), 'kangaroo-bench-'));
    // A server that runs as nobody has to get through.
    chmodSync(scratch, 0o755);
    onEnd(() => rmSync(scratch, { recursive: true, force: true }));
  }
  return scratch;
}

/** A new directory below the scratch directory, removed at the end of the bench. */
export function makeDirectory(name) {
  const path = join(scratchDirectory(), name);
  mkdirSync(path, { recursive: true });
  onEnd(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A file of random bytes, made once a run, whole in the page cache. */
export function sourceFile(bytes) {
  const path = join(scratchDirectory(), `source-${bytes}`);
  if (!existsSync(path)) {
    const block = Buffer.alloc(Math.min(bytes, 4 * MiB));
    const fd = openSync(path, 'w');
    for (let at = 0; at < bytes; at += block.length) {
      writeSync(fd, randomFillSync(block), 0, Math.min(block.length, bytes - at));
    }
    closeSync(fd);
  }
  warmFile(path);
  return path;
}

/** `files` files of `bytes` random bytes each, a hundred in a directory, made once a run. */
export function sourceTree(files, bytes) {
  const path = join(scratchDirectory(), `tree-${files}-${bytes}`);
  const perDirectory = 100;
  for (let at = 0; at < files; at++) {
    const directory = join(path, `d${String(Math.floor(at / perDirectory)).padStart(4, '0')}`);
    const file = join(directory, `f${String(at % perDirectory).padStart(4, '0')}`);
    if (at % perDirectory === 0) mkdirSync(directory, { recursive: true });
    if (existsSync(file)) warmFile(file);
    else writeFileSync(file, randomFillSync(Buffer.alloc(bytes)));
  }
  return path;
}

/** Writes out what is dirty below the scratch directory: no round pays for the one before. */
export async function settle() {
  await runProgram('sync', ['-f', scratchDirectory()]);
}

/**
 * Touches memory and gives it back. On a virtual machine the first use of a page costs a fault in
 * the host; without this, whoever comes first in a comparison pays for it.
 */
export async function warmMemory(bytes) {
  const code = `
    const held = [];
    for (let left = ${bytes}; left > 0; left -= 2 ** 26) {
      const block = Buffer.allocUnsafeSlow(Math.min(left, 2 ** 26));
      for (let at = 0; at < block.length; at += 4096) block[at] = 1;
      held.push(block);
    }`;
  await runProgram(process.execPath, ['-e', code]);
}

function warmFile(path) {
  const block = Buffer.allocUnsafe(MiB);
  const fd = openSync(path, 'r');
  while (readSync(fd, block, 0, block.length, null) > 0);
  closeSync(fd);
}
