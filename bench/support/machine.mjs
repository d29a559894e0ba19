/**
 * What was measured on what: the lines that open every report. Nothing here names a person, a
 * host or a path.
 */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { hasProgram } from './program.mjs';

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
    ...versionOf('rclone', 'rclone', ['version']),
    ...versionOf('sshfs', 'sshfs', ['--version']),
  };
  return { machine, versions };
}

/** Its version number, as it says itself in the first line that names it. */
function versionOf(name, program, argv) {
  if (!hasProgram(program)) return { [name]: 'not installed' };
  const { stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  const line = `${stdout}${stderr}`.split('\n').find((text) => text.toLowerCase().includes(name));
  return { [name]: /\d+(\.\d+)+/.exec(line ?? '')?.[0] ?? 'unknown' };
}

function commitOf() {
  const git = (...argv) => spawnSync('git', argv, { cwd: root, encoding: 'utf8' });
  const head = git('rev-parse', '--short=12', 'HEAD');
  if (head.status !== 0) return 'not a checkout';
  // What the benches themselves write does not count as a change.
  const written = ['results', 'README.md', 'figures/*.json', 'figures/*.svg', 'figures/*.txt'].map(
    (path) => `:!bench/${path}`,
  );
  const changes = git('status', '--porcelain', '--', '.', ...written);
  return head.stdout.trim() + (changes.stdout.trim() === '' ? '' : ', with changes');
}

function fileSystemOf(directory) {
  const { stdout } = spawnSync('findmnt', ['-no', 'FSTYPE', '-T', directory], {
    encoding: 'utf8',
  });
  return stdout?.trim() || 'unknown';
}
