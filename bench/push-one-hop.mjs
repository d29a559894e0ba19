/**
 * put --push of one large file over one hop on the loopback, durable at the destination when it
 * returns, beside chirp_put to chirp_server and then sync of the file there. Both write a new file
 * each round, which is removed before the next.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { startChirp, whyNoChirp } from './support/baselines.mjs';
import { inTurns } from './support/measure.mjs';
import { processorMeter } from './support/processes.mjs';
import { asSeconds, ratioRow, skippedRow } from './support/report.mjs';
import { makeDirectory, settle, sourceFile } from './support/scratch.mjs';
import { runKangaroo, startChain } from './support/servers.mjs';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

export const title = 'put --push of 512 MiB over one hop';

export async function run({ quick, rounds }) {
  const bytes = quick ? 16 * MiB : 512 * MiB;
  const work = `put --push of ${bytes / MiB} MiB over one hop on loopback, durable`;
  const reason = whyNoChirp();
  if (reason !== null) return [skippedRow(work, reason)];
  const source = sourceFile(bytes);
  const directory = makeDirectory('one-hop');
  const chain = await startChain(directory, ['job', 'archive']);
  const chirp = await startChirp(join(directory, 'chirp'));
  const [job, archive] = chain;
  const target = 'kangaroo://archive/file';

  const [ours, beside] = await inTurns(
    async () => {
      rmSync(join(archive.exportDirectory, 'file'), { force: true });
      await settle();
      const spent = processorMeter(chain.flatMap(({ pids }) => pids));
      const value = await runKangaroo(job, ['put', '--push', source, target]);
      return { value, processorSecondsPerGiB: (spent() * GiB) / bytes };
    },
    async () => {
      rmSync(join(chirp.store, 'file'), { force: true });
      await settle();
      const spent = processorMeter([chirp.pid]);
      const value = await chirp.put(source, 'file');
      return { value, processorSecondsPerGiB: (spent() * GiB) / bytes };
    },
    { rounds },
  );
  const cost = (side) => side.processorSecondsPerGiB.median.toFixed(2);
  const notes = [`processor seconds per GiB, all processes: ${cost(ours)}, Chirp ${cost(beside)}`];
  return [
    ratioRow({
      ...{ work, ours, beside, notes, most: 1.25 },
      besideName: 'chirp_put, sync FILE',
      format: asSeconds,
    }),
  ];
}
