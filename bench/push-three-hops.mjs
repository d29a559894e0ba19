/**
 * put --push of one large file over three hops on the loopback, beside the same over one hop: what
 * a server on the way costs. Every hop has its own server and mover, so three hops need the
 * processor time of seven programs where one hop needs four; the processor seconds are reported,
 * and the ratio is only judged where there are cores for them.
 */

import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { inTurns } from './support/measure.mjs';
import { processorMeter } from './support/processes.mjs';
import { asSeconds, ratioRow } from './support/report.mjs';
import { makeDirectory, settle, sourceFile } from './support/scratch.mjs';
import { runKangaroo, startChain } from './support/servers.mjs';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
/** A sender and a receiver for each of three hops. */
const CORES_MIN = 6;

export const title = 'put --push of 512 MiB over three hops';

export async function run({ quick, rounds }) {
  const bytes = quick ? 16 * MiB : 512 * MiB;
  const source = sourceFile(bytes);
  const directory = makeDirectory('three-hops');
  const long = await startChain(join(directory, 'long'), ['job', 'rack', 'site', 'archive']);
  const short = await startChain(join(directory, 'short'), ['job', 'archive']);
  const pushOver = (chain) => async () => {
    const archive = chain.at(-1);
    rmSync(join(archive.exportDirectory, 'file'), { force: true });
    await settle();
    const spent = processorMeter(chain.flatMap(({ pids }) => pids));
    const argv = ['put', '--push', source, 'kangaroo://archive/file'];
    const value = await runKangaroo(chain[0], argv);
    return { value, processorSecondsPerGiB: (spent() * GiB) / bytes };
  };
  const [ours, beside] = await inTurns(pushOver(long), pushOver(short), { rounds });
  const cores = cpus().length;
  const cost = (side) => side.processorSecondsPerGiB.median.toFixed(2);
  return [
    ratioRow({
      work: `put --push of ${bytes / MiB} MiB over three hops on loopback, durable`,
      ...{ ours, beside, most: 1.25 },
      besideName: 'one hop',
      format: asSeconds,
      notJudged: cores < CORES_MIN ? `${cores} cores, three hops want ${CORES_MIN}` : null,
      notes: [
        `processor seconds per GiB, all processes: ${cost(ours)} over three hops, ` +
          `${cost(beside)} over one; ${cores} cores`,
      ],
    }),
  ];
}
