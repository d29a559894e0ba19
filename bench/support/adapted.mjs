/**
 * What the benches of the adapter share: the library, the program that times single calls, and
 * rows in microseconds.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './machine.mjs';
import { summaryOf } from './measure.mjs';
import { hasProgram, runProgram } from './program.mjs';
import { makeDirectory, settle } from './scratch.mjs';
import { runKangaroo, startChain } from './servers.mjs';

const library = join(root, 'native/build/preload/libkangaroo.so');

/** Why the adapter cannot be measured; null when it can. */
export function whyNoAdapter() {
  if (!existsSync(library)) return 'the library of the adapter was not built';
  return hasProgram('cc') ? null : 'there is no C compiler';
}

export const asMicroseconds = (ns) => `${(ns / 1_000).toFixed(2)} us`;

/** Two servers, a local directory beside them, and programs with and without the library. */
export class AdapterBench {
  static async start(name) {
    const bench = new AdapterBench();
    bench.directory = makeDirectory(name);
    bench.percallPath = join(bench.directory, 'percall');
    const source = join(root, 'bench/adapter/percall.c');
    await runProgram('cc', ['-std=gnu11', '-O2', '-o', bench.percallPath, source]);
    [bench.job, bench.archive] = await startChain(bench.directory, ['job', 'archive']);
    bench.local = join(bench.directory, 'local');
    await runProgram('mkdir', [bench.local, join(bench.archive.exportDirectory, 'd')]);
    return bench;
  }

  get environment() {
    return { LD_PRELOAD: library, KANGAROO_SERVER: this.job.socket };
  }

  get library() {
    return library;
  }

  /** `/kangaroo/archive/d/NAME`. */
  path(name) {
    return `/kangaroo/archive/d/${name}`;
  }

  /** A program under the library; resolves with its wall time in milliseconds. */
  async adapted(program, argv) {
    return (await runProgram(program, argv, { env: this.environment })).ms;
  }

  /** Nanoseconds of a call. */
  async percall(work, path, bytes, count, env = {}) {
    const argv = [work, path, String(bytes), String(count)];
    return Number((await runProgram(this.percallPath, argv, { env })).stdout);
  }

  /** The same with the library. */
  async adaptedCall(work, path, bytes, count) {
    return await this.percall(work, path, bytes, count, this.environment);
  }

  /** Until all has arrived, so that no sample pays for the one before. */
  async drain() {
    await runKangaroo(this.job, ['push']);
    await settle();
  }
}

/** Samples of several works, in turns, after rounds that do not count: a summary for each. */
export async function inTurnsOf(works, rounds, between = settle, warmUp = 1) {
  const samples = works.map(() => []);
  for (let round = -warmUp; round < rounds; round++) {
    for (const [index, work] of works.entries()) {
      await between();
      const value = await work(round + warmUp);
      if (round >= 0) samples[index].push(value);
    }
  }
  return samples.map((values) => ({ value: summaryOf(values) }));
}
