/**
 * Plants bugs and looks whether the tests find them: each row takes out one sync, one order or one
 * guarantee, and names the test that must fail then. A bug that survives is an error of ours.
 *
 *   node scripts/planted-bugs.mjs                      all of them, one after the other
 *   node scripts/planted-bugs.mjs --only ID[,ID...]    these
 *   node scripts/planted-bugs.mjs --sample SECONDS --seed N   as many as fit, ordered by the seed
 *   node scripts/planted-bugs.mjs --check              only: is each text still there?
 *   node scripts/planted-bugs.mjs --sound              do the named tests pass without any bug?
 *
 * Everything happens in a copy of the tree in a temporary directory, which shares node_modules and
 * the native addon with it. dist/ must be built. Exit status 1: a bug survived, or a row is stale.
 */

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PLANTED } from './planted-list.mjs';
import { root, say } from './stamp.mjs';

const TEST_MS = 150_000;
const COPIED = ['src', 'dist', 'test', 'scripts', 'bin', 'config', 'package.json'];
const COPIED_TOO = [
  'tsconfig.json',
  'tsconfig.build.json',
  'vitest.config.ts',
  'package-lock.json',
];

/** What is wrong with a row itself; null: its texts are there, once each. */
export function staleness({ id, file, old, becomes }) {
  const text = readFileSync(join(root, file), 'utf8');
  const count = text.split(old).length - 1;
  if (count !== 1) return `${id}: its text is ${count} times in ${file}`;
  return old === becomes ? `${id}: changes nothing` : null;
}

function copyOfTree() {
  const copy = mkdtempSync(join(tmpdir(), 'kangaroo-planted-'));
  for (const name of [...COPIED, ...COPIED_TOO]) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  symlinkSync(join(root, 'native'), join(copy, 'native'));
  return copy;
}

/** Puts `text` in place of a source file, and makes the programs of the copy anew. */
function write(copy, file, text) {
  writeFileSync(join(copy, file), text);
  const bundle = join(copy, 'scripts/bundle.mjs');
  const { status, stderr } = spawnSync(process.execPath, [bundle], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} cannot be built: ${stderr}`);
}

/** Does the test pass in the copy? Its output is the second half of the answer. */
function passes(copy, { project, path, name }) {
  const vitest = join(copy, 'node_modules/vitest/vitest.mjs');
  const args = [vitest, 'run', '--project', project, path, '--bail', '1'];
  if (name !== undefined) args.push('-t', name);
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([key]) => !/^(VITEST|KANGAROO|TEST$|NODE_OPTIONS)/.test(key),
    ),
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: copy,
    env: { ...env, NO_COLOR: '1' },
    encoding: 'utf8',
    timeout: TEST_MS,
    killSignal: 'SIGKILL',
    maxBuffer: 64 * 1024 * 1024,
  });
  const ran = /Tests +.*\d+ (?:passed|failed)/.test(stdout);
  return { ok: status === 0 && ran, hung: status === null, output: `${stdout}\n${stderr}` };
}

function firstFailure(output) {
  const line = output.split('\n').find((text) => /^ *(?:FAIL|×)/.test(text) && text.includes('>'));
  const error = output.split('\n').find((text) => /^\w*Error: /.test(text));
  return (line ?? error ?? 'failed').trim().slice(0, 110);
}

function tryOne(copy, row) {
  const original = readFileSync(join(copy, row.file), 'utf8');
  const startMs = performance.now();
  write(
    copy,
    row.file,
    original.replace(row.old, () => row.becomes),
  );
  try {
    for (const test of row.tests) {
      const { ok, hung, output } = passes(copy, test);
      if (!ok) return { killed: hung ? 'did not end' : firstFailure(output), startMs };
    }
    return { killed: null, startMs };
  } finally {
    write(copy, row.file, original);
  }
}

/** The named tests without any bug; what fails says nothing when it fails with one. */
function soundness(copy, rows) {
  const complaints = [];
  const tests = new Map(rows.flatMap(({ tests: t }) => t.map((one) => [JSON.stringify(one), one])));
  for (const test of tests.values()) {
    const { ok, output } = passes(copy, test);
    const label = `${test.path}${test.name === undefined ? '' : ` (${test.name})`}`;
    console.log(`${ok ? 'passes ' : 'FAILS  '} ${label}`);
    if (!ok) complaints.push(`${label}: ${firstFailure(output)}`);
  }
  return complaints;
}

/** A different order for each seed: a multiplicative walk needs no generator. */
function ordered(rows, seed) {
  const key = (i) => (Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed | 1, 0x85ebca6b)) >>> 0;
  return rows
    .map((row, i) => ({ row, at: key(i) }))
    .sort((a, b) => a.at - b.at)
    .map((x) => x.row);
}

function main() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      sample: { type: 'string' },
      seed: { type: 'string', default: '1' },
      check: { type: 'boolean', default: false },
      sound: { type: 'boolean', default: false },
    },
  });
  const wanted = values.only?.split(',');
  const picked = PLANTED.filter(({ id }) => wanted === undefined || wanted.includes(id));
  const stale = picked.map(staleness).filter((text) => text !== null);
  for (const text of stale) say(text);
  if (values.check || stale.length > 0) return stale.length === 0;
  if (!existsSync(join(root, 'dist'))) throw new Error('dist/ is not there: run npm run build');
  const rows = values.sample === undefined ? picked : ordered(picked, Number(values.seed));
  const endMs = values.sample === undefined ? Infinity : Number(values.sample) * 1_000;
  const copy = copyOfTree();
  const survivors = [];
  let done = 0;
  try {
    if (values.sound) return soundness(copy, rows).length === 0;
    for (const row of rows) {
      if (performance.now() > endMs) break;
      const { killed, startMs } = tryOne(copy, row);
      const seconds = ((performance.now() - startMs) / 1_000).toFixed(1).padStart(6);
      console.log(`${killed === null ? 'SURVIVED' : 'found   '} ${seconds} s  ${row.id}`);
      console.log(
        `          ${killed ?? `${row.why} (${row.tests.map(({ path }) => path).join(', ')})`}`,
      );
      if (killed === null) survivors.push(row.id);
      done += 1;
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
  console.log(`${done - survivors.length} of ${done} planted bugs found`);
  return survivors.length === 0 && done > 0;
}

try {
  process.exitCode = main() ? 0 : 1;
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
