/**
 * Figure 12 of the Parrot paper, the Andrew-like benchmark (section 9): a source tree on the remote
 * file system is copied there, listed, searched, built and deleted, on a local directory, through
 * the adapter to a destination on loopback with one hop, and on rclone mount and sshfs to loopback.
 *
 * The steps of a round follow each other at once, as in a job. Programs under the adapter end with
 * a commit, which is in their time. `arrive` is what it takes after the build until all is at the
 * destination and synced there: a push, the end of rclone's uploads and a sync, or a sync. Each
 * system gets its first copy of the tree unmeasured. What was built and has arrived is run.
 */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../dist/index.js';
import { AdapterBench, whyNoAdapter } from '../support/adapted.mjs';
import { makeSources, NEEDLE } from '../support/c-sources.mjs';
import { summaryOf } from '../support/measure.mjs';
import { mountRclone, mountSshfs, whyNoRclone, whyNoSshfs } from '../support/mounts.mjs';
import { hasProgram, runProgram } from '../support/program.mjs';
import { textTable } from '../support/report.mjs';
import { makeDirectory, onEnd, settle } from '../support/scratch.mjs';

const ROUNDS = 3;
const OURS = 'kangaroo';
const MAKE_TIMEOUT = '10m';
const STAGES = ['copy', 'list', 'scan', 'make', 'arrive', 'delete'];

/** Why it cannot be measured; null when it can. Rivals that lack something are left out alone. */
export function whyNot() {
  const missing = ['make', 'ar'].find((program) => !hasProgram(program));
  return missing === undefined ? whyNoAdapter() : `${missing} is not installed`;
}

/** @returns {Promise<object>} settings, and milliseconds by system and stage */
export async function measureAndrew({ quick }) {
  const rounds = quick ? 1 : ROUNDS;
  const tree = join(makeDirectory('sources'), 'tree');
  const made = makeSources(tree, quick ? { libraries: 2, filesEach: 5 } : {});
  const { systems, skipped } = await startSystems();
  for (const { path, env, arrive } of systems) {
    await runProgram('cp', ['-r', tree, join(path, 'source')], { env });
    await arrive();
  }
  const samples = new Map(systems.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const system of systems) {
      await settle();
      samples.get(system.name).push(await measureRound(system, round, made.needles));
    }
  }
  const rows = systems.map(({ name }) => ({
    system: name,
    ...Object.fromEntries(
      STAGES.map((stage) => [stage, summaryOf(samples.get(name).map((times) => times[stage]))]),
    ),
  }));
  const size = `${made.files} files, ${made.directories} directories, ${made.bytes} bytes`;
  return { settings: { rounds, tree: size, skipped }, rows };
}

/** Where the tree goes: what programs call it, and where it lies in the end. */
async function startSystems() {
  const bench = await AdapterBench.start('andrew');
  const client = await connect({ server: bench.job.socket });
  onEnd(() => client.close());
  const systems = [
    { name: 'local', path: bench.local, store: bench.local, env: {}, arrive: settle },
    {
      name: OURS,
      path: '/kangaroo/archive/d',
      store: join(bench.archive.exportDirectory, 'd'),
      env: bench.environment,
      arrive: async () => await client.push(),
    },
  ];
  const skipped = [];
  for (const [name, reason, start] of [
    ['rclone mount', whyNoRclone(), mountRclone],
    ['sshfs', whyNoSshfs(), mountSshfs],
  ]) {
    if (reason === null) {
      const directory = join(bench.directory, name.replace(' ', '-'));
      mkdirSync(directory);
      systems.push({ name, env: {}, ...(await start(directory)) });
    } else {
      process.stdout.write(`${name} is skipped: ${reason}\n`);
      skipped.push(`${name}: ${reason}`);
    }
  }
  return { systems, skipped };
}

async function measureRound({ name, path, store, env, arrive }, round, needles) {
  const [source, copy] = [join(path, 'source'), join(path, `copy${round}`)];
  // A rival that hangs is to fail the figure, not to hold it.
  const run = async (...argv) => await runProgram('timeout', [MAKE_TIMEOUT, ...argv], { env });
  const times = {
    copy: (await run('cp', '-r', source, copy)).ms,
    list: (await run('ls', '-lR', copy)).ms,
  };
  const found = await run('grep', '-r', NEEDLE, copy);
  times.scan = found.ms;
  const lines = found.stdout.trim().split('\n').length;
  if (lines !== needles) throw new Error(`grep on ${name}: ${lines} lines instead of ${needles}`);
  times.make = (await run('make', '-s', '-C', copy)).ms;
  const startMs = performance.now();
  await arrive();
  times.arrive = performance.now() - startMs;
  await tryProgram(join(store, `copy${round}`, 'program'));
  times.delete = (await run('rm', '-r', copy)).ms;
  await arrive();
  if (existsSync(join(store, `copy${round}`))) throw new Error(`${name}: the copy is still there`);
  return times;
}

/** Runs a copy: the destination may have the file itself open for writing. */
async function tryProgram(program) {
  const copy = join(makeDirectory('built'), 'program');
  await runProgram('cp', [program, copy]);
  await runProgram(copy, []);
}

/** The paper's table, and the adapter's times over those of the others. */
export function textOfAndrew({ settings, rows }) {
  const { rounds, tree, skipped } = settings;
  const total = (row) => STAGES.reduce((ms, stage) => ms + row[stage].median, 0);
  const seconds = (ms) => `${(ms / 1_000).toFixed(2)} s`;
  const table = rows.map((row) => [
    row.system,
    ...STAGES.map((stage) => seconds(row[stage].median)),
    seconds(total(row)),
  ]);
  const ours = rows.find(({ system }) => system === OURS);
  const ratios = rows
    .filter((row) => row !== ours)
    .map((row) => [
      `${OURS} over ${row.system}`,
      ...STAGES.map((stage) => `${(ours[stage].median / row[stage].median).toFixed(2)}x`),
      `${(total(ours) / total(row)).toFixed(2)}x`,
    ]);
  return [
    `rounds: ${rounds}`,
    `tree: ${tree}`,
    ...skipped.map((reason) => `skipped: ${reason}`),
    '',
    textTable([['', ...STAGES, 'all'], ...table, ...ratios]),
  ].join('\n');
}
