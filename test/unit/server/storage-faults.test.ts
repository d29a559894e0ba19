/**
 * The export directory when the machine does not play along: no permission, full and read-only file
 * systems, pipes and devices under a file's name, links swapped in while an operation runs.
 */
import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { FLAGS } from '../../../src/protocol/operation.ts';
import { openLocalStorage, type LocalStorage } from '../../../src/server/storage-local.ts';
import { create, errnoFrom, mkdir, remove, rename, write } from '../../conformance/operations.ts';
import { runChild, stripSources, whyNot, type ChildResult } from './storage-child.ts';

const nobody = 65534;
const isRoot = process.geteuid?.() === 0;
const noMounts = whyNot('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']);
if (noMounts !== null) console.info(`storage-faults: file systems skipped: ${noMounts}`);
if (native === null) console.info(`storage-faults: addon skipped: ${addonReason}`);

let scratch: string;
beforeAll(() => {
  scratch = fs.mkdtempSync(join(tmpdir(), 'kangaroo-faults-'));
  fs.chmodSync(scratch, 0o755);
  stripSources(join(scratch, 'stripped'));
});
afterAll(() => {
  fs.rmSync(scratch, { recursive: true, force: true });
});

/** As an account that may not do everything. Synchronous, so that nobody else runs as it. */
function unprivileged<T>(call: () => T): T {
  if (!isRoot) return call();
  process.seteuid?.(nobody);
  try {
    return call();
  } finally {
    process.seteuid?.(0);
  }
}

describe.each(native === null ? [false] : [true, false])('addon %s', (withAddon) => {
  let directory: string;
  let storage: LocalStorage;
  beforeEach(() => {
    directory = fs.mkdtempSync(join(scratch, 'export-'));
    if (isRoot) fs.chownSync(directory, nobody, nobody);
    storage = openLocalStorage(directory, withAddon ? native : null);
  });
  afterEach(() => {
    storage.close();
    fs.rmSync(directory, { recursive: true, force: true });
  });
  const at = (path: string): string => join(directory, path);
  const apply = (...args: Parameters<LocalStorage['apply']>): string => {
    return unprivileged(() => errnoFrom(() => storage.apply(...args)));
  };
  const bytes = Buffer.from('bytes');
  const next = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  test('no permission is EACCES, and nothing is changed', async () => {
    for (const op of [mkdir('d'), mkdir('e')]) expect(apply(op, null)).toBe('');
    expect(apply(create('d/f'), bytes)).toBe('');
    expect(apply(create('e/g'), bytes)).toBe('');
    await next();
    fs.chmodSync(at('d'), 0o500);
    fs.chmodSync(at('e'), 0);
    for (const op of [mkdir('d/x'), remove('d/f'), rename('d/f', 'x'), rename('e/g', 'x')]) {
      expect(apply(op, null)).toBe('EACCES');
    }
    for (const op of [create('d/x'), create('e/x'), create('e/g'), write('e/g')]) {
      expect(apply(op, bytes)).toBe('EACCES');
    }
    expect(fs.readdirSync(at('d'))).toEqual(['f']);
    expect(fs.readdirSync(at('e'))).toEqual(['g']);
  });

  test('a read-only file of our own is written and keeps its mode', async () => {
    const flags = FLAGS.MODE;
    expect(apply(create('f', { flags, mode: 0o400 }), Buffer.from('one'))).toBe('');
    for (const mode of [0o444, 0]) {
      await next();
      fs.chmodSync(at('f'), mode);
      expect(apply(write('f', { offset: 3 }), Buffer.from('two'))).toBe('');
      expect(apply(write('f', { flags: FLAGS.MTIME, mtimeNs: 9_000_000_000n }), null)).toBe('');
      expect(fs.statSync(at('f'))).toMatchObject({ size: 6, mtimeMs: 9000 });
      expect(fs.statSync(at('f')).mode & 0o777).toBe(mode);
      expect(apply(create('f', { flags, mode }), Buffer.from('one'))).toBe('');
    }
  });

  test.skipIf(!isRoot)('a file of somebody else is theirs (root makes it)', () => {
    fs.writeFileSync(at('f'), 'theirs', { mode: 0o444 });
    expect(apply(write('f'), bytes)).toBe('EACCES');
    expect(apply(create('f'), bytes)).toBe('EACCES');
    expect(apply(write('f', { flags: FLAGS.MODE, mode: 0o666 }), null)).toBe('EPERM');
    expect(fs.readFileSync(at('f'), 'utf8')).toBe('theirs');
  });

  test('what cannot be changed is EPERM', ({ skip }) => {
    fs.writeFileSync(at('f'), 'fixed');
    const made = spawnSync('chattr', ['+i', at('f')], { encoding: 'utf8' });
    if (made.status !== 0) skip(`no immutable files here: ${made.stderr}`);
    try {
      const call = (op: ReturnType<typeof write>, payload: Buffer | null): string => {
        return errnoFrom(() => storage.apply(op, payload));
      };
      expect(call(write('f'), bytes)).toMatch(/EPERM|EACCES/);
      expect(call(remove('f'), null)).toBe('EPERM');
      expect(call(rename('f', 'g'), null)).toBe('EPERM');
    } finally {
      spawnSync('chattr', ['-i', at('f')]);
    }
    expect(fs.readFileSync(at('f'), 'utf8')).toBe('fixed');
  });

  test('pipes and sockets are refused without waiting, also while somebody reads', async () => {
    expect(spawnSync('mkfifo', [at('pipe')]).status).toBe(0);
    fs.chmodSync(at('pipe'), 0o666);
    const socket = createServer().listen(at('socket'));
    await new Promise((resolve) => socket.once('listening', resolve));
    fs.chmodSync(at('socket'), 0o777);
    const refused = /^(EINVAL|ENXIO)$/;
    const attributes = write('pipe', { flags: FLAGS.MODE, mode: 0o600 });
    const reader = fs.openSync(at('pipe'), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    for (const path of ['pipe', 'socket']) {
      expect(apply(write(path), bytes)).toMatch(refused);
      expect(apply(create(path), bytes)).toMatch(refused);
      expect(errnoFrom(() => void storage.openForBulk(create(path)))).toMatch(refused);
    }
    fs.closeSync(reader);
    expect(apply(write('pipe'), bytes)).toMatch(refused);
    expect(errnoFrom(() => storage.apply(attributes, null))).toMatch(refused);
    await expect(storage.read('pipe', 0, 1)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(storage.stat('pipe')?.kind).toBe(4);
    await new Promise((resolve) => socket.close(resolve));
  });

  test('devices are refused', ({ skip }) => {
    const made = spawnSync('mknod', [at('null'), 'c', '1', '3'], { encoding: 'utf8' });
    if (made.status !== 0) skip(`no device nodes here: ${made.stderr}`);
    expect(errnoFrom(() => storage.apply(write('null'), bytes))).toBe('EINVAL');
    const op = write('null', { flags: FLAGS.MODE, mode: 0o600 });
    expect(errnoFrom(() => storage.apply(op, null))).toBe('EINVAL');
  });

  test('a file larger than the limit is EFBIG', () => {
    const op = write('f', { flags: FLAGS.CREATE | FLAGS.TRUNCATE, size: Number.MAX_SAFE_INTEGER });
    expect(apply(op, null)).toMatch(/EFBIG|EINVAL/);
    expect(apply(write('f', { offset: Number.MAX_SAFE_INTEGER - 8 }), bytes)).toBe('EFBIG');
  });

  test('a directory that turns into a link out again and again is no way out', async () => {
    const outside = fs.mkdtempSync(join(scratch, 'outside-'));
    fs.chmodSync(outside, 0o777);
    fs.writeFileSync(join(outside, 'f'), 'outside');
    fs.mkdirSync(at('d'), { mode: 0o777 });
    if (isRoot) fs.chownSync(at('d'), nobody, nobody);
    const [real, link] = [at('d.real'), at('d.link')];
    fs.symlinkSync(outside, link);
    // Nothing below makes `d` itself, so that the four steps always go on.
    const swap = `
      const { renameSync } = require('node:fs');
      const [d, real, link] = process.argv.slice(1);
      for (;;) {
        renameSync(d, real);
        renameSync(link, d);
        renameSync(d, link);
        renameSync(real, d);
      }`;
    const child = spawn(process.execPath, ['-e', swap, at('d'), real, link], { stdio: 'ignore' });
    const outcomes = new Map<string, number>();
    const untilMs = Date.now() + 1500;
    for (let i = 0; Date.now() < untilMs; i++) {
      for (const op of [
        create('d/f'),
        write('d/f', { offset: 1 }),
        create(`d/g${i % 9}`),
        mkdir(`d/sub${i % 9}`),
        create(`d/sub${i % 9}/deep`),
        rename(`d/g${i % 9}`, 'd/h'),
        remove('d/h'),
        write('d/f', { flags: FLAGS.MODE, mode: 0o666 }),
      ]) {
        const hasPayload = op.kind === 1 && op.flags !== FLAGS.MODE;
        const errno = errnoFrom(() => storage.apply(op, hasPayload ? bytes : null));
        outcomes.set(errno, (outcomes.get(errno) ?? 0) + 1);
      }
      await next();
    }
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    expect(fs.readdirSync(outside)).toEqual(['f']);
    expect(fs.readFileSync(join(outside, 'f'), 'utf8')).toBe('outside');
    expect(fs.statSync(join(outside, 'f')).mode & 0o777).toBe(0o666 & ~process.umask() & 0o777);
    // Both sides of the race were met; otherwise this has shown nothing.
    expect(outcomes.get('')).toBeGreaterThan(20);
    expect((outcomes.get('ELOOP') ?? 0) + (outcomes.get('EXDEV') ?? 0)).toBeGreaterThan(0);
  });

  describe.skipIf(noMounts !== null)('on a file system of its own', () => {
    function mounted(mount: string, lines: string): ChildResult {
      const own = fs.mkdtempSync(join(scratch, 'mounted-'));
      const result = runChild({
        stripped: join(scratch, 'stripped'),
        directory: own,
        withAddon,
        before: ['unshare', '-rm', 'sh', '-ec', `at='${own}'; ${mount}; exec "$@"`, 'sh'],
        lines,
      });
      expect(result, result.errors).toMatchObject({ status: 0, errors: '' });
      return result;
    }

    test('a full disk is ENOSPC; after room is made the same operation passes', () => {
      const { reports } = mounted(
        'mount -t tmpfs -o size=256k none "$at"',
        `
        const storage = open();
        write(storage, 'ballast', 'b'.repeat(150_000));
        const put = (path) => attempt(() => write(storage, path, 'x'.repeat(150_000)));
        report([put('large'), storage.stat('large').size <= 150_000]);
        const small = (path) => attempt(() => write(storage, path, 'x'.repeat(60_000)));
        report([small('s1'), small('s2')]);
        report(storage.freeBytes() < 60_000);
        storage.apply(op(KIND.remove, 'ballast'), null);
        const again = put('large');
        report([again, fs.readFileSync(directory + '/large').equals(Buffer.alloc(150_000, 'x'))]);
        report(await outcome(storage.sync()));
      `,
      );
      expect(reports).toEqual([
        ['ENOSPC', true],
        ['ENOSPC', 'ENOSPC'],
        true,
        ['good', true],
        'good',
      ]);
    });

    test('no inodes left is ENOSPC', () => {
      const { reports } = mounted(
        'mount -t tmpfs -o size=1m,nr_inodes=5 none "$at"',
        `
        const storage = open();
        const codes = new Set();
        for (let i = 0; i < 9; i++) codes.add(attempt(() => write(storage, 'f' + i, 'x')));
        codes.add(attempt(() => storage.apply(op(KIND.mkdir, 'd'), null)));
        report([...codes]);
      `,
      );
      expect(reports).toEqual([['good', 'ENOSPC']]);
    });

    test('a read-only file system is EROFS', () => {
      const { reports } = mounted(
        'mount -t tmpfs none "$at"; echo old >"$at/f"; mount -o remount,ro "$at"',
        `
        const storage = open();
        report([
          attempt(() => write(storage, 'new', 'x')),
          attempt(() => storage.apply(op(KIND.mkdir, 'd'), null)),
          attempt(() => storage.apply(op(KIND.remove, 'f'), null)),
          attempt(() => storage.apply(op(KIND.rename, 'f', { path2: 'g' }), null)),
        ]);
      `,
      );
      expect(reports).toEqual([['EROFS', 'EROFS', 'EROFS', 'EROFS']]);
    });

    test('file systems mounted below are reached, and a rename between them is EXDEV', () => {
      const { reports } = mounted(
        'cd "$at"; mkdir a b; mount -t tmpfs none a; mount -t tmpfs none b',
        `
        const storage = open();
        write(storage, 'a/f', 'x');
        write(storage, 'b/f', 'x');
        report(await outcome(storage.sync()));
        report(attempt(() => storage.apply(op(KIND.rename, 'a/f', { path2: 'b/g' }), null)));
        for (const path of ['a/f', 'b/f', 'c']) write(storage, path, 'again');
        report(await outcome(storage.sync()));
      `,
      );
      expect(reports).toEqual(['good', 'EXDEV', 'good']);
    });
  });
});
