/**
 * Builds dist/ from src/: tsc checks it and writes the declarations, bundle.mjs makes the programs,
 * and what is no program (SQL, pages, styles) is copied.
 *
 * The new dist/ is made beside the old one and takes its place when it is complete, so that a
 * failed build leaves the old one working and no file of a deleted source stays behind. `npm run
 * build` always compiles; prepare.mjs only when something changed. The native addon and the
 * preload library are built with it.
 */

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildNativeIfStale } from './build-native.mjs';
import { buildPreloadIfStale } from './build-preload.mjs';
import { filesBelow, hashOf, readStamp, root, say, writeStamp } from './stamp.mjs';

const stampPath = 'dist/.stamp';
const SCRIPTS = ['scripts/build.mjs', 'scripts/bundle.mjs'];
const isProse = (path) => path.endsWith('.md');

function inputsHash() {
  const settings = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];
  return hashOf([...filesBelow('src', isProse), ...settings, ...SCRIPTS]);
}

/** Throws an Error whose message is one line; the compiler's own lines went to standard error. */
export async function buildDistIfStale() {
  if (readStamp(stampPath) !== inputsHash()) await buildDist();
}

async function buildDist() {
  const wanted = inputsHash();
  const fresh = `dist.new-${process.pid}`;
  say('compiling src to dist');
  try {
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const argv = [tsc, '-p', 'tsconfig.build.json', '--outDir', fresh];
    const { status } = spawnSync(process.execPath, argv, { cwd: root, stdio: ['ignore', 2, 2] });
    if (status !== 0) throw new Error('src does not compile, see the lines above');
    // Not before: a package that is not installed yet is no reason to fail at the import above.
    const { bundle } = await import('./bundle.mjs');
    await bundle(fresh);
    copyAssets(fresh);
    writeStamp(`${fresh}/.stamp`, wanted);
    putInPlace(fresh);
  } finally {
    rmSync(join(root, fresh), { recursive: true, force: true });
  }
}

function copyAssets(fresh) {
  for (const path of filesBelow('src', isProse)) {
    if (path.endsWith('.ts')) continue;
    const target = join(root, path.replace(/^src/, fresh));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(join(root, path), target);
  }
}

// Two renames, so that dist/ is absent for an instant only.
function putInPlace(fresh) {
  const dist = join(root, 'dist');
  const old = join(root, `dist.old-${process.pid}`);
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(join(root, fresh), dist);
  rmSync(old, { recursive: true, force: true });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    await buildDist();
    buildNativeIfStale();
    buildPreloadIfStale();
  } catch (error) {
    say(error.message);
    process.exitCode = 1;
  }
}
