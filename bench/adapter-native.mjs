/**
 * What a program pays for the library on calls that are none of Kangaroo's: the same calls on local
 * files with and without it, in turns.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AdapterBench, asMicroseconds, inTurnsOf, whyNoAdapter } from './support/adapted.mjs';
import { ratioRow, skippedRow } from './support/report.mjs';

const MOST_MORE_NS = 200;

export const title = 'adapter: calls on local files';

export async function run({ quick, rounds }) {
  const reason = whyNoAdapter();
  if (reason !== null) return [skippedRow(title, reason)];
  const bench = await AdapterBench.start('adapter-native');
  const calls = quick ? 2_000 : 200_000;
  const file = join(bench.local, 'file');
  writeFileSync(file, 'x');
  const rows = [];
  for (const [work, name, path] of [
    ['open', 'open and close', file],
    ['stat', 'stat', file],
    ['access', 'access', file],
    ['fstat', 'fstat', file],
    ['lseek', 'lseek', file],
    ['pread', 'pread of 1 B', file],
    ['null', 'write of 1 B to /dev/null', '/dev/null'],
  ]) {
    const [ours, beside] = await inTurnsOf(
      [
        async () => await bench.adaptedCall(work, path, 1, calls),
        async () => await bench.percall(work, path, 1, calls),
      ],
      rounds,
      async () => {},
    );
    rows.push(rowOf(work, name, ours, beside));
  }
  return rows;
}

function rowOf(work, name, ours, beside) {
  const options = { ours, beside, besideName: 'without', format: asMicroseconds };
  const text = `adapter, not ours: ${name}`;
  if (work === 'open') return ratioRow({ work: text, most: 1.5, ...options });
  const moreNs = ours.value.median - beside.value.median;
  return {
    ...ratioRow({ work: text, most: null, ...options }),
    reach: `<= ${MOST_MORE_NS} ns more`,
    value: `${moreNs.toFixed(0)} ns more`,
    verdict: moreNs <= MOST_MORE_NS ? 'reached' : 'missed',
  };
}
