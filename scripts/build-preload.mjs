/**
 * Builds the preload library, native/build/preload/libkangaroo.so, from native/core and
 * native/preload.
 *
 * Only `kangaroo run` needs it, so a machine without a C compiler or make goes on without; what is
 * missing is named. It is built when a source changed, and not tried again for sources that did not
 * build unless this script is run by hand, where a failure is an error.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { filesBelow, hashOf, readStamp, root, say, writeStamp } from './stamp.mjs';
import { buildEnvironment, toolsComplaint } from './toolchain.mjs';

const stampPath = 'native/build/preload/.stamp';
const logPath = 'scratch/build-preload.log';
const result = 'native/build/preload/libkangaroo.so';

function inputsHash() {
  const isProse = (path) => path.endsWith('.md');
  const files = [...filesBelow('native/core', isProse), ...filesBelow('native/preload', isProse)];
  return hashOf(files, [process.platform, process.arch]);
}

/** Builds when sources changed. Never throws; true: the library is there and current. */
export function buildPreloadIfStale() {
  const wanted = inputsHash();
  const stamp = readStamp(stampPath);
  if (stamp === wanted && existsSync(join(root, result))) return true;
  if (stamp === `failed ${wanted}`) {
    say(
      'the preload library did not build, going on without it (npm run build:preload tries again)',
    );
    return false;
  }
  return buildPreload(wanted);
}

function buildPreload(wanted) {
  const complaint = toolsComplaint({ forAddon: false });
  if (complaint !== undefined) {
    say(`the preload library ${complaint}`);
    return false;
  }
  say('building the preload library');
  const make = process.env['MAKE'] || 'make';
  const { status, stdout } = spawnSync('/bin/sh', ['-c', 'exec "$@" 2>&1', 'sh', make, '-j2'], {
    cwd: join(root, 'native/preload'),
    env: buildEnvironment(),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  mkdirSync(join(root, 'scratch'), { recursive: true });
  writeFileSync(join(root, logPath), stdout ?? '');
  if (status === 0 && existsSync(join(root, result))) {
    writeStamp(stampPath, wanted);
    return true;
  }
  writeStamp(stampPath, `failed ${wanted}`);
  const line = (stdout ?? '').split('\n').find((text) => /error: |undefined |\*\*\* /.test(text));
  say(`the preload library did not build: ${(line ?? 'no output').slice(0, 160)} (${logPath})`);
  return false;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = buildPreload(inputsHash()) ? 0 : 1;
}
