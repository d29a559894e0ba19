/**
 * Remote file systems that a directory is held against, mounted through FUSE with the far side on
 * the loopback: sshfs on an sshd of our own, and rclone mount on rclone serve sftp. Each has ports,
 * keys and configuration of its own below the scratch directory, and serves nobody but us.
 *
 * rclone writes programs' files to its cache first and uploads them a second after they are closed:
 * without that cache it cannot write but in sequence, and no linker would work on it; uploaded at
 * once, what is renamed meanwhile is listed under both names.
 */

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { freePort, isOpen, startProgram } from './baselines.mjs';
import { firstLine, hasProgram, runProgram, until } from './program.mjs';
import { onEnd, settle } from './scratch.mjs';

/** Compiled into sshd, which refuses to run as root without it. */
const SSHD_EMPTY_DIRECTORY = '/run/sshd';

/** Why there can be no sshfs here; null when there can. */
export function whyNoSshfs() {
  return whyNot({ sshfs: 'sshfs', sshd: 'openssh-server', 'ssh-keygen': 'openssh-client' });
}

/** Why there can be no rclone mount here; null when there can. */
export function whyNoRclone() {
  return whyNot({ rclone: 'rclone' });
}

function whyNot(packages) {
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse';
  const needed = Object.entries({ ...packages, fusermount3: 'fuse3' });
  const missing = needed.find(([program]) => !hasProgram(program));
  return missing === undefined ? null : `${missing[0]} is not installed (${missing[1]})`;
}

/**
 * @returns {Promise<{ path: string, store: string, arrive: Function }>} where programs see it,
 *   where it really lies, and a wait until all has arrived there and is synced
 */
export async function mountSshfs(directory) {
  const { store, path } = makePlaces(directory);
  const [hostKey, key] = [join(directory, 'host-key'), join(directory, 'key')];
  for (const file of [hostKey, key]) {
    await runProgram('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
  }
  const port = await freePort();
  const config = join(directory, 'sshd_config');
  const lines = [
    ...['ListenAddress 127.0.0.1', `Port ${port}`, 'PidFile none', `HostKey ${hostKey}`],
    ...[
      `AuthorizedKeysFile ${key}.pub`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
    ],
    ...[`AllowUsers ${userInfo().username}`, 'PermitRootLogin prohibit-password'],
    'Subsystem sftp internal-sftp',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  if (process.getuid() === 0 && !existsSync(SSHD_EMPTY_DIRECTORY)) {
    mkdirSync(SSHD_EMPTY_DIRECTORY, { mode: 0o755 });
    onEnd(() => rmdirSync(SSHD_EMPTY_DIRECTORY));
  }
  // It starts itself again for each connection, and wants to know where it is.
  const program = firstLine('sh', ['-c', 'command -v sshd']);
  const { pid } = await startService('sshd', program, ['-D', '-f', config], port);
  // The process of a connection is to end, and be collected, before sshd does.
  onEnd(() => until('end of the connection', () => (hasChildren(pid) ? undefined : true)));
  const options = [
    ...[`port=${port}`, `IdentityFile=${key}`, 'IdentitiesOnly=yes', 'StrictHostKeyChecking=no'],
    ...['UserKnownHostsFile=/dev/null', 'LogLevel=ERROR'],
  ];
  const remote = `${userInfo().username}@127.0.0.1:${store}`;
  await mount('sshfs', ['-f', '-o', options.join(','), remote, path], path);
  return { path, store, arrive: settle };
}

/** As mountSshfs. */
export async function mountRclone(directory) {
  const { store, path } = makePlaces(directory);
  const [port, controlPort] = [await freePort(), await freePort()];
  const noConfig = ['--config', '/dev/null'];
  const serve = ['serve', 'sftp', '--no-auth', '--addr', `127.0.0.1:${port}`];
  await startService('rclone serve', 'rclone', [...serve, ...noConfig, store], port);
  const word = firstLine('rclone', ['obscure', 'none']);
  const remote = `:sftp,host=127.0.0.1,port=${port},user=bench,pass=${word},shell_type=none:/`;
  const cache = ['--cache-dir', join(directory, 'cache'), '--vfs-cache-mode', 'writes'];
  const control = ['--rc', '--rc-no-auth', '--rc-addr', `127.0.0.1:${controlPort}`];
  const argv = ['mount', ...noConfig, ...cache, '--vfs-write-back', '1s', ...control];
  await mount('rclone', [...argv, remote, path], path);
  const isUploaded = async () => {
    const answer = await globalThis.fetch(`http://127.0.0.1:${controlPort}/vfs/stats`, {
      method: 'POST',
    });
    const { uploadsInProgress, uploadsQueued, erroredFiles } = (await answer.json()).diskCache;
    if (erroredFiles > 0) throw new Error(`rclone could not upload ${erroredFiles} files`);
    return uploadsInProgress + uploadsQueued === 0 ? true : undefined;
  };
  const arrive = async () => {
    await until('upload by rclone', isUploaded);
    await settle();
  };
  return { path, store, arrive };
}

function makePlaces(directory) {
  const [store, path] = [join(directory, 'store'), join(directory, 'mount')];
  for (const place of [store, path]) mkdirSync(place, { recursive: true });
  return { store, path };
}

async function startService(what, program, argv, port) {
  const child = startProgram(program, argv);
  await until(`start of ${what}`, async () => {
    if (child.exitCode !== null) throw new Error(`${what} ended with ${child.exitCode}`);
    return (await isOpen(port)) ? true : undefined;
  });
  return child;
}

function hasChildren(pid) {
  const file = `/proc/${pid}/task/${pid}/children`;
  return existsSync(file) && readFileSync(file, 'latin1').trim() !== '';
}

async function mount(program, argv, path) {
  const child = startProgram(program, argv);
  await until(`mount by ${program}`, () => {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`);
    return isMounted(path) ? true : undefined;
  });
  // The program ends by itself with its mount.
  onEnd(async () => {
    if (isMounted(path)) await runProgram('fusermount3', ['-u', '-z', path]);
  });
}

function isMounted(path) {
  return (
    firstLine('findmnt', ['-no', 'FSTYPE', '--mountpoint', path])?.startsWith('fuse.') ?? false
  );
}
