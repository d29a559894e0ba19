#!/usr/bin/env node
/**
 * npm run bench:figures [-- NAME... --quick]: measures the figures of README.md on this machine,
 * all or the named ones, and writes each as data (JSON), as text where there is a table, and as
 * pictures (SVG) beside this file. With --quick it tries the way there, and writes nothing.
 */

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeMachine } from '../support/machine.mjs';
import { headerOf } from '../support/report.mjs';
import { endForGood, endSince, mark, scratchDirectory } from '../support/scratch.mjs';
import * as andrew from './andrew.mjs';
import * as bursts from './bursts.mjs';
import * as calls from './calls.mjs';
import { drawBursts, drawCalls, drawFailures, drawImages } from './draw.mjs';
import { measureFailures } from './failures.mjs';
import * as images from './images.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

/** `files` has what to write of what `measure` gave: name, and text or picture. */
const FIGURES = [
  {
    name: 'figure-9',
    measure: measureFailures,
    files: async (result) => [['figure-9.svg', await drawFailures(result)]],
  },
  {
    name: 'figure-10-11',
    whyNot: bursts.whyNot,
    measure: bursts.measureBursts,
    // Response times differ by a factor of twenty, turnaround times hardly.
    files: async (result) => [
      ['figure-10.svg', await drawBursts(result, 'responseSeconds', 'Burst response time', 'log')],
      [
        'figure-11.svg',
        await drawBursts(result, 'turnaroundSeconds', 'Burst turnaround time', 'linear'),
      ],
    ],
  },
  {
    name: 'figure-12-13',
    whyNot: images.whyNot,
    measure: images.measureImages,
    text: images.textOfImages,
    files: async (result) => [
      ['figure-12.svg', await drawImages(result, 'responseSeconds', 'Images response time')],
      ['figure-13.svg', await drawImages(result, 'turnaroundSeconds', 'Images turnaround time')],
    ],
  },
  {
    name: 'parrot-figure-4',
    whyNot: calls.whyNot,
    measure: calls.measureCalls,
    text: calls.textOfCalls,
    files: async (result) => [['parrot-figure-4.svg', await drawCalls(result)]],
  },
  {
    name: 'parrot-figure-12',
    whyNot: andrew.whyNot,
    measure: andrew.measureAndrew,
    text: andrew.textOfAndrew,
    files: async () => [],
  },
];

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean', default: false } },
  });
  const names = FIGURES.map(({ name }) => name);
  const unknown = positionals.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`no ${unknown}; there are ${names.join(', ')}`);
  const figures = FIGURES.filter(
    ({ name }) => positionals.length === 0 || positionals.includes(name),
  );
  return { figures, quick: values.quick };
}

async function makeFigure({ name, whyNot, measure, text, files }, about, write) {
  const reason = whyNot?.() ?? null;
  if (reason !== null) {
    process.stdout.write(`${name} is left out: ${reason}\n`);
    return;
  }
  process.stdout.write(`measuring ${name}\n`);
  const before = mark();
  try {
    const result = await measure(about.settings);
    const settings = { ...about.settings, ...result.settings };
    write(`${name}.json`, `${JSON.stringify({ ...about, ...result, settings }, null, 1)}\n`);
    if (text !== undefined) {
      const table = text(result);
      process.stdout.write(`${table}\n`);
      write(`${name}.txt`, `${headerOf(about)}\n\n${table}\n`);
    }
    for (const [file, content] of await files(result)) write(file, content);
  } finally {
    await endSince(before);
  }
}

async function main() {
  const { figures, quick } = readArguments();
  const about = {
    startedAt: new Date().toISOString(),
    ...describeMachine(scratchDirectory()),
    settings: { quick },
  };
  process.stdout.write(`${headerOf(about)}\n\n`);
  const write = (name, content) => {
    if (!quick) writeFileSync(`${here}${name}`, content);
    process.stdout.write(`${name}: ${content.length} bytes${quick ? ', not written' : ''}\n`);
  };
  for (const figure of figures) await makeFigure(figure, about, write);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    void endForGood().finally(() => process.exit(130));
  });
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bench: ${error.stack ?? error}\n`);
  process.exitCode = 1;
} finally {
  await endSince();
}
process.exit();
