/**
 * What a destination refuses, and what a spool has no room for: held or slowed, never lost, told to
 * people in words, and going on when the reason is gone. Real processes, real file systems; what
 * needs root (a mount, an immutable file) is skipped without it and says why.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { connect, type MessagesReport } from '../../src/index.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import type { RunResult } from '../support/kangaroo.ts';
import { residentMiB } from '../support/proc.ts';
import { pause, until } from '../support/wait.ts';

const MiB = 1024 * 1024;
const isRoot = process.getuid?.() === 0;

let cluster: Cluster | null = null;
const mounts: string[] = [];

/** A small file system in memory at `path`. Without root none can be had: false, and it says so. */
function mountSmall(path: string, options: string): boolean {
  mkdirSync(path, { recursive: true });
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'kangaroo-test', path]).status !== 0) {
    console.log('skipped: mounting a tmpfs is not possible here');
    return false;
  }
  mounts.push(path);
  return true;
}

afterEach(async () => {
  const open = cluster;
  cluster = null;
  for (const hop of open?.hops ?? []) await hop.stop();
  for (const path of mounts.splice(0)) spawnSync('umount', ['-l', path]);
  await open?.close();
});

const at = (path: string): string => `kangaroo://last/${path}`;

async function ok(hop: Hop, ...args: string[]): Promise<RunResult> {
  const result = await hop.run(args);
  expect({ status: result.status, stderr: result.stderr }, args.join(' ')).toEqual({
    status: 0,
    stderr: '',
  });
  return result;
}

async function put(hop: Hop, path: string, input: string | Uint8Array): Promise<void> {
  expect(await hop.run(['put', '-', at(path)], { input })).toMatchObject({ status: 0, stderr: '' });
}

async function messages(hop: Hop): Promise<MessagesReport['messages']> {
  const { stdout } = await ok(hop, 'messages', '--json');
  return (JSON.parse(stdout.toString('utf8')) as MessagesReport).messages;
}

async function oneHop(): Promise<[first: Hop, last: Hop]> {
  cluster = new Cluster();
  return (await cluster.chain(['first', 'last'])) as [Hop, Hop];
}

/** Something in the way of `path`, and how it is taken away. */
interface Obstacle {
  readonly label: string;
  readonly errno: string;
  readonly place: (exported: string) => boolean;
  readonly clear: (exported: string) => void;
}

const OBSTACLES: readonly Obstacle[] = [
  {
    label: 'a file where a directory has to be',
    errno: 'ENOTDIR',
    place: (exported) => {
      writeFileSync(join(exported, 'd'), 'in the way');
      return true;
    },
    clear: (exported) => {
      unlinkSync(join(exported, 'd'));
      mkdirSync(join(exported, 'd'));
    },
  },
  {
    label: 'an immutable directory',
    errno: 'EPERM',
    place: (exported) => {
      mkdirSync(join(exported, 'd'));
      return spawnSync('chattr', ['+i', join(exported, 'd')]).status === 0;
    },
    clear: (exported) => {
      spawnSync('chattr', ['-i', join(exported, 'd')]);
    },
  },
];

describe('what the destination refuses', () => {
  test.each(OBSTACLES)('$label: held, told, retried', async ({ errno, place, clear }) => {
    const [first, last] = await oneHop();
    // Put while nobody can look, as a job does: the obstacle is met at the destination.
    await last.stop();
    if (!place(last.exportDirectory)) {
      console.log(`skipped: chattr +i is not possible here (root and ext4 or the like are needed)`);
      return;
    }
    try {
      await put(first, 'd/held', 'content');
      await put(first, 'other', 'flows');
      await last.start();
      await ok(first, 'push', at('other'));
      expect(readFileSync(join(last.exportDirectory, 'other'), 'utf8')).toBe('flows');

      const push = await first.run(['push', '--timeout', '20s']);
      expect(push.status, push.stderr).toBe(73);
      expect(push.stderr).toContain('kangaroo://last/d/held');
      const held = (await messages(first)).filter(({ state }) => state === 'held');
      expect(held).toMatchObject([{ address: at('d/held'), errno, server: 'last' }]);
      expect((await last.status()).destinations[0]).toMatchObject({
        state: 'held',
        heldOperations: 1,
      });
      // Commit succeeds and the spool of the first hop is empty: it is the destination's worry.
      await ok(first, 'commit');
      expect((await first.status()).spool.operations).toBe(0);
      // Also over a restart.
      await last.kill();
      await last.start();
      expect((await first.run(['push'])).status).toBe(73);
    } finally {
      clear(last.exportDirectory);
    }
    const retry = await ok(first, 'retry', at('d'));
    expect(retry.stdout.toString()).toContain('1 operation');
    await ok(first, 'push');
    expect(readFileSync(join(last.exportDirectory, 'd/held'), 'utf8')).toBe('content');
    const left = (await messages(first)).filter(({ state }) => state === 'held');
    expect(left).toEqual([]);
  });

  test('given up on purpose: gone, and everything else has arrived', async () => {
    const [first, last] = await oneHop();
    await last.stop();
    writeFileSync(join(last.exportDirectory, 'd'), 'stays');
    await put(first, 'd/never', 'content');
    await put(first, 'd/never-2', 'content');
    await put(first, 'always', 'content');
    await last.start();
    expect((await first.run(['push'])).status).toBe(73);
    await ok(first, 'discard', at('d/never'));
    expect((await first.run(['push'])).status).toBe(73);
    await ok(first, 'discard', at('d'));
    await ok(first, 'push');
    expect(readFileSync(join(last.exportDirectory, 'd'), 'utf8')).toBe('stays');
    expect(readFileSync(join(last.exportDirectory, 'always'), 'utf8')).toBe('content');
    // It does not come back with the server either.
    await last.kill();
    await last.start();
    await ok(first, 'push');
    expect((await last.status()).spool.operations).toBe(0);
  });

  test.skipIf(!isRoot)('a full disk: held, and goes on by itself when there is room', async () => {
    cluster = new Cluster();
    const disk = cluster.scratch('disk');
    if (!mountSmall(disk, 'size=8m')) return;
    const last = cluster.add({ name: 'last', exports: true, exportDirectory: disk });
    await last.start();
    const first = cluster.add({ name: 'first', routes: [`last=${last.address}`] });
    await first.start();
    await put(first, 'small', 'before');
    await ok(first, 'push');
    writeFileSync(join(disk, 'filler'), Buffer.alloc(5 * MiB));
    const large = randomBytes(5 * MiB);
    await put(first, 'large', large);
    const push = await first.run(['push', at('large')]);
    expect(push.status, push.stderr).toBe(73);
    expect(push.stderr).toContain('no space');
    // What needs no room still goes its way.
    await put(first, 'small', 'after!');
    await ok(first, 'push', at('small'));
    expect(readFileSync(join(disk, 'small'), 'utf8')).toBe('after!');
    expect(statfsSync(disk).bavail).toBeLessThan(MiB);

    rmSync(join(disk, 'filler'));
    await until('the held file to go on by itself', 20_000, async () => {
      return (await last.status()).spool.operations === 0;
    });
    await ok(first, 'push');
    expect(readFileSync(join(disk, 'large')).equals(large)).toBe(true);
  });
  if (!isRoot) console.log('skipped: a full disk needs root, to mount a small one');
});

describe('a full spool', () => {
  test('slows the client down, says so, and goes on', async () => {
    cluster = new Cluster();
    const args = { first: ['--spool-limit', '16M'] };
    const [first, last] = (await cluster.chain(['first', 'last'], args)) as [Hop, Hop];
    await last.stop();
    const large = randomBytes(48 * MiB);
    const other = { first: first.begin(['put', '-', at('one')], { input: large }) };
    const tcp = ['put', '-', at('two'), '--server', first.address];
    const remote = first.begin(tcp, { input: large });
    await until('the spool to be full', 20_000, async () => {
      const { spool } = await first.status();
      return spool.state === 'full' && spool.bytes > 8 * MiB;
    });
    await pause(1_000);
    expect(other.first.child.exitCode).toBeNull();
    expect(remote.child.exitCode).toBeNull();
    const { spool } = await first.status();
    expect(spool.bytes).toBeLessThanOrEqual(17 * MiB);
    expect(residentMiB(first.pid)).toBeLessThan(400);
    // One that cannot wait is told, and nothing of it was promised.
    const late = await first.run(['put', '-', at('late'), '--timeout', '500ms'], { input: large });
    expect(late.status, late.stderr).toBe(75);

    await last.start();
    expect(await other.first.result).toMatchObject({ status: 0, stderr: '' });
    expect(await remote.result).toMatchObject({ status: 0, stderr: '' });
    await ok(first, 'push');
    for (const name of ['one', 'two']) {
      expect(readFileSync(join(last.exportDirectory, name)).equals(large), name).toBe(true);
    }
    const after = await first.status();
    expect(after.spool).toMatchObject({ operations: 0, bytes: 0, state: 'ok' });
    if (existsSync(join(last.exportDirectory, 'late'))) {
      expect(statSync(join(last.exportDirectory, 'late')).size).toBeLessThan(large.length);
    }
  });

  const fillers = [
    ['of bytes', 'size=48m', 48],
    ['of files', 'size=512m,nr_inodes=40', 8],
  ] as const;
  test.skipIf(!isRoot).each(fillers)(
    'on a disk that is full %s is the same to its clients',
    async (what, options, sizeMiB) => {
      cluster = new Cluster();
      const last = cluster.add({ name: 'last', exports: true });
      await last.start();
      const disk = join(cluster.directory, 'first');
      if (!mountSmall(disk, options)) return;
      const first = cluster.add({ name: 'first', routes: [`last=${last.address}`] });
      await first.start();
      await last.stop();
      await put(first, 'small', 'before');
      const fillers = what === 'of files' ? fillWithFiles(disk) : [];
      const large = randomBytes(sizeMiB * MiB);
      const near = first.begin(['put', '-', at('one')], { input: large });
      const tcp = ['put', '-', at('two'), '--server', first.address];
      const far = first.begin(tcp, { input: large });
      await until('the spool to be full', 20_000, async () => {
        const { spool } = await first.status();
        return spool.state === 'full' && spool.reason === 'its disk is full';
      });
      await pause(2_000);
      expect([near.child.exitCode, far.child.exitCode], first.tail()).toEqual([null, null]);
      expect(first.isRunning, first.tail()).toBe(true);
      for (const path of fillers) unlinkSync(path);
      await last.start();
      expect(await near.result, first.tail()).toMatchObject({ status: 0, stderr: '' });
      expect(await far.result, first.tail()).toMatchObject({ status: 0, stderr: '' });
      await ok(first, 'push');
      for (const name of ['one', 'two']) {
        expect(readFileSync(join(last.exportDirectory, name)).equals(large), name).toBe(true);
      }
    },
  );
  if (!isRoot) console.log('skipped: a full disk needs root, to mount a small one');
});

describe('a spool whose disk is gone for a while', () => {
  test.each(['near', 'far'])('is waited for by the client that writes, %s', async (where) => {
    const [first, last] = await oneHop();
    const server = where === 'near' ? first.socket : first.address;
    const client = await connect({ server, reconnectMs: 60_000 });
    try {
      const segments = join(first.spool, 'segments');
      renameSync(segments, `${segments} taken away`);
      const large = randomBytes(3 * MiB);
      const written = client.write(at('large'), 0, large).then(() => client.commit());
      await until('the server to end', 20_000, () => !first.isRunning);
      expect(first.log).toContain('[first ended: 75]');
      renameSync(`${segments} taken away`, segments);
      await first.start();
      await written;
      await client.push(at('large'));
      expect(readFileSync(join(last.exportDirectory, 'large')).equals(large)).toBe(true);
    } finally {
      await client.close();
    }
  });
});

/** Until no file can be made there any more. */
function fillWithFiles(disk: string): string[] {
  const made: string[] = [];
  for (let i = 0; i < 10_000; i++) {
    const path = join(disk, `filler${i}`);
    try {
      writeFileSync(path, '');
    } catch {
      return made;
    }
    made.push(path);
  }
  throw new Error('the disk takes any number of files');
}
