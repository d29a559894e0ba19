/**
 * The time from one put of 4 KiB to its commit, p50, through the library over the Unix socket,
 * beside one write and fdatasync of 4 KiB at the end of a file (a loop in this same program, with
 * the synchronous calls of node:fs).
 *
 * They take turns in short runs. Judged is a new file each time with a destination that is there,
 * so that delivery goes on beside it; that the destination is away, or that all goes to one file,
 * is reported as well.
 */

import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { connect } from '../dist/index.js';
import { quantile, summaryOf } from './support/measure.mjs';
import { asMilliseconds, ratioRow } from './support/report.mjs';
import { makeDirectory, onEnd } from './support/scratch.mjs';
import { startChain } from './support/servers.mjs';

const BYTES = 4096;

export const title = 'commit of one 4 KiB put, p50';

export async function run({ quick, rounds }) {
  const turns = Math.max(2, rounds * 2);
  const perTurn = quick ? 20 : 250;
  const directory = makeDirectory('latency');
  const chain = await startChain(directory, ['job', 'archive']);
  const [job, archive] = chain;
  const client = await connect({ server: job.socket });
  const leave = onEnd(() => client.close());
  const block = randomBytes(BYTES);
  const log = openSync(join(directory, 'log'), 'a');

  let files = 0;
  const newFile = async () => {
    await client.write(`kangaroo://archive/latency/f${files++}`, 0, block);
    await client.commit();
  };
  let end = 0;
  const oneFile = async () => {
    await client.write('kangaroo://archive/latency/one', end, block);
    end += BYTES;
    await client.commit();
  };
  const writeAndSync = async () => {
    writeSync(log, block);
    fdatasyncSync(log);
  };

  await client.mkdir('kangaroo://archive/latency');
  const works = [newFile, oneFile, writeAndSync];
  const delivering = await timesInTurns(works, turns, perTurn);
  await client.push();
  await archive.stop();
  const away = await timesInTurns(works, turns, perTurn);
  closeSync(log);
  await leave();
  return [
    row(title, delivering[0], delivering[2], 3),
    row(`${title}; all to one file`, delivering[1], delivering[2], null),
    row(`${title}; the destination is away`, away[0], away[2], null),
    row(`${title}; away, all to one file`, away[1], away[2], null),
  ];
}

/** Milliseconds of each call, a list for each work. */
async function timesInTurns(works, turns, perTurn) {
  const times = works.map(() => []);
  for (let turn = -1; turn < turns; turn++) {
    for (const [index, work] of works.entries()) {
      for (let i = 0; i < perTurn; i++) {
        const startMs = performance.now();
        await work();
        if (turn >= 0) times[index].push(performance.now() - startMs);
      }
    }
  }
  return times;
}

function row(work, ours, beside, most) {
  const p99 = (times) => `p99 ${asMilliseconds(quantile(times, 0.99))}`;
  return ratioRow({
    ...{ work, most },
    ours: { value: summaryOf(ours) },
    beside: { value: summaryOf(beside) },
    besideName: 'write, fdatasync',
    format: asMilliseconds,
    notes: [`${p99(ours)}; beside it ${p99(beside)}`],
  });
}
