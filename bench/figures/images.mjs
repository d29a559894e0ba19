/**
 * Figures 12 and 13 of the paper, scaled down: response and turnaround time of a program that
 * computes and writes in turn, by the bandwidth to the destination, for streaming, staging and
 * one-hop Kangaroo (section 4.2).
 *
 * The paper's program makes ten images of 5.5 MB, each after 6.1 s of processor time. Here both are
 * an eighteenth, so that bandwidths and the ratio of computing to writing are the paper's, and
 * times an eighteenth of what they would be. Under Kangaroo the program is the one that writes
 * files on the local disk in staging, started by `kangaroo run`.
 *
 * The paper promises that Kangaroo overlaps the two. Held against it is the pipeline that cannot be
 * beaten: the longer of computing and sending everything, plus the shorter of the two for one image
 * (the first is not sent before it is made, the last is sent when nothing is left to compute).
 */

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../dist/index.js';
import { whyNoAdapter } from '../support/adapted.mjs';
import { median } from '../support/measure.mjs';
import {
  FAR,
  LINK_RANGE,
  makeLink,
  megabitsForPayload,
  MTU,
  QUEUE,
  whyNoLink,
} from '../support/netns.mjs';
import { runProgram } from '../support/program.mjs';
import { textTable } from '../support/report.mjs';
import { makeDirectory, onEnd, settle, sourceFile } from '../support/scratch.mjs';
import { BenchServer, kangaroo } from '../support/servers.mjs';
import { startSink } from './sink.mjs';

/** One in so many bytes and seconds. */
const SCALE = 18;
const IMAGES = 10;
const PAPER = { imageBytes: 5.5e6, imageMs: 6_100 };
/** MB/s of payload. What waits for the slowest links is long, and differs little: one round. */
const POINTS = { slow: [0.1, 0.3], quick: [1, 2, 5, 12] };
const ROUNDS = { slow: 1, quick: 3 };
/** A bucket of 5 ms, or the first bytes of each image were free. */
const BUCKET_SECONDS = 0.005;
const BUCKET_BYTES = { least: 4_000, most: 64_000 };
/** Of the pipeline's time. */
const MOST = 1.05;

/** Why the figures cannot be made; null when they can. */
export function whyNot() {
  return whyNoLink() ?? whyNoAdapter();
}

/** @returns {Promise<object>} the settings, a row for each model and bandwidth, and the checks */
export async function measureImages({ quick }) {
  const scale = quick ? SCALE * 5 : SCALE;
  const size = { bytes: Math.round(PAPER.imageBytes / scale), ms: PAPER.imageMs / scale };
  const sites = await startSites(size);
  const alone = [];
  const rows = [];
  for (const [kind, points] of Object.entries(quick ? { quick: [0.1, 1, 12] } : POINTS)) {
    for (const megabytes of points) {
      // Among the others, so that it meets the same machine.
      alone.push((await sites.program('none', [])).ms);
      const times = await measurePoint(sites, megabytes, quick ? 1 : ROUNDS[kind]);
      for (const [model, samples] of Object.entries(times)) {
        rows.push(rowOf(model, megabytes, samples));
      }
    }
  }
  const computeSeconds = median(alone) / 1_000;
  await sites.leave();
  const settings = {
    scale: `1/${scale} of the paper's bytes and seconds, its bandwidths`,
    images: IMAGES,
    imageBytes: size.bytes,
    imageProcessorMs: rounded(size.ms),
    computeSeconds: rounded(computeSeconds),
    link: `tbf, rates of payload, burst ${BUCKET_SECONDS * 1_000}ms, latency ${QUEUE}, MTU ${MTU}`,
    rounds: quick ? '1' : `${ROUNDS.quick}; ${ROUNDS.slow} below ${POINTS.quick[0]} MB/s`,
  };
  return { settings, rows, checks: checksOf(rows, computeSeconds, size.bytes) };
}

/** Both ends of the link, and the program with each way to deliver what it makes. */
async function startSites({ bytes, ms }) {
  const directory = makeDirectory('images');
  const binary = join(directory, 'images');
  const source = new URL('images.c', import.meta.url).pathname;
  await runProgram('cc', ['-std=gnu11', '-O2', '-o', binary, source]);
  const image = sourceFile(bytes);
  const link = await makeLink(1_000);
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
  const client = await connect({ server: job.socket });
  const leave = onEnd(() => client.close());
  const received = join(directory, 'received');
  const port = await startSink(link, received);
  const near = async (argv, env) =>
    await runProgram(link.near[0], [...link.near.slice(1), ...argv], { env });
  const argvOf = (mode, rest) => [binary, mode, image, String(IMAGES), String(ms), ...rest];
  const staged = Array.from({ length: IMAGES }, (_, i) => join(directory, `staged${i}`));
  return {
    link,
    leave,
    program: async (mode, rest) => await near(argvOf(mode, rest)),
    clean: () => {
      for (const path of [received, ...staged]) rmSync(path, { force: true });
      for (const name of readdirSync(archive.exportDirectory)) {
        rmSync(join(archive.exportDirectory, name));
      }
    },
    deliveries: {
      streaming: {
        respond: async () => await near(argvOf('tcp', [FAR, port])),
        deliver: async () => {},
      },
      staging: {
        respond: async () => {
          await near(argvOf('files', [join(directory, 'staged')]));
          await runProgram('sync', staged);
        },
        deliver: async () => await near([binary, 'send', FAR, port, ...staged]),
      },
      kangaroo: {
        respond: async () => {
          const command = [process.execPath, kangaroo, 'run', '--'];
          const argv = [...command, ...argvOf('files', ['/kangaroo/archive/image'])];
          await near(argv, { KANGAROO_SERVER: job.socket });
        },
        deliver: async () => await client.push('kangaroo://archive/'),
      },
    },
  };
}

async function measurePoint(sites, megabytes, rounds) {
  const { least, most } = BUCKET_BYTES;
  const bucket = Math.min(most, Math.max(least, megabytes * 1e6 * BUCKET_SECONDS));
  await sites.link.hold(megabitsForPayload(megabytes * 1e6), `${bucket}b`);
  const samples = { streaming: [], staging: [], kangaroo: [] };
  for (let round = 0; round < rounds; round++) {
    for (const model of Object.keys(samples)) {
      sites.clean();
      await settle();
      const { respond, deliver } = sites.deliveries[model];
      const startMs = performance.now();
      await respond();
      const responseMs = performance.now() - startMs;
      await deliver();
      samples[model].push({ responseMs, turnaroundMs: performance.now() - startMs });
    }
  }
  return samples;
}

function rowOf(model, megabytesPerSecond, samples) {
  const seconds = (key) => rounded(median(samples.map((sample) => sample[key])) / 1_000);
  return {
    model,
    megabytesPerSecond,
    rounds: samples.length,
    responseSeconds: seconds('responseMs'),
    turnaroundSeconds: seconds('turnaroundMs'),
  };
}

/** Kangaroo's turnaround beside the pipeline's, at each bandwidth. */
function checksOf(rows, computeSeconds, imageBytes) {
  return rows
    .filter(({ model }) => model === 'kangaroo')
    .map(({ megabytesPerSecond, turnaroundSeconds }) => {
      const sendSeconds = (IMAGES * imageBytes) / (megabytesPerSecond * 1e6);
      const longer = Math.max(computeSeconds, sendSeconds);
      const pipelineSeconds = longer + Math.min(computeSeconds, sendSeconds) / IMAGES;
      const ratio = turnaroundSeconds / pipelineSeconds;
      return {
        megabytesPerSecond,
        turnaroundSeconds,
        pipelineSeconds: rounded(pipelineSeconds),
        ratio: rounded(ratio),
        verdict: ratio <= MOST ? 'reached' : 'missed',
      };
    });
}

/** The same as text: times by bandwidth, and the check. */
export function textOfImages({ settings, rows, checks }) {
  const at = (model, megabytes) =>
    rows.find((row) => row.model === model && row.megabytesPerSecond === megabytes);
  const models = ['streaming', 'staging', 'kangaroo'];
  const timesOf = (key) =>
    textTable([
      ['MB/s', ...models],
      ...checks.map(({ megabytesPerSecond: rate }) => [
        String(rate),
        ...models.map((model) => `${at(model, rate)[key].toFixed(2)} s`),
      ]),
    ]);
  const bound = checks.map(({ megabytesPerSecond, turnaroundSeconds, ...check }) => [
    String(megabytesPerSecond),
    `${turnaroundSeconds.toFixed(2)} s`,
    `${check.pipelineSeconds.toFixed(2)} s`,
    `${check.ratio.toFixed(3)}x`,
    check.verdict,
  ]);
  return [
    ...Object.entries(settings).map(([name, value]) => `${name}: ${value}`),
    `\nFigure 12, response time\n${timesOf('responseSeconds')}`,
    `\nFigure 13, turnaround time\n${timesOf('turnaroundSeconds')}`,
    `\nTurnaround of kangaroo beside the pipeline, to reach <= ${MOST.toFixed(2)}x`,
    textTable([['MB/s', 'kangaroo', 'pipeline', 'ratio', ''], ...bound]),
  ].join('\n');
}

function rounded(value) {
  return Number(value.toFixed(4));
}
