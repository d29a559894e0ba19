/**
 * Do the tests find bugs? scripts/planted-list.mjs has a list of them, scripts/planted-bugs.mjs
 * plants one after the other in a copy of the tree. All of them take minutes: `npm run
 * test:planted`, and KANGAROO_LONG=1 here. Otherwise a few by a rotating seed (KANGAROO_SEED).
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../support/kangaroo.ts';
import { chooseSeed } from '../support/prng.ts';
import { straceComplaint } from '../support/strace.ts';

const LONG = process.env['KANGAROO_LONG'] === '1';
// One more may begin just before they are over; the longest takes 22.
const SAMPLE_SECONDS = 20;
const seed = chooseSeed();
// Without it the tests that would find some of them are skipped.
const complaint = straceComplaint();
if (complaint !== null) process.stderr.write(`planted bugs: skipped: ${complaint}\n`);

function plant(...args: readonly string[]): {
  readonly status: number | null;
  readonly text: string;
} {
  const script = join(root, 'scripts/planted-bugs.mjs');
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([key]) => !/^(VITEST|NODE_ENV$|TEST$)/.test(key)),
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    cwd: root,
    encoding: 'utf8',
    env,
  });
  return { status, text: `${stdout}${stderr}` };
}

test('each bug of the list can still be planted', () => {
  expect(plant('--check')).toEqual({ status: 0, text: '' });
});

test.skipIf(complaint !== null)('planted bugs are found', () => {
  process.stdout.write(`planted bugs: KANGAROO_SEED=${seed}\n`);
  const sample = LONG ? [] : ['--sample', `${SAMPLE_SECONDS}`, '--seed', `${seed}`];
  const { status, text } = plant(...sample);
  process.stdout.write(text);
  expect(status, text).toBe(0);
});
