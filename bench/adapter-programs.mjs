/**
 * Whole programs under the adapter: dd with its exit, beside dd with conv=fdatasync on the local
 * disk; tar x of a source tree of many small files, with the destination up and down; the start of
 * a program that does nothing, and of `kangaroo run`.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { AdapterBench, asMicroseconds, inTurnsOf, whyNoAdapter } from './support/adapted.mjs';
import { WARM_UP_OF_SERVERS } from './support/measure.mjs';
import { asSeconds, ratioRow, skippedRow } from './support/report.mjs';
import { runProgram } from './support/program.mjs';
import { settle, sourceTree } from './support/scratch.mjs';
import { kangaroo } from './support/servers.mjs';

const FILE_BYTES = 4096;
const START_MOST_MORE_NS = 3_000_000;

export const title = 'adapter: whole programs';

export async function run({ quick, rounds }) {
  const reason = whyNoAdapter();
  if (reason !== null) return [skippedRow(title, reason)];
  const bench = await AdapterBench.start('adapter-programs');
  return [
    await copies(bench, rounds, quick ? 16 : 256),
    ...(await trees(bench, rounds, ...(quick ? [200, 1] : [5_000, WARM_UP_OF_SERVERS]))),
    ...(await starts(bench, rounds, quick ? 10 : 200)),
  ];
}

async function copies(bench, rounds, mebibytes) {
  const dd = ['if=/dev/zero', 'bs=1M', `count=${mebibytes}`, 'status=none'];
  const [ours, beside] = await inTurnsOf(
    [
      async (i) => await bench.adapted('dd', [...dd, `of=${bench.path(`dd${i}`)}`]),
      async (i) => {
        const target = `of=${join(bench.local, `dd${i}`)}`;
        return (await runProgram('dd', [...dd, target, 'conv=fdatasync'])).ms;
      },
    ],
    rounds,
    async () => await bench.drain(),
  );
  const work = `adapter: dd bs=1M count=${mebibytes}, exit included`;
  const besideName = 'dd conv=fdatasync, local disk';
  return ratioRow({ work, ours, beside, besideName, most: 1.25, format: asSeconds });
}

async function trees(bench, rounds, files, warmUp) {
  const tree = sourceTree(files, FILE_BYTES);
  const archive = join(bench.directory, 'tree.tar');
  await runProgram('tar', ['cf', archive, '-C', tree, '.']);
  const extract = (kind) => async (i) => {
    const directory = bench.path(`${kind}${i}`);
    await bench.adapted('mkdir', [directory]);
    return await bench.adapted('tar', ['xf', archive, '-C', directory]);
  };
  const local = async (i) => {
    const directory = join(bench.local, `t${performance.now()}-${i}`);
    mkdirSync(directory);
    return (await runProgram('tar', ['xf', archive, '-C', directory])).ms;
  };
  const drain = async () => await bench.drain();
  const [up, besideUp] = await inTurnsOf([extract('up'), local], rounds, drain, warmUp);
  await bench.archive.stop();
  const [down, besideDown] = await inTurnsOf([extract('down'), local], rounds, settle, warmUp);
  await bench.archive.start();
  await bench.drain();
  const work = `adapter: tar x of ${files.toLocaleString('en')} files`;
  const notes = [`${warmUp} warm-up rounds`];
  const options = { besideName: 'local disk', format: asSeconds, notes };
  return [
    ratioRow({ work, ours: up, beside: besideUp, most: 4, ...options }),
    ratioRow({
      ...{ work: `${work}, the destination is down`, ours: down, beside: besideDown, most: 4 },
      ...options,
    }),
    ratioRow({
      ...{ work: `${work}, down beside up`, ours: down, beside: up, most: 1.1 },
      ...{ besideName: 'the destination is up', format: asSeconds },
    }),
  ];
}

async function starts(bench, rounds, count) {
  const pair = `KANGAROO_SERVER=${bench.job.socket}`;
  const spawn = async (library) =>
    await bench.percall('spawn', library, '/bin/true', count, { KANGAROO_PAIR: pair });
  const env = { KANGAROO_SERVER: bench.job.socket };
  const ms = async (argv) => (await runProgram(process.execPath, argv, { env })).ms;
  const [ours, bare, run, node] = await inTurnsOf(
    [
      async () => await spawn(bench.library),
      async () => await spawn('-'),
      async () => await ms([kangaroo, 'run', 'true']),
      async () => await ms(['-e', '0']),
    ],
    Math.max(rounds, 5),
    async () => {},
  );
  const moreNs = ours.value.median - bare.value.median;
  const options = { ours, beside: bare, besideName: 'without', format: asMicroseconds };
  return [
    {
      ...ratioRow({ work: 'adapter: start of true', most: null, ...options }),
      reach: '<= 3 ms more',
      value: `${(moreNs / 1e6).toFixed(2)} ms more`,
      verdict: moreNs <= START_MOST_MORE_NS ? 'reached' : 'missed',
    },
    ratioRow({
      ...{ work: 'kangaroo run true', ours: run, beside: node, besideName: 'node -e 0' },
      ...{ most: null, format: asSeconds },
    }),
  ];
}
