/**
 * Builds the native addon: native/binding.gyp -> native/build/Release/kangaroo.node.
 *
 * The addon makes Kangaroo fast and is not needed for it to work, so a failure is told in one line,
 * with the log that explains it, and is not tried again for the same sources unless this script is
 * run by hand (`npm run build:native`), where it is an error.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { filesBelow, hashOf, readStamp, root, say, writeStamp } from './stamp.mjs';
import { buildEnvironment, toolsComplaint } from './toolchain.mjs';

const stampPath = 'native/build/.stamp';
const logPath = 'scratch/build-native.log';
const result = 'native/build/Release/kangaroo.node';

function inputsHash() {
  const skip = (path) => /^native\/(build|test|preload)$|\.md$/.test(path);
  const headers = 'node_modules/node-addon-api/package.json';
  const files = [...filesBelow('native', skip), ...filesBelow(headers)];
  return hashOf(files, [process.platform, process.arch]);
}

/** Builds when sources changed. Never throws; true: the addon is there and current. */
export function buildNativeIfStale() {
  const wanted = inputsHash();
  const stamp = readStamp(stampPath);
  if (stamp === wanted && existsSync(join(root, result))) return true;
  if (stamp === `failed ${wanted}`) {
    say('the native addon did not build, going on without it (npm run build:native tries again)');
    return false;
  }
  return buildNative(wanted);
}

function buildNative(wanted) {
  const complaint = toolsComplaint();
  if (complaint !== undefined) {
    say(`the native addon ${complaint}`);
    return false;
  }
  say('building the native addon');
  const gyp = join(root, 'node_modules/node-gyp/bin/node-gyp.js');
  const { status, stdout } = spawnSync(
    '/bin/sh',
    ['-c', 'exec "$@" 2>&1', 'sh', process.execPath, gyp, 'configure', 'build', '-C', 'native'],
    { cwd: root, env: buildEnvironment(), encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  );
  mkdirSync(join(root, 'scratch'), { recursive: true });
  writeFileSync(join(root, logPath), stdout ?? '');
  if (status === 0 && existsSync(join(root, result))) {
    writeStamp(stampPath, wanted);
    return true;
  }
  writeStamp(stampPath, `failed ${wanted}`);
  say(`the native addon did not build, going on without it: ${firstError()} (${logPath})`);
  return false;
}

function firstError() {
  const lines = readFileSync(join(root, logPath), 'utf8').split('\n');
  const line = lines.find((text) => /\berror: |\*\*\* |gyp ERR! stack Error/.test(text));
  return (line ?? lines.at(-2) ?? 'no output').trim().slice(0, 160);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = buildNative(inputsHash()) ? 0 : 1;
}
