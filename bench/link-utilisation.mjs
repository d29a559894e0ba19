/**
 * How much of a link that tc holds at 100 Mbit/s arrives as payload: the bytes of one file over the
 * time from the first call of its put to the end of its push, durable there, beside what one plain
 * TCP connection carries over the same link in the same run, from connect to the receiver's word.
 *
 * Headers of Ethernet, IP and TCP take 4.4 % at an MTU of 1500, so 95.6 % is all there is. The
 * start
 * of a program is no matter of the link: Kangaroo is used through the library here.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { connect, putFile } from '../dist/index.js';
import { inTurns } from './support/measure.mjs';
import { FAR, LINK_RANGE, makeLink, whyNoLink } from './support/netns.mjs';
import { cleanEnvironment, runProgram } from './support/program.mjs';
import { boundRow, skippedRow } from './support/report.mjs';
import { makeDirectory, onEnd, sourceFile } from './support/scratch.mjs';
import { BenchServer } from './support/servers.mjs';

const MiB = 2 ** 20;
const MEGABITS = 100;
const SHARE_MIN = 0.95;
const far = new URL('./support/tcp-sink.mjs', import.meta.url).pathname;
const near = new URL('./support/tcp-source.mjs', import.meta.url).pathname;

export const title = 'link held at 100 Mbit/s';

export async function run({ quick, rounds }) {
  const bytes = quick ? 16 * MiB : 256 * MiB;
  const work = `${bytes / MiB} MiB over a link held at ${MEGABITS} Mbit/s`;
  const reason = whyNoLink();
  if (reason !== null) return [skippedRow(work, reason)];
  const directory = makeDirectory('link');
  const link = await makeLink(MEGABITS);
  const archive = new BenchServer({
    ...{ directory: join(directory, 'archive'), name: 'archive', stores: true },
    ...{ listen: `${FAR}:0`, allow: [LINK_RANGE], through: link.far },
  });
  await archive.start();
  const job = new BenchServer({
    ...{ directory: join(directory, 'job'), name: 'job', through: link.near },
    routes: [`archive=${archive.address}`],
  });
  await job.start();
  const client = await connect({ server: job.socket });
  const leave = onEnd(() => client.close());
  const source = sourceFile(bytes);
  const sink = await startSink(link);

  // Each round is seconds long: fewer of them than elsewhere tell as much.
  const [ours, beside] = await inTurns(
    async (round) => {
      const address = `kangaroo://archive/f${round}`;
      const startMs = performance.now();
      await putFile(client, source, address, { willCommit: false });
      await client.push(address);
      return shareOf(bytes, performance.now() - startMs);
    },
    async () => {
      const [program, ...argv] = [...link.near, process.execPath, near, FAR, sink, source];
      return shareOf(bytes, Number((await runProgram(program, argv)).stdout));
    },
    { rounds: Math.min(rounds, 5), warmUp: quick ? 0 : 1 },
  );
  await leave();
  const percent = (share) => `${(share * 100).toFixed(1)} %`;
  const { least, most, rounds: count, median } = ours.value;
  return [
    boundRow({
      work,
      reach: `>= ${percent(SHARE_MIN)} of it in payload`,
      value: percent(median),
      isReached: median >= SHARE_MIN,
      beside: `one plain TCP connection ${percent(beside.value.median)}`,
      notes: [`${percent(least)} - ${percent(most)}, ${count} rounds`, link.settings],
      data: { ours, beside },
    }),
  ];
}

function shareOf(bytes, ms) {
  return (bytes * 8) / (ms / 1_000) / (MEGABITS * 1e6);
}

/** A program on the far side that takes bytes and acknowledges the last; resolves with its port. */
async function startSink(link) {
  const [program, ...argv] = [...link.far, process.execPath, far, FAR];
  const child = spawn(program, argv, {
    env: cleanEnvironment(),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onEnd(() => child.kill('SIGKILL'));
  return await new Promise((resolve, reject) => {
    child.stdout.once('data', (text) => resolve(String(text).trim()));
    child.once('exit', () => reject(new Error('the sink ended')));
  });
}
