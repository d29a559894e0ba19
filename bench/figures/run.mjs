#!/usr/bin/env node
/**
 * npm run bench:figures [-- --quick]: measures figures 9, 10 and 11 of the paper on this machine
 * and
 * writes them as data (JSON) and pictures (SVG) beside this file. With --quick it tries the way
 * there, and writes nothing.
 */

import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeMachine } from '../support/machine.mjs';
import { headerOf } from '../support/report.mjs';
import { endSince, mark, scratchDirectory } from '../support/scratch.mjs';
import { measureBursts, whyNot } from './bursts.mjs';
import { drawBursts, drawFailures } from './draw.mjs';
import { measureFailures } from './failures.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

async function measured(name, work, context) {
  const before = mark();
  process.stdout.write(`measuring ${name}\n`);
  try {
    return await work(context);
  } finally {
    await endSince(before);
  }
}

async function main() {
  const options = { quick: { type: 'boolean', default: false } };
  const { quick } = parseArgs({ options }).values;
  const about = {
    startedAt: new Date().toISOString(),
    ...describeMachine(scratchDirectory()),
    settings: { quick },
  };
  process.stdout.write(`${headerOf(about)}\n\n`);
  const write = (name, text) => {
    if (!quick) writeFileSync(`${here}${name}`, text);
    process.stdout.write(`${name}: ${text.length} bytes${quick ? ', not written' : ''}\n`);
  };
  const json = (data) => `${JSON.stringify({ ...about, ...data }, null, 1)}\n`;

  const failures = await measured('figure 9', measureFailures, { quick });
  write('figure-9.json', json(failures));
  write('figure-9.svg', await drawFailures(failures));

  const reason = whyNot();
  if (reason !== null) {
    process.stdout.write(`figures 10 and 11 are left out: ${reason}\n`);
    return;
  }
  const bursts = await measured('figures 10 and 11', measureBursts, { quick });
  const { settings, rows } = bursts;
  write('figure-10-11.json', json({ settings: { ...about.settings, ...settings }, rows }));
  // Response times differ by a factor of twenty, turnaround times hardly.
  const [response, turnaround] = ['Burst response time', 'Burst turnaround time'];
  write('figure-10.svg', await drawBursts(bursts, 'responseSeconds', response, 'log'));
  write('figure-11.svg', await drawBursts(bursts, 'turnaroundSeconds', turnaround, 'linear'));
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    void endSince().finally(() => process.exit(130));
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
