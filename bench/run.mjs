#!/usr/bin/env node
/**
 * npm run bench [-- NAME... --quick]: the workloads of README.md, all or the named ones, on this
 * machine as it is now. Prints what it measures on first, then each row; writes bench/results/ and,
 * when all workloads ran at full size, the last numbers in README.md.
 *
 * --quick shrinks every workload to try the benches themselves; its numbers say nothing and are
 * written nowhere.
 */

import { freemem } from 'node:os';
import { parseArgs } from 'node:util';
import { describeMachine } from './support/machine.mjs';
import { headerOf, skippedRow, textOf, writeReadme, writeResults } from './support/report.mjs';
import { endForGood, endSince, mark, scratchDirectory, warmMemory } from './support/scratch.mjs';

const NAMES = [
  'put-512mib',
  'push-one-hop',
  'push-three-hops',
  'small-files',
  'commit-latency',
  'push-behind-backlog',
  'link-utilisation',
  'start-million',
  'adapter-calls',
  'adapter-native',
  'adapter-programs',
];
const GiB = 2 ** 30;
let isInterrupted = false;

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean', default: false }, rounds: { type: 'string' } },
  });
  const unknown = positionals.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new Error(`no bench ${unknown}; there are ${NAMES.join(', ')}`);
  const rounds = Number(values.rounds ?? (values.quick ? 2 : 7));
  if (!(rounds >= 1)) throw new Error('--rounds is a number of rounds');
  const names = positionals.length === 0 ? NAMES : NAMES.filter((n) => positionals.includes(n));
  return { names, quick: values.quick, rounds };
}

async function runBench(name, context) {
  const before = mark();
  try {
    const { title, run } = await import(`./${name}.mjs`);
    try {
      return { name, title, rows: await run(context) };
    } catch (error) {
      // Ended by a signal, which closes what the bench still uses: its failure says nothing.
      if (isInterrupted) return { name, title, rows: [skippedRow(title, 'interrupted')] };
      process.stderr.write(`bench ${name}: ${error.stack ?? error}\n`);
      process.exitCode = 1;
      return { name, title, rows: [skippedRow(title, `it failed: ${error.message}`)] };
    }
  } finally {
    await endSince(before);
  }
}

async function main() {
  const { names, quick, rounds } = readArguments();
  if (process.platform !== 'linux') throw new Error('the benches need Linux');
  const context = { quick, rounds };
  const warmBytes = quick ? GiB / 4 : Math.min(6 * GiB, Math.floor(freemem() / 2));
  const run = {
    startedAt: new Date().toISOString(),
    ...describeMachine(scratchDirectory()),
    settings: { rounds, 'warm-up rounds': 1, quick, 'memory touched GiB': warmBytes / GiB },
    benches: [],
  };
  process.stdout.write(`${headerOf(run)}\n\n`);
  await warmMemory(warmBytes);
  for (const name of names) {
    const bench = await runBench(name, context);
    run.benches.push(bench);
    for (const row of bench.rows) process.stdout.write(`${textOf(row)}\n\n`);
  }
  if (quick) return;
  writeResults(run);
  if (names.length === NAMES.length) writeReadme(run);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    isInterrupted = true;
    process.stderr.write(`bench: ended by ${signal}\n`);
    void endForGood().finally(() => process.exit(130));
  });
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  await endSince();
}
// Connections that a failed bench left open must not keep the run alive.
process.exit();
