/**
 * Figures 10 and 11 of the paper, scaled down: response and turnaround time of a burst of output by
 * its size, for streaming, staging and one-hop Kangaroo (section 4.2).
 *
 * The paper had 10 - 2000 MB, a disk of 25 MB/s and a network of 12.5 MB/s; here it is 8 - 256 MiB
 * and a link that tc holds at 200 Mbit/s, 25 MB/s. The disk is far quicker than the link, so
 * staging and Kangaroo respond at the speed of the disk.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { median } from '../support/measure.mjs';
import { FAR, LINK_RANGE, makeLink, whyNoLink } from '../support/netns.mjs';
import { runProgram } from '../support/program.mjs';
import { makeDirectory, settle } from '../support/scratch.mjs';
import { BenchServer } from '../support/servers.mjs';
import { startSink } from './sink.mjs';

const MiB = 2 ** 20;
const MEGABITS = 200;
const burstProgram = new URL('burst.mjs', import.meta.url).pathname;

export const whyNot = whyNoLink;

/** @returns {Promise<object>} the settings, and a row for each model and size */
export async function measureBursts({ quick }) {
  const sizes = quick ? [1, 2] : [8, 16, 32, 64, 128, 256];
  const rounds = quick ? 1 : 5;
  const directory = makeDirectory('bursts');
  const link = await makeLink(MEGABITS);
  const archive = new BenchServer({
    ...{ directory: join(directory, 'archive'), name: 'archive', stores: true },
    ...{ listen: `${FAR}:0`, allow: [LINK_RANGE], through: link.far },
  });
  await archive.start();
  const job = new BenchServer({
    ...{ directory: join(directory, 'job'), name: 'job', through: link.near },
    routes: [`archive=${archive.address}`],
  });
  await job.start();
  const received = join(directory, 'received');
  const port = await startSink(link, received);
  const staged = join(directory, 'staged');
  const argvOf = {
    streaming: () => [FAR, port],
    staging: () => [FAR, port, staged],
    kangaroo: () => [job.socket, 'kangaroo://archive/burst'],
  };

  const rows = [];
  for (const sizeMiB of sizes) {
    const samples = { streaming: [], staging: [], kangaroo: [] };
    for (let round = -1; round < rounds; round++) {
      for (const model of Object.keys(samples)) {
        for (const file of [received, staged, join(archive.exportDirectory, 'burst')]) {
          rmSync(file, { force: true });
        }
        await settle();
        const argv = [burstProgram, model, String(sizeMiB * MiB), ...argvOf[model]()];
        const [program, ...all] = [...link.near, process.execPath, ...argv];
        const { stdout } = await runProgram(program, all);
        if (round >= 0) samples[model].push(JSON.parse(stdout));
      }
    }
    for (const [model, times] of Object.entries(samples)) rows.push(rowOf(model, sizeMiB, times));
  }
  return { settings: { link: link.settings, rounds }, rows };
}

function rowOf(model, sizeMiB, times) {
  const seconds = (key) => Number((median(times.map((time) => time[key])) / 1_000).toFixed(4));
  return {
    model,
    sizeMiB,
    responseSeconds: seconds('responseMs'),
    turnaroundSeconds: seconds('turnaroundMs'),
  };
}
