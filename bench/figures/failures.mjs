/**
 * Figure 9 of the paper, scaled down to a minute: what a program has produced and what has arrived,
 * over time, while the destination server is killed twice (section 4.2).
 *
 * The paper's run took 11,000 s, with kills at 1,000 s and 5,750 s, the program's end at 6,000 s
 * and
 * the service back at about 11,000 s; here 183 s are one. The program writes a log: a little all
 * the time, more in bursts. Delivered is the size of the file in the export directory.
 */

import { statSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { connect } from '../../dist/index.js';
import { pause } from '../support/program.mjs';
import { makeDirectory, onEnd } from '../support/scratch.mjs';
import { startChain } from '../support/servers.mjs';

const KiB = 1024;
const SAMPLE_EVERY_MS = 200;
const WRITE_EVERY_MS = 100;
const WRITE_BYTES = 48 * KiB;
const BURST_EVERY = 40;
const BURST_BYTES = 1024 * KiB;
/** Seconds from the start. */
const TIMES = { kill: 5.5, back: 13, killAgain: 31.4, programEnd: 32.8, backAgain: 60 };

/** @returns {Promise<object>} times of the events, and samples of produced and delivered bytes */
export async function measureFailures({ quick }) {
  const scale = quick ? 0.1 : 1;
  const directory = makeDirectory('failures');
  const [job, archive] = await startChain(directory, ['job', 'archive']);
  const client = await connect({ server: job.socket });
  const leave = onEnd(() => client.close());
  const file = join(archive.exportDirectory, 'log');
  const startMs = performance.now();
  const seconds = () => (performance.now() - startMs) / 1_000;
  const at = async (time) => await pause(Math.max(0, time * scale * 1_000 - seconds() * 1_000));

  const events = [];
  const note = (what) => events.push({ what, seconds: rounded(seconds()) });
  const state = { produced: 0, over: false };
  const samples = [];
  const sampling = sampleUntilOver(state, samples, file, seconds);
  const program = produce(client, state, () => seconds() >= TIMES.programEnd * scale, note);
  await at(TIMES.kill);
  note('destination killed');
  await archive.kill();
  await at(TIMES.back);
  await archive.start();
  note('destination back');
  await at(TIMES.killAgain);
  note('destination killed');
  await archive.kill();
  await program;
  await at(TIMES.backAgain);
  await archive.start();
  note('destination back');
  await client.push('kangaroo://archive/log');
  note('all delivered');
  state.over = true;
  await sampling;
  await leave();
  return { events, samples };
}

async function produce(client, state, isTime, note) {
  const address = 'kangaroo://archive/log';
  for (let turn = 1; !isTime(); turn++) {
    const bytes = turn % BURST_EVERY === 0 ? BURST_BYTES : WRITE_BYTES;
    await client.write(address, state.produced, randomBytes(bytes));
    state.produced += bytes;
    await pause(WRITE_EVERY_MS);
  }
  await client.commit();
  note('program ended');
}

async function sampleUntilOver(state, samples, file, seconds) {
  for (let last = false; ; await pause(SAMPLE_EVERY_MS)) {
    const delivered = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    samples.push({ seconds: rounded(seconds()), produced: state.produced, delivered });
    if (last) return;
    last = state.over;
  }
}

function rounded(seconds) {
  return Number(seconds.toFixed(2));
}
