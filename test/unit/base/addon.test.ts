/**
 * The addon's synchronous half: the path jail, names and facts of files, the small-file write,
 * space and durability, socket facts. Everything runs against a real temporary directory. The bulk
 * movers have addon-bulk.test.ts; without the addon all of this is skipped, with the reason.
 */

import fs, { constants } from 'node:fs';
import { execFileSync, spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonFlags, addonReason, native } from '../../../src/base/addon.ts';
import type { NativeAddon } from '../../../src/base/addon.ts';
import { descriptorOf, socketPair } from '../../support/socket-pair.ts';

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY, O_NOFOLLOW } = constants;
const addon = native as NativeAddon;
const addonFile = fileURLToPath(
  new URL('../../../native/build/Release/kangaroo.node', import.meta.url),
);

let root: string;
let jail: string;
let dirFd: number;
let opened: number[];

function keep(fd: number): number {
  opened.push(fd);
  return fd;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
  return 'none';
}

beforeEach(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'kg-addon-'));
  jail = join(root, 'jail');
  fs.mkdirSync(jail);
  fs.writeFileSync(join(root, 'secret'), 'outside');
  dirFd = fs.openSync(jail, O_RDONLY | O_DIRECTORY);
  opened = [dirFd];
});

afterEach(() => {
  for (const fd of opened) fs.closeSync(fd);
  fs.rmSync(root, { recursive: true, force: true });
});

describe.skipIf(native === null)(`addon ${addonReason}`, () => {
  describe('openBeneath', () => {
    test('opens and makes files below the directory, by string and by bytes', () => {
      fs.mkdirSync(join(jail, 'a'));
      const name = Buffer.from([0x61, 0x2f, 0xff, 0xfe, 0x78]);
      const fd = keep(addon.openBeneath(dirFd, name, O_RDWR | O_CREAT, 0o640));
      fs.writeSync(fd, 'inside');
      const again = keep(addon.openBeneath(dirFd, name, O_RDONLY));
      expect(fs.readFileSync(again, 'utf8')).toBe('inside');
      expect(keep(addon.openBeneath(dirFd, 'a', O_RDONLY | O_DIRECTORY))).toBeGreaterThan(2);
    });

    test.each([
      ['a parent', '../secret', 'EXDEV'],
      ['a parent by way of a directory', 'a/../../secret', 'EXDEV'],
      ['an absolute path', '/etc/passwd', 'EXDEV'],
      ['a link to an absolute path', 'out-absolute', 'EXDEV'],
      ['a link to a parent', 'out-relative', 'EXDEV'],
      ['a link to a directory outside', 'out-directory/secret', 'EXDEV'],
      ['a magic link', 'self/root/etc/passwd', 'EXDEV'],
      ['an absent file', 'absent/file', 'ENOENT'],
      ['an empty path', '', 'ENOENT'],
    ])('does not leave by %s', (_what, path, code) => {
      fs.mkdirSync(join(jail, 'a'));
      fs.symlinkSync(join(root, 'secret'), join(jail, 'out-absolute'));
      fs.symlinkSync('../secret', join(jail, 'out-relative'));
      fs.symlinkSync('..', join(jail, 'out-directory'));
      fs.symlinkSync('/proc/self', join(jail, 'self'));
      expect(codeOf(() => addon.openBeneath(dirFd, path, O_RDONLY))).toBe(code);
      expect(codeOf(() => addon.openBeneath(dirFd, path, O_WRONLY | O_CREAT, 0o600))).toBe(code);
      expect(fs.readFileSync(join(root, 'secret'), 'utf8')).toBe('outside');
    });

    test('refuses a magic link below the directory itself', () => {
      const proc = keep(fs.openSync('/proc/self', O_RDONLY | O_DIRECTORY));
      expect(codeOf(() => addon.openBeneath(proc, 'exe', O_RDONLY))).toBe('ELOOP');
      expect(codeOf(() => addon.openBeneath(proc, 'cwd/package.json', O_RDONLY))).toBe('ELOOP');
    });

    test('follows a link that stays inside, not with O_NOFOLLOW', () => {
      fs.writeFileSync(join(jail, 'real'), 'x');
      fs.symlinkSync('real', join(jail, 'link'));
      expect(keep(addon.openBeneath(dirFd, 'link', O_RDONLY))).toBeGreaterThan(2);
      expect(codeOf(() => addon.openBeneath(dirFd, 'link', O_RDONLY | O_NOFOLLOW))).toBe('ELOOP');
    });

    test('is not held up by a FIFO without a reader', () => {
      execFileSync('mkfifo', [join(jail, 'fifo')]);
      expect(codeOf(() => addon.openBeneath(dirFd, 'fifo', O_WRONLY))).toBe('ENXIO');
    });

    test('gives a close-on-exec descriptor', () => {
      const fd = keep(addon.openBeneath(dirFd, '.', addonFlags.O_PATH | O_DIRECTORY));
      const flags = /flags:\s+(\d+)/.exec(
        fs.readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'utf8'),
      );
      expect(parseInt(flags?.[1] ?? '', 8) & 0o2000000).toBe(0o2000000);
    });

    test('throws errors of the form of Node', () => {
      let caught: NodeJS.ErrnoException | undefined;
      try {
        addon.openBeneath(dirFd, 'a/b', O_RDONLY);
      } catch (error) {
        caught = error as NodeJS.ErrnoException;
      }
      expect(caught).toBeInstanceOf(Error);
      expect(caught?.message).toBe("ENOENT: no such file or directory, openat2 'a/b'");
      expect(caught).toMatchObject({
        code: 'ENOENT',
        errno: -2,
        syscall: 'openat2',
        path: 'a/b',
      });
    });

    test('refuses arguments of the wrong type', () => {
      const open = addon.openBeneath as unknown as (...values: unknown[]) => number;
      for (const bad of [
        [],
        ['0', 'x', 0],
        [-1, 'x', 0],
        [1.5, 'x', 0],
        [2 ** 40, 'x', 0],
        [NaN, 'x', 0],
        [dirFd, 7, 0],
        [dirFd, 'a\0b', 0],
        [dirFd, Buffer.from([0x61, 0]), 0],
        [dirFd, 'x', -1],
        [dirFd, 'x', '0'],
        [dirFd, 'x', 0, {}],
      ]) {
        expect(() => open(...bad)).toThrow(TypeError);
      }
      expect(codeOf(() => addon.openBeneath(99_999, 'x', O_RDONLY))).toBe('EBADF');
    });
  });

  describe('names relative to a directory', () => {
    const at = (name: string): Buffer => Buffer.from(name);

    test('make, rename, swap and remove', () => {
      addon.mkdirAt(dirFd, at('d'), 0o750);
      addon.mkdirAt(dirFd, 'e', 0o700);
      expect(fs.statSync(join(jail, 'd')).isDirectory()).toBe(true);
      fs.writeFileSync(join(jail, 'f'), 'f');
      fs.writeFileSync(join(jail, 'g'), 'g');
      const noReplace = addonFlags.RENAME_NOREPLACE;
      expect(codeOf(() => addon.renameAt(dirFd, 'f', dirFd, 'g', noReplace))).toBe('EEXIST');
      addon.renameAt(dirFd, at('f'), dirFd, at('g'), addonFlags.RENAME_EXCHANGE);
      expect(fs.readFileSync(join(jail, 'f'), 'utf8')).toBe('g');
      addon.renameAt(dirFd, 'f', dirFd, 'g');
      expect(fs.readFileSync(join(jail, 'g'), 'utf8')).toBe('g');
      expect(codeOf(() => addon.unlinkAt(dirFd, 'd', false))).toMatch(/EISDIR|EPERM/);
      addon.unlinkAt(dirFd, 'd', true);
      addon.unlinkAt(dirFd, 'g', false);
      expect(fs.readdirSync(jail)).toEqual(['e']);
      expect(codeOf(() => addon.unlinkAt(dirFd, 'g', false))).toBe('ENOENT');
    });

    test('take one component only', () => {
      for (const name of ['', '.', '..', 'a/b', '/', '../secret']) {
        expect(() => addon.mkdirAt(dirFd, name, 0o700)).toThrow(TypeError);
        expect(() => addon.unlinkAt(dirFd, name, false)).toThrow(TypeError);
        expect(() => addon.statAt(dirFd, name)).toThrow(TypeError);
        expect(() => addon.utimensAt(dirFd, name, 0n, 0n)).toThrow(TypeError);
        expect(() => addon.renameAt(dirFd, name, dirFd, 'x')).toThrow(TypeError);
        expect(() => addon.renameAt(dirFd, 'x', dirFd, name)).toThrow(TypeError);
      }
      expect(fs.existsSync(join(root, 'secret'))).toBe(true);
    });

    test('tell the facts as Node does', () => {
      fs.writeFileSync(join(jail, 'f'), 'hello', { mode: 0o640 });
      const expected = fs.statSync(join(jail, 'f'), { bigint: true });
      const facts = addon.statAt(dirFd, 'f');
      expect(facts).toEqual({
        mode: Number(expected.mode),
        size: 5,
        ino: expected.ino,
        dev: expected.dev,
        mtimeNs: expected.mtimeNs,
        atimeNs: expected.atimeNs,
        nlink: 1,
        uid: Number(expected.uid),
        gid: Number(expected.gid),
        blocks: Number(expected.blocks),
      });
      expect(addon.statFd(keep(fs.openSync(join(jail, 'f'), 'r')))).toEqual(facts);
    });

    test('do not follow a link in the last place', () => {
      fs.symlinkSync(join(root, 'secret'), join(jail, 'link'));
      const before = fs.statSync(join(root, 'secret'), { bigint: true }).mtimeNs;
      expect(addon.statAt(dirFd, 'link').mode & constants.S_IFMT).toBe(constants.S_IFLNK);
      addon.utimensAt(dirFd, 'link', null, 1_000_000_001n);
      expect(addon.statAt(dirFd, 'link').mtimeNs).toBe(1_000_000_001n);
      expect(fs.statSync(join(root, 'secret'), { bigint: true }).mtimeNs).toBe(before);
    });
  });

  describe('times and modes by descriptor', () => {
    test('are set to the nanosecond, null leaves one alone, also before 1970', () => {
      fs.writeFileSync(join(jail, 'f'), '');
      const place = keep(addon.openBeneath(dirFd, 'f', addonFlags.O_PATH));
      const file = keep(fs.openSync(join(jail, 'f'), 'r+'));
      for (const fd of [file, place]) {
        addon.utimensFd(fd, 1_700_000_000_123_456_789n, 1_600_000_000_000_000_001n);
        expect(addon.statFd(fd)).toMatchObject({
          atimeNs: 1_700_000_000_123_456_789n,
          mtimeNs: 1_600_000_000_000_000_001n,
        });
        addon.utimensFd(fd, null, -1n);
        expect(addon.statFd(fd)).toMatchObject({
          atimeNs: 1_700_000_000_123_456_789n,
          mtimeNs: -1n,
        });
        addon.chmodFd(fd, 0o4711);
        expect(addon.statFd(fd).mode & 0o7777).toBe(0o4711);
        addon.chmodFd(fd, 0o600);
      }
      expect(codeOf(() => addon.chmodFd(99_999, 0o600))).toBe('EBADF');
      expect(codeOf(() => addon.utimensFd(99_999, 0n, 0n))).toBe('EBADF');
      expect(() => addon.utimensFd(file, 2n ** 64n, null)).toThrow(TypeError);
      expect(() => addon.utimensFd(file, 5 as unknown as bigint, null)).toThrow(TypeError);
    });
  });

  describe('readDirFd', () => {
    test('gives every name once, in parts of any size, and starts again', () => {
      const expected = new Set<string>();
      for (let i = 0; i < 1500; i += 1) {
        const name = `${String(i)}-${'x'.repeat(i % 90)}`;
        fs.writeFileSync(join(jail, name), '');
        expected.add(name);
      }
      const fd = keep(addon.openBeneath(dirFd, '.', O_RDONLY | O_DIRECTORY));
      for (const max of [1, 7, 1000, 5000]) {
        const seen: string[] = [];
        let part = addon.readDirFd(fd, max, true);
        while (part.length > 0) {
          expect(part.length).toBeLessThanOrEqual(max);
          seen.push(...part.map((entry) => entry.name.toString()));
          part = addon.readDirFd(fd, max);
        }
        expect(seen.length).toBe(expected.size);
        expect(new Set(seen)).toEqual(expected);
      }
    });

    test('tells types and keeps names that are not UTF-8', () => {
      fs.mkdirSync(join(jail, 'd'));
      fs.symlinkSync('d', join(jail, 'l'));
      const odd = Buffer.concat([Buffer.from(`${jail}/`), Buffer.from([0xff, 0x80])]);
      fs.writeFileSync(odd, '');
      const entries = addon.readDirFd(dirFd, 10);
      const types = Object.fromEntries(entries.map((e) => [e.name.toString('latin1'), e.type]));
      expect(types).toEqual({ d: 'directory', l: 'symlink', '\xff\x80': 'file' });
      expect(codeOf(() => addon.readDirFd(keep(fs.openSync(odd, 'r')), 10))).toBe('ENOTDIR');
      expect(() => addon.readDirFd(dirFd, 0)).toThrow(TypeError);
    });
  });

  describe('writeWholeAt', () => {
    const create = O_WRONLY | O_CREAT;
    const mtimeNs = 1_234_567_890_123_456_789n;

    test('makes, fills, dates and says so', () => {
      const data = Buffer.from('content');
      const made = addon.writeWholeAt(
        ...([dirFd, 'f', create, 0o600, data, 0, true, mtimeNs, null, 0o666] as const),
      );
      keep(made.fd);
      const facts = fs.statSync(join(jail, 'f'), { bigint: true });
      expect(made).toMatchObject({ created: true, dev: facts.dev, ino: facts.ino });
      expect(facts.mtimeNs).toBe(mtimeNs);
      expect(Number(facts.mode) & 0o777).toBe(0o666);
      expect(fs.readFileSync(join(jail, 'f'), 'utf8')).toBe('content');
    });

    test('need not keep it open, and sets the mode past the umask all the same', () => {
      const before = fs.readdirSync('/proc/self/fd').length;
      const data = Buffer.from('content');
      const umask = process.umask(0o077);
      try {
        for (const [name, mode] of [
          ['plain', 0o600],
          ['shared', 0o664],
          ['closed', 0o444],
        ] as const) {
          const made = addon.writeWholeAt(
            ...([dirFd, name, create | O_EXCL, mode, data, 0, false, mtimeNs, null] as const),
            ...([mode, false] as const),
          );
          expect(made).toBe(undefined);
          const facts = fs.statSync(join(jail, name), { bigint: true });
          expect([Number(facts.mode) & 0o7777, facts.mtimeNs]).toEqual([mode, mtimeNs]);
          expect(fs.readFileSync(join(jail, name), 'utf8')).toBe('content');
        }
      } finally {
        process.umask(umask);
      }
      expect(fs.readdirSync('/proc/self/fd').length).toBe(before);
    });

    test('writes into a file that is there: over it, or emptied first', () => {
      fs.writeFileSync(join(jail, 'f'), 'a longer text');
      const write = (truncate: boolean, offset: number): boolean => {
        const data = Buffer.from('short');
        const name = Buffer.from('f');
        const args = [
          dirFd,
          name,
          create,
          0o600,
          data,
          offset,
          truncate,
          null,
          null,
          null,
        ] as const;
        const result = addon.writeWholeAt(...args);
        keep(result.fd);
        return result.created;
      };
      expect(write(false, 2)).toBe(false);
      expect(fs.readFileSync(join(jail, 'f'), 'utf8')).toBe('a shortr text');
      expect(write(true, 0)).toBe(false);
      expect(fs.readFileSync(join(jail, 'f'), 'utf8')).toBe('short');
    });

    test('names the call that failed and keeps no descriptor', () => {
      const descriptors = (): number => fs.readdirSync('/proc/self/fd').length;
      fs.mkdirSync(join(jail, 'd'));
      fs.writeFileSync(join(jail, 'f'), '');
      fs.symlinkSync('../secret', join(jail, 'out'));
      fs.symlinkSync('new', join(jail, 'dangling'));
      execFileSync('mkfifo', [join(jail, 'fifo')]);
      const before = descriptors();
      const data = Buffer.from('x');
      const write = (path: string, flags: number, truncate = false): unknown =>
        addon.writeWholeAt(dirFd, path, flags, 0o600, data, 0, truncate, null, null, null);
      expect(codeOf(() => write('d', create))).toBe('EISDIR');
      expect(codeOf(() => write('out', create))).toBe('EXDEV');
      expect(codeOf(() => write('no/f', create))).toBe('ENOENT');
      expect(codeOf(() => write('absent', O_WRONLY))).toBe('ENOENT');
      expect(codeOf(() => write('f', create | O_EXCL))).toBe('EEXIST');
      expect(codeOf(() => write('fifo', O_RDWR))).toBe('EINVAL');
      expect(() => write('f', O_RDONLY)).toThrow(/^EBADF: bad file descriptor, pwrite 'f'$/);
      expect(descriptors()).toBe(before);
      expect(fs.readFileSync(join(root, 'secret'), 'utf8')).toBe('outside');
      keep((write('dangling', create) as { fd: number }).fd);
      expect(fs.readFileSync(join(jail, 'new'), 'utf8')).toBe('x');
    });
  });

  describe('space and durability', () => {
    test('fallocate keeps the size and punches holes', () => {
      const { FALLOC_FL_KEEP_SIZE: keepSize, FALLOC_FL_PUNCH_HOLE: punch } = addonFlags;
      const fd = keep(fs.openSync(join(jail, 'f'), 'w+'));
      addon.fallocate(fd, keepSize, 0, 1 << 20);
      expect(addon.statFd(fd)).toMatchObject({ size: 0 });
      expect(addon.statFd(fd).blocks * 512).toBeGreaterThanOrEqual(1 << 20);
      fs.writeSync(fd, Buffer.alloc(1 << 20, 1));
      addon.fallocate(fd, keepSize | punch, 0, 1 << 20);
      expect(addon.statFd(fd)).toMatchObject({ size: 1 << 20, blocks: 0 });
      expect(codeOf(() => addon.fallocate(fd, 0, 0, 0))).toBe('EINVAL');
    });

    test('syncFileRange and syncFs', async () => {
      const fd = keep(fs.openSync(join(jail, 'f'), 'w+'));
      fs.writeSync(fd, Buffer.alloc(1 << 16, 1));
      addon.syncFileRange(fd, 0, 1 << 16, addonFlags.SYNC_FILE_RANGE_WRITE);
      expect(codeOf(() => addon.syncFileRange(99_999, 0, 1, 2))).toBe('EBADF');
      await addon.syncFs(fd);
      await expect(addon.syncFs(99_999)).rejects.toMatchObject({ code: 'EBADF', errno: -9 });
      expect(() => addon.syncFs('1' as unknown as number)).toThrow(TypeError);
    });
  });

  test('a large block is mapped by itself, whatever was freed before', { timeout: 60_000 }, () => {
    // glibc takes the largest block freed so far as the size from which on it maps.
    const program = `
      const addon = require(process.argv[1]);
      const { readFileSync } = require('node:fs');
      if (process.argv[2] === 'mapped') addon.mapLargeFrom(1 << 20);
      const heapBytes = () => {
        const [, from, to] = /^(\\w+)-(\\w+) .*\\[heap\\]$/m.exec(readFileSync('/proc/self/maps'));
        return parseInt(to, 16) - parseInt(from, 16);
      };
      new ArrayBuffer(24 << 20);
      gc();
      const before = heapBytes();
      const kept = [];
      // The 24 MiB are freed by another thread, at some time.
      const timer = setInterval(() => {
        gc();
        kept.push(new ArrayBuffer(16 << 20));
        const grown = heapBytes() - before >= kept[0].byteLength;
        if (!grown && kept.length < (process.argv[2] === 'mapped' ? 20 : 400)) return;
        clearInterval(timer);
        console.log(grown);
      }, 50);
    `;
    const grows = ['left', 'mapped'].map((how) => {
      const argv = ['--expose-gc', '-e', program, addonFile, how];
      const ended = spawnSync(process.execPath, argv, { encoding: 'utf8' });
      expect(ended.stderr).toBe('');
      return ended.stdout;
    });
    expect(grows).toEqual(['true\n', 'false\n']);
    expect(() => addon.mapLargeFrom(-1)).toThrow(TypeError);
  });

  describe('sockets', () => {
    test('tell who is at the other end of a Unix socket', async () => {
      const pair = await socketPair('unix');
      expect(addon.peerCredentials(descriptorOf(pair.far))).toEqual({
        pid: process.pid,
        uid: process.getuid?.(),
        gid: process.getgid?.(),
      });
      const fd = descriptorOf(pair.far);
      expect(codeOf(() => addon.setSocketOption(fd, 'no-delay', 1))).toMatch(/ENOTSUP|ENOPROTOOPT/);
      pair.close();
    });

    test('have options, and no credentials over TCP', async () => {
      const pair = await socketPair('tcp');
      const fd = descriptorOf(pair.far);
      expect(codeOf(() => addon.peerCredentials(fd))).toMatch(/EOPNOTSUPP|ENOTSUP/);
      for (const option of ['notsent-lowat', 'user-timeout-ms', 'send-buffer'] as const) {
        addon.setSocketOption(fd, option, 65_536);
      }
      addon.setSocketOption(fd, 'receive-buffer', 65_536);
      addon.setSocketOption(fd, 'no-delay', 1);
      const set = addon.setSocketOption as unknown as (...values: unknown[]) => void;
      expect(() => set(fd, 'colour', 1)).toThrow(TypeError);
      expect(() => set(fd, 'no-delay', 'yes')).toThrow(TypeError);
      expect(codeOf(() => addon.peerCredentials(dirFd))).toBe('ENOTSOCK');
      pair.close();
    });
  });
});

describe.skipIf(native !== null)('without the addon', () => {
  test('says why it is not there', () => {
    expect(addonReason).not.toBe('');
  });
});
