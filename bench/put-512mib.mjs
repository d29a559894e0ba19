/**
 * kangaroo put of one large file, committed, beside cp and then sync of the copy on the same disk:
 * what a job pays for having its result safe and on its way.
 *
 * Two situations, each in turns with cp: the destination is there and delivery to the same disk
 * begins at once (the row that is judged); the destination is away, so that the spooling alone is
 * seen. What a round delivered is thrown away before the next.
 */

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inTurns } from './support/measure.mjs';
import { copyAndSync } from './support/baselines.mjs';
import { asSeconds, ratioRow } from './support/report.mjs';
import { makeDirectory, settle, sourceFile } from './support/scratch.mjs';
import { BenchServer, runKangaroo, startChain, stopAll } from './support/servers.mjs';

const MiB = 2 ** 20;

export const title = 'kangaroo put of 512 MiB, committed';

export async function run({ quick, rounds }) {
  const bytes = quick ? 16 * MiB : 512 * MiB;
  const work = `kangaroo put of ${bytes / MiB} MiB, committed`;
  const source = sourceFile(bytes);
  const directory = makeDirectory('put');
  const copy = join(directory, 'copy');
  const copyRound = async () => {
    rmSync(copy, { force: true });
    return await copyAndSync(source, copy);
  };
  const row = ([ours, beside], rest) =>
    ratioRow({ ours, beside, besideName: 'cp, sync FILE', format: asSeconds, ...rest });

  const chain = await startChain(directory, ['job', 'archive']);
  const [job, archive] = chain;
  const delivered = await inTurns(
    async (round) => await runKangaroo(job, ['put', source, `kangaroo://archive/f${round}`]),
    copyRound,
    {
      rounds,
      between: async () => {
        await runKangaroo(job, ['push']);
        clear(archive.exportDirectory);
        await settle();
      },
    },
  );
  await stopAll(chain);

  const away = await alone(directory, 'away', source, rounds, copyRound);
  return [
    row(delivered, { work, most: 1.25, notes: ['delivery to the same disk goes on beside it'] }),
    row(away, { work: `${work}; the destination is away`, most: null }),
  ];
}

/** A first hop whose destination does not answer: everything stays in its spool. */
async function alone(directory, name, source, rounds, copyRound) {
  const server = new BenchServer({
    directory: join(directory, name),
    name,
    // Nobody listens on the port of tcpmux.
    routes: ['archive=127.0.0.1:1'],
  });
  await server.start();
  const samples = await inTurns(
    async (round) => await runKangaroo(server, ['put', source, `kangaroo://archive/f${round}`]),
    copyRound,
    { rounds },
  );
  await server.stop();
  return samples;
}

function clear(directory) {
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
}
