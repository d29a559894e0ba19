/**
 * put -r --push of many small files over one hop on the loopback, durable when it returns, beside
 * rsync -a to a daemon on the loopback and then sync.
 *
 * Every round writes to a new directory and nothing is removed before the end: an ext4 without a
 * journal looks for long for an inode that was not just freed, which would be measured instead.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { startRsync, whyNoRsync } from './support/baselines.mjs';
import { inTurns, WARM_UP_OF_SERVERS } from './support/measure.mjs';
import { processorMeter } from './support/processes.mjs';
import { asSeconds, ratioRow, skippedRow } from './support/report.mjs';
import { makeDirectory, sourceTree } from './support/scratch.mjs';
import { runKangaroo, startChain } from './support/servers.mjs';

const FILE_BYTES = 4096;

export const title = '10,000 files of 4 KiB, put -r --push';

export async function run({ quick, rounds }) {
  const files = quick ? 500 : 10_000;
  const work = `${files.toLocaleString('en')} files of 4 KiB, put -r --push`;
  const reason = whyNoRsync();
  if (reason !== null) return [skippedRow(work, reason)];
  const tree = sourceTree(files, FILE_BYTES);
  const directory = makeDirectory('small');
  const chain = await startChain(directory, ['job', 'archive']);
  const rsync = await startRsync(join(directory, 'rsync'));
  const [job, archive] = chain;

  const [ours, beside] = await inTurns(
    async (round) => {
      const spent = processorMeter(chain.flatMap(({ pids }) => pids));
      // As with cp, the trailing `/.` copies what is in the tree.
      const argv = ['put', '-r', '--push', `${tree}/.`, `kangaroo://archive/r${round}`];
      const value = await runKangaroo(job, argv);
      const sample = { value, processorMs: spent() * 1_000 };
      assertCount(join(archive.exportDirectory, `r${round}`), files);
      return sample;
    },
    async (round) => {
      const spent = processorMeter([rsync.pid]);
      const value = await rsync.copy(tree, `r${round}`);
      const sample = { value, processorMs: spent() * 1_000 };
      assertCount(join(rsync.store, `r${round}`), files);
      return sample;
    },
    { rounds, warmUp: quick ? 1 : WARM_UP_OF_SERVERS },
  );
  const cost = (side) => `${((side.processorMs.median * 1_000) / files).toFixed(0)} us`;
  const notes = [
    `processor time per file, all processes: ${cost(ours)}, rsync ${cost(beside)}`,
    `${WARM_UP_OF_SERVERS} warm-up rounds`,
  ];
  return [
    ratioRow({
      ...{ work, ours, beside, notes, most: 1 },
      besideName: 'rsync -a to a daemon, sync',
      format: asSeconds,
    }),
  ];
}

function assertCount(directory, wanted) {
  const found = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile()).length;
  if (files !== wanted) throw new Error(`${files} files arrived, not ${wanted}`);
}
