/**
 * How long a push of one 4 KiB file takes on a 100 Mbit/s link while a backlog of 1 GiB is being
 * delivered over it, beside the same on the idle link. The file must not wait for the backlog.
 *
 * The first hop is on the near side of the link, the destination on the far side; the client is
 * the library, over the Unix socket. The backlog is thrown away at the end.
 */

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { connect } from '../dist/index.js';
import { summaryOf } from './support/measure.mjs';
import { FAR, LINK_RANGE, makeLink, whyNoLink } from './support/netns.mjs';
import { pause, until } from './support/program.mjs';
import { asMilliseconds, boundRow, skippedRow } from './support/report.mjs';
import { makeDirectory, onEnd, sourceFile } from './support/scratch.mjs';
import { BenchServer, runKangaroo } from './support/servers.mjs';

const MiB = 2 ** 20;
const MEGABITS = 100;
const BOUND_MS = 1_000;

export const title = 'push of one 4 KiB file behind a 1 GiB backlog at 100 Mbit/s';

export async function run({ quick, rounds }) {
  const backlogBytes = quick ? 48 * MiB : 1024 * MiB;
  const work = `push of one 4 KiB file behind ${backlogBytes / MiB} MiB at ${MEGABITS} Mbit/s`;
  const reason = whyNoLink();
  if (reason !== null) return [skippedRow(work, reason)];
  const directory = makeDirectory('backlog');
  const link = await makeLink(MEGABITS);
  const far = { listen: `${FAR}:0`, allow: [LINK_RANGE], through: link.far };
  const archive = new BenchServer({
    ...{ directory: join(directory, 'archive'), name: 'archive', stores: true, ...far },
  });
  await archive.start();
  const job = new BenchServer({
    ...{ directory: join(directory, 'job'), name: 'job', through: link.near },
    routes: [`archive=${archive.address}`],
  });
  await job.start();
  const client = await connect({ server: job.socket });
  const leave = onEnd(() => client.close());
  const block = randomBytes(4096);

  const push = async (name) => {
    const startMs = performance.now();
    await client.write(`kangaroo://archive/${name}`, 0, block);
    await client.push(`kangaroo://archive/${name}`);
    return performance.now() - startMs;
  };
  await push('warm-up');
  const idle = [];
  for (let round = 0; round < rounds; round++) idle.push(await push(`idle${round}`));

  await runKangaroo(job, ['put', sourceFile(backlogBytes), 'kangaroo://archive/backlog']);
  await until('delivery of the backlog', async () =>
    (await client.stat('kangaroo://archive/backlog')).pendingBytes < backlogBytes
      ? true
      : undefined,
  );
  const busy = [];
  for (let round = 0; round < rounds; round++) {
    await pause(quick ? 200 : 2_000);
    busy.push(await push(`busy${round}`));
  }
  const left = (await client.stat('kangaroo://archive/backlog')).pendingBytes;
  await leave();
  return [rowOf(work, summaryOf(busy), summaryOf(idle), left, link.settings)];
}

function rowOf(work, busy, idle, left, settings) {
  return boundRow({
    work,
    reach: `<= ${asMilliseconds(BOUND_MS)}`,
    value: asMilliseconds(busy.median),
    isReached: left > 0 ? busy.median <= BOUND_MS : null,
    beside: `no backlog: ${asMilliseconds(idle.median)}`,
    notes: [
      `least ${asMilliseconds(busy.least)}, most ${asMilliseconds(busy.most)}, ` +
        `${busy.rounds} rounds; ${(left / MiB).toFixed(0)} MiB of the backlog were left at the end`,
      settings,
    ],
    data: { busy, idle, leftBytes: left },
  });
}
