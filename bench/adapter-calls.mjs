/**
 * Single calls of a program under the adapter: writes beside the same on the local disk, reads
 * beside the same of a local file, and what has to ask the server beside a bare round trip of 64
 * bytes over a Unix socket between two C programs, in the same minute. The two are held on
 * different processors, as a program and a server usually are: on one processor a trip is a switch
 * of processes, between two it is two wake-ups. A note has the figure of the free ones.
 */

import { writeFileSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { AdapterBench, asMicroseconds, inTurnsOf, whyNoAdapter } from './support/adapted.mjs';
import { ratioRow, skippedRow } from './support/report.mjs';

const KiB = 1024;
const MiB = 1024 * KiB;

export const title = 'adapter: single calls';

export async function run({ quick, rounds }) {
  const reason = whyNoAdapter();
  if (reason !== null) return [skippedRow(title, reason)];
  const bench = await AdapterBench.start('adapter-calls');
  const scale = quick ? 20 : 1;
  return [
    ...(await writes(bench, rounds, scale)),
    ...(await reads(bench, rounds, quick ? 4 : 64)),
    ...(await questions(bench, rounds, scale, quick ? 4 : 64)),
  ];
}

async function writes(bench, rounds, scale) {
  const rows = [];
  for (const [name, bytes, count] of [
    ['1 B', 1, 400_000],
    ['8 KiB', 8 * KiB, 16_000],
    ['1 MiB', MiB, 256],
  ]) {
    const calls = Math.ceil(count / scale);
    const [ours, beside] = await inTurnsOf(
      [
        async (i) => await bench.adaptedCall('write', bench.path(`w${bytes}-${i}`), bytes, calls),
        async (i) => await bench.percall('write', join(bench.local, `w${i}`), bytes, calls),
      ],
      rounds,
      async () => await bench.drain(),
    );
    rows.push(row(`adapter: write ${name}`, ours, beside, 'local disk', 1.3));
  }
  return rows;
}

/** A file that a process can keep, and one that is streamed; each is read once before. */
async function reads(bench, rounds, mebibytes) {
  return [
    ...(await readsOf(bench, rounds, Math.min(mebibytes, 4), 3)),
    ...(await readsOf(bench, rounds, mebibytes, null)),
  ];
}

async function readsOf(bench, rounds, mebibytes, most) {
  const { directory, archive } = bench;
  const file = join(directory, `bytes-${mebibytes}`);
  writeFileSync(file, randomFillSync(Buffer.alloc(mebibytes * MiB)));
  const delivered = bench.path(`delivered-${mebibytes}`);
  await bench.adapted('cp', [file, delivered]);
  await bench.drain();
  const calls = mebibytes * 128;
  const read = (path) => async () => await bench.adaptedCall('read', path, 8 * KiB, calls);
  const local = async () => await bench.percall('read', file, 8 * KiB, calls);
  const nothing = async () => {};
  const [there, beside] = await inTurnsOf([read(delivered), local], rounds, nothing);
  await archive.stop();
  const path = bench.path(`spooled-${mebibytes}`);
  await bench.adapted('cp', [file, path]);
  const [spooled, besideIt] = await inTurnsOf([read(path), local], rounds, nothing);
  await archive.start();
  await bench.drain();
  const name = `adapter: read 8 KiB in sequence, ${mebibytes} MiB, read before`;
  return [
    row(`${name}, spooled`, spooled, besideIt, 'local file', most),
    row(`${name}, at the destination`, there, beside, 'local file', most),
  ];
}

/** One exchange with the first hop; and where the first hop has to ask the destination as well. */
async function questions(bench, rounds, scale, mebibytes) {
  await bench.archive.stop();
  const near = `near-${mebibytes}`;
  await bench.adapted('cp', [join(bench.directory, `bytes-${mebibytes}`), bench.path(near)]);
  const spooled = await questionsOf(bench, rounds, scale, near, 'spooled', true);
  await bench.archive.start();
  await bench.drain();
  const far = `delivered-${mebibytes}`;
  return [
    ...spooled,
    ...(await questionsOf(bench, rounds, scale, far, 'at the destination', false)),
  ];
}

async function questionsOf(bench, rounds, scale, name, where, isJudged) {
  const calls = Math.ceil(4_000 / scale);
  const path = bench.path(name);
  const works = ['stat', 'open', 'random'];
  const most = { stat: 1.3, open: 1.6, random: 1.5 };
  const names = { stat: 'stat', open: 'open and close', random: 'read of 4 KiB at random' };
  const trip = (how) => async () => await bench.percall(how, join(bench.directory, how), 64, calls);
  const [apart, free, ...ours] = await inTurnsOf(
    [
      trip('apart'),
      trip('trip'),
      ...works.map((work) => async () => await bench.adaptedCall(work, path, 4 * KiB, calls)),
    ],
    rounds,
    async () => {},
  );
  const notes = [`a trip where the scheduler likes: ${asMicroseconds(free.value.median)}`];
  return works.map((work, i) => ({
    ...row(
      `adapter: ${names[work]}, ${where}`,
      ours[i],
      apart,
      '64 B over a Unix socket',
      isJudged ? most[work] : null,
    ),
    notes,
  }));
}

function row(work, ours, beside, besideName, most) {
  return ratioRow({ work, ours, beside, besideName, most, format: asMicroseconds });
}
