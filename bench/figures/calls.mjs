/**
 * Figure 4 of the Parrot paper (*Parrot: Transparent User-Level Middleware for Data-Intensive
 * Computing*, section 3) for this adapter: the latency of system calls, and bandwidth by the size
 * of a block, of a program without the library, of the same with it on local files, and of the same
 * on files below /kangaroo that are spooled here, or have arrived at a destination on loopback.
 *
 * Reads go in sequence through a file that another process has read before; writes append to a new
 * file. The paper had the mean of 1,000 cycles of 100,000 calls; here it is the median of a few
 * rounds, each the median of twenty batches.
 */

import { writeFileSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { AdapterBench, inTurnsOf, whyNoAdapter } from '../support/adapted.mjs';
import { textTable } from '../support/report.mjs';

const KiB = 1024;
const MiB = 1024 * KiB;
const BLOCKS = [1, 64, 512, 4 * KiB, 8 * KiB, 64 * KiB, 256 * KiB, MiB];
const CALLS_MAX = 100_000;
/** What one sample of writes writes at most. */
const WRITTEN_MAX = 128 * MiB;
const BARE = 'unmodified';

export const whyNot = whyNoAdapter;

/** @returns {Promise<object>} settings, and nanoseconds of a call by way, call and block */
export async function measureCalls({ quick }) {
  const scale = quick ? 50 : 1;
  const rounds = quick ? 1 : 5;
  const fileBytes = quick ? 2 * MiB : 64 * MiB;
  const bench = await AdapterBench.start('calls');
  const local = join(bench.directory, 'file');
  writeFileSync(local, randomFillSync(Buffer.alloc(fileBytes)));
  const rows = [
    ...(await measureWays(bench, waysOfDelivered(bench, local), { rounds, scale, fileBytes })),
    ...(await measureSpooled(bench, local, { rounds, scale, fileBytes })),
  ];
  const settings = { rounds, 'file MiB': fileBytes / MiB, 'calls a sample': CALLS_MAX / scale };
  return { settings, rows };
}

/** Three ways to the same calls: `run` makes them, `read` and `written` name the files. */
function waysOfDelivered(bench, local) {
  const bare = async (...call) => await bench.percall(...call);
  const adapted = async (...call) => await bench.adaptedCall(...call);
  const written = (name) => join(bench.local, name);
  return [
    { way: BARE, run: bare, read: local, written, copy: null },
    { way: 'library, local file', run: adapted, read: local, written, copy: null },
    {
      way: 'kangaroo, at the destination',
      ...{ run: adapted, read: bench.path('file'), copy: local },
      written: (name) => bench.path(name),
    },
  ];
}

/** The destination is away, so that what is read lies in the spool. Writes do not differ. */
async function measureSpooled(bench, local, options) {
  await bench.archive.stop();
  const run = async (...call) => await bench.adaptedCall(...call);
  const read = bench.path('spooled');
  const way = { way: 'kangaroo, spooled', run, read, written: null, copy: local };
  const rows = await measureWays(bench, [way], { ...options, between: async () => {} });
  await bench.archive.start();
  await bench.drain();
  return rows;
}

async function measureWays(bench, ways, { rounds, scale, fileBytes, between }) {
  const drain = between ?? (async () => await bench.drain());
  for (const { read, copy } of ways) {
    if (copy !== null) await bench.adapted('cp', [copy, read]);
  }
  await drain();
  for (const { read } of ways) await bench.adapted('sh', ['-c', `cat "${read}" >/dev/null`]);
  const works = ways.flatMap((way) => worksOf(way, { scale, fileBytes }));
  // One call after the other, each in turns over the ways.
  const rows = [];
  for (const key of new Set(works.map((work) => work.key))) {
    const same = works.filter((work) => work.key === key);
    const isWrite = same[0].call === 'write';
    const samples = await inTurnsOf(
      same.map(({ sample }) => sample),
      rounds,
      isWrite ? drain : async () => {},
    );
    for (const [index, { way, call, blockBytes }] of same.entries()) {
      rows.push({ way, call, blockBytes, nanoseconds: samples[index].value });
    }
  }
  return rows;
}

function worksOf({ way, run, read, written }, { scale, fileBytes }) {
  const calls = Math.ceil(CALLS_MAX / scale);
  const file = way === BARE ? 'bare' : 'adapted';
  const simple = ['getpid', 'stat', 'open'].map((call) => ({
    ...{ way, call, blockBytes: null, key: call },
    // A question to a server takes as long as a hundred calls of the kernel.
    sample: async () => await run(call, read, 1, call === 'getpid' ? calls : Math.ceil(calls / 20)),
  }));
  const blocks = BLOCKS.flatMap((blockBytes) => {
    const readCalls = Math.min(calls, Math.floor(fileBytes / blockBytes));
    const writeCalls = Math.min(calls, Math.floor(WRITTEN_MAX / scale / blockBytes) + 1);
    const reading = {
      ...{ way, call: 'read', blockBytes, key: `read ${blockBytes}` },
      sample: async () => await run('cold', read, blockBytes, readCalls),
    };
    const writing = {
      ...{ way, call: 'write', blockBytes, key: `write ${blockBytes}` },
      sample: async () =>
        await run('write', written(`${file}-${blockBytes}`), blockBytes, writeCalls),
    };
    return written === null ? [reading] : [reading, writing];
  });
  return [...simple, ...blocks];
}

/** The paper's table, and bandwidth by block. */
export function textOfCalls({ settings, rows }) {
  const ways = [...new Set(rows.map(({ way }) => way))];
  const of = (way, call, blockBytes = null) =>
    rows.find((row) => row.way === way && row.call === call && row.blockBytes === blockBytes)
      ?.nanoseconds.median;
  const columns = [
    ['getpid', 'getpid'],
    ['stat', 'stat'],
    ['open/close', 'open'],
    ['read 1B', 'read', 1],
    ['read 8KiB', 'read', 8 * KiB],
    ['write 1B', 'write', 1],
    ['write 8KiB', 'write', 8 * KiB],
  ];
  const cell = (ns, bare) => [
    ns === undefined ? '-' : `${(ns / 1_000).toFixed(2)} us`,
    ns === undefined ? '' : `(${(ns / bare).toFixed(1)}x)`,
  ];
  const latencies = ways.flatMap((way) => {
    const cells = columns.map(([, ...key]) => cell(of(way, ...key), of(BARE, ...key)));
    const [speed, bare] = [
      bandwidth(of(way, 'read', MiB), MiB),
      bandwidth(of(BARE, 'read', MiB), MiB),
    ];
    const ratios = ['', ...cells.map(([, ratio]) => ratio), `(${(speed / bare).toFixed(2)}x)`];
    const first = [way, ...cells.map(([time]) => time), `${speed.toFixed(0)} MB/s`];
    return way === BARE ? [first] : [first, ratios];
  });
  const speeds = (call) => [
    [`${call}, MB/s`, ...BLOCKS.map(blockName)],
    ...ways.map((way) => [
      way,
      ...BLOCKS.map((block) => {
        const ns = of(way, call, block);
        const speed = bandwidth(ns, block);
        return ns === undefined ? '-' : speed.toFixed(speed < 10 ? 2 : 0);
      }),
    ]),
  ];
  return [
    ...Object.entries(settings).map(([name, value]) => `${name}: ${value}`),
    `\n${textTable([['', ...columns.map(([name]) => name), 'bandwidth'], ...latencies])}`,
    `\n${textTable(speeds('read'))}`,
    `\n${textTable(speeds('write'))}`,
  ].join('\n');
}

/** In MB/s, of a call of so many nanoseconds. */
export function bandwidth(nanoseconds, blockBytes) {
  return (blockBytes / nanoseconds) * 1_000;
}

export function blockName(bytes) {
  if (bytes >= MiB) return `${bytes / MiB} MiB`;
  return bytes >= KiB ? `${bytes / KiB} KiB` : `${bytes} B`;
}
