/**
 * Are the installed packages those of package-lock.json, and does the one that was compiled load in
 * this Node? If not, `npm ci` (or a rebuild) makes it so.
 *
 * A stamp in node_modules makes the usual answer quick. Where it is missing or old, because
 * somebody ran npm by hand, npm's own record of what it installed is compared with the lock file,
 * and better-sqlite3 is tried: it belongs to one Node ABI, and changing Node's major version
 * breaks it.
 */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { hashOf, readStamp, root, say, writeStamp } from './stamp.mjs';
import { buildEnvironment, toolsComplaint } from './toolchain.mjs';

const stampPath = 'node_modules/.kangaroo-stamp';

/** Throws an Error whose message is one line. */
export function installPackages() {
  const facts = [process.versions.modules, process.platform, process.arch];
  const wanted = hashOf(['package-lock.json'], facts);
  if (readStamp(stampPath) === wanted) return;

  const complete = isInstalled();
  if (!complete || sqliteComplaint() !== undefined) {
    const complaint = toolsComplaint();
    if (complaint !== undefined) throw new Error(complaint);
    if (complete) {
      say('building better-sqlite3 for this version of Node (about two minutes)');
      npm('rebuild', 'better-sqlite3');
    } else {
      say('installing packages; SQLite is compiled, which takes about two minutes');
      npm('ci', '--include=dev');
    }
    const stillBroken = sqliteComplaint();
    if (stillBroken !== undefined) throw new Error(`better-sqlite3 does not load: ${stillBroken}`);
  }
  writeStamp(stampPath, wanted);
}

function npm(...argv) {
  // Under `npm test` use the npm that runs, also when it is not the first on the PATH.
  const running = process.env['npm_execpath'] ?? '';
  const [command, ...first] =
    basename(running) === 'npm-cli.js' ? [process.execPath, running] : ['npm'];
  const result = spawnSync(
    command,
    [...first, ...argv, '--no-audit', '--no-fund', '--loglevel=error'],
    { cwd: root, env: buildEnvironment(), stdio: ['ignore', 2, 2] },
  );
  if (result.error) throw new Error(`npm did not start (${result.error.message}): apt install npm`);
  if (result.status !== 0) throw new Error(`npm ${argv[0]} failed, see the lines above`);
}

function isInstalled() {
  let locked;
  let installed;
  try {
    locked = readJson('package-lock.json').packages;
    installed = readJson('node_modules/.package-lock.json').packages;
  } catch {
    return false;
  }
  // Optional packages of other platforms are locked and never installed.
  return Object.entries(locked).every(([path, entry]) => {
    const there = installed[path];
    return path === '' || (there ? there.version === entry.version : entry.optional === true);
  });
}

function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), 'utf8'));
}

// Opening a database is what loads the addon; the first line of the failure is the telling one.
function sqliteComplaint() {
  try {
    const Database = createRequire(join(root, 'package.json'))('better-sqlite3');
    new Database(':memory:').close();
    return undefined;
  } catch (error) {
    return String(error.message).split('\n')[0];
  }
}
