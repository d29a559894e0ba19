/**
 * What was measured on what: the lines that open every report. Nothing here names a person, a
 * host or a path.
 */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { firstLine, hasProgram } from './program.mjs';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/** @returns {{ machine: object, versions: object }} */
export function describeMachine(directory) {
  const processors = cpus();
  const machine = {
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    kernel: `Linux ${release()}`,
    fileSystem: fileSystemOf(directory),
    load: Number(readFileSync('/proc/loadavg', 'latin1').split(' ')[0]),
  };
  const versions = {
    kangaroo: JSON.parse(readFileSync(`${root}package.json`, 'utf8')).version,
    commit: commitOf(),
    node: process.version,
    ...versionOf('chirp', 'chirp_server', ['--version']),
    ...versionOf('rsync', 'rsync', ['--version']),
  };
  return { machine, versions };
}

/** Its version number, as it says itself in its first line. */
function versionOf(name, program, argv) {
  if (!hasProgram(program)) return { [name]: 'not installed' };
  return { [name]: /\d+(\.\d+)+/.exec(firstLine(program, argv) ?? '')?.[0] ?? 'unknown' };
}

function commitOf() {
  const git = (...argv) => spawnSync('git', argv, { cwd: root, encoding: 'utf8' });
  const head = git('rev-parse', '--short=12', 'HEAD');
  if (head.status !== 0) return 'not a checkout';
  // What the benches themselves write does not count as a change.
  const written = [':!bench/results', ':!bench/README.md', ':!bench/figures/*.json'];
  const changes = git('status', '--porcelain', '--', '.', ...written, ':!bench/figures/*.svg');
  return head.stdout.trim() + (changes.stdout.trim() === '' ? '' : ', with changes');
}

function fileSystemOf(directory) {
  const { stdout } = spawnSync('findmnt', ['-no', 'FSTYPE', '-T', directory], {
    encoding: 'utf8',
  });
  return stdout?.trim() || 'unknown';
}
