/**
 * What every storage of a destination must do: the promises of src/server/storage.ts, one by one,
 * then at random against plain file calls.
 *
 * A test file calls `storageConformance` for each implementation. It looks at the result through
 * `directory`, the export directory on local disk, so that an implementation cannot confirm itself.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FOUND_KIND } from '../../src/protocol/messages.ts';
import { FLAGS, KIND, type Operation } from '../../src/protocol/operation.ts';
import type { Storage } from '../../src/server/storage.ts';
import { create, errnoFrom, mkdir, remove, rename, scratch, write } from './operations.ts';
import { storageJail } from './storage-jail.ts';
import { storageAtRandom } from './storage-random.ts';

export interface StorageTraits {
  /** Are symbolic links followed that stay below the export directory? */
  readonly followsLinks: boolean;
  /** How far a file's time may be off, in nanoseconds. */
  readonly timesWithinNs: bigint;
}

const next = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function storageConformance(
  label: string,
  open: (directory: string) => Storage,
  traits: StorageTraits,
): void {
  describe(label, () => {
    let directory: string;
    let storage: Storage;

    beforeEach(() => {
      directory = fs.mkdtempSync(join(scratch, 'kangaroo-storage-'));
      storage = open(directory);
    });
    afterEach(() => {
      storage.close();
      fs.rmSync(directory, { recursive: true, force: true });
    });

    const at = (path: string): string => join(directory, path);
    const text = (path: string): string => fs.readFileSync(at(path), 'latin1');
    const apply = (op: Operation, payload: string | null = null): void => {
      storage.apply(op, payload === null ? null : Buffer.from(payload, 'latin1'));
    };
    const permissions = (path: string): number => fs.lstatSync(at(path)).mode & 0o7777;
    const umask = process.umask();

    describe('write', () => {
      test('creates a file with its payload, 0666 less the umask', () => {
        apply(create('a'), 'hello');
        expect(text('a')).toBe('hello');
        expect(permissions('a')).toBe(0o666 & ~umask);
      });

      test('a program that was written can be run once it is synced', async () => {
        const program = fs.readFileSync('/bin/true').toString('latin1');
        // In two parts: what is written again stays open for what may follow.
        const half = program.length >> 1;
        const executable = { flags: FLAGS.CREATE | FLAGS.MODE, mode: 0o755 };
        apply(create('program', executable), program.slice(0, half));
        apply(write('program', { offset: half }), program.slice(half));
        await storage.sync();
        expect(spawnSync(at('program')).status).toBe(0);
      });

      test('without CREATE an absent file is ENOENT and is not made', () => {
        expect(errnoFrom(() => apply(write('a'), 'x'))).toBe('ENOENT');
        expect(errnoFrom(() => apply(write('a', { flags: FLAGS.MODE, mode: 0o600 })))).toBe(
          'ENOENT',
        );
        expect(fs.readdirSync(directory)).toEqual([]);
      });

      test('puts the payload at its offset, a hole before it', () => {
        apply(write('a', { flags: FLAGS.CREATE, offset: 3 }), 'xy');
        apply(write('a', { offset: 7 }), 'z');
        expect(text('a')).toBe('\0\0\0xy\0\0z');
      });

      test('empties only with TRUNCATE, and extends to the size', () => {
        apply(create('a'), 'long content');
        apply(write('a', { flags: FLAGS.CREATE }), 'LONG');
        expect(text('a')).toBe('LONG content');
        apply(write('a', { flags: FLAGS.TRUNCATE, size: 6 }));
        expect(text('a')).toBe('LONG c');
        apply(write('a', { flags: FLAGS.TRUNCATE, size: 8 }));
        expect(text('a')).toBe('LONG c\0\0');
      });

      test.each([
        { size: 0, offset: 0, result: 'new' },
        { size: 0, offset: 2, result: '\0\0new' },
        { size: 4, offset: 2, result: '01new' },
        { size: 2, offset: 2, result: '01new' },
        { size: 8, offset: 2, result: '01new567' },
        { size: 1, offset: 3, result: '0\0\0new' },
      ])('truncates to $size, then writes at $offset', ({ size, offset, result }) => {
        apply(create('a'), '0123456789');
        const op = write('a', { flags: FLAGS.TRUNCATE, size, offset });
        apply(op, 'new');
        expect(text('a')).toBe(result);
        apply(op, 'new');
        expect(text('a').length).toBe(result.length);
      });

      test('truncates a new file to more than its payload', () => {
        apply(create('a', { size: 6, offset: 1 }), 'xy');
        expect(text('a')).toBe('\0xy\0\0\0');
      });

      test('makes an empty file, and takes large payloads', () => {
        apply(create('empty'));
        expect(fs.statSync(at('empty')).size).toBe(0);
        const large = 'abcdefgh'.repeat(1 << 17);
        apply(create('large'), large);
        expect(text('large')).toBe(large);
      });

      test('takes any byte but NUL and / in a name', () => {
        const name = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1))
          .filter((c) => c !== '/')
          .join('');
        apply(create(name), 'x');
        const names = fs.readdirSync(directory, { encoding: 'latin1' });
        expect(names).toEqual([name]);
        expect(storage.stat(name)?.size).toBe(1);
      });

      test('sets mode and times after the payload, of old and new files', () => {
        const flags = FLAGS.MODE | FLAGS.MTIME | FLAGS.ATIME;
        const mtimeNs = 1_234_567_890_123_456_789n;
        const atimeNs = 1_000_000_000_987_654_321n;
        for (const payload of ['new', 'again']) {
          apply(create('a', { flags, mode: 0o640, mtimeNs, atimeNs }), payload);
          expect(text('a')).toBe(payload);
        }
        expect(permissions('a')).toBe(0o640);
        apply(write('a', { flags, mode: 0o604, mtimeNs, atimeNs }));
        expect(permissions('a')).toBe(0o604);
        expect(storage.stat('a')?.mode).toBe(0o604);
        const found = fs.statSync(at('a'), { bigint: true });
        expect(Number(found.mtimeNs - mtimeNs)).toBeWithin(traits.timesWithinNs);
        expect(Number(found.atimeNs - atimeNs)).toBeWithin(traits.timesWithinNs);
      });

      test('one time alone leaves the other', () => {
        apply(create('a', { flags: FLAGS.ATIME, atimeNs: 5_000_000_000n }), 'x');
        apply(write('a', { flags: FLAGS.MTIME, mtimeNs: 7_000_000_000n }));
        const found = fs.statSync(at('a'));
        expect([found.atimeMs, found.mtimeMs]).toEqual([5000, 7000]);
      });

      test('takes times before 1970 and after 2106', () => {
        for (const mtimeNs of [-86_400_000_000_000n, 5_000_000_000_000_000_000n]) {
          apply(create('a', { flags: FLAGS.MTIME, mtimeNs }), 'x');
          expect(fs.statSync(at('a'), { bigint: true }).mtimeNs).toBe(mtimeNs);
        }
      });

      test('never gives set-id bits, and takes them from what it writes', () => {
        apply(create('a', { flags: FLAGS.MODE, mode: 0o6755 }), 'x');
        expect(permissions('a')).toBe(0o755);
        apply(write('a', { flags: FLAGS.MODE, mode: 0o7711 }));
        expect(permissions('a')).toBe(0o711);
        fs.writeFileSync(at('program'), 'old');
        fs.chmodSync(at('program'), 0o6755);
        apply(write('program'), 'new');
        expect(permissions('program')).toBe(0o755);
      });

      test('sets mode and times of a directory and keeps its group bit', () => {
        fs.mkdirSync(at('d'));
        fs.chmodSync(at('d'), 0o2775);
        const flags = FLAGS.MODE | FLAGS.MTIME;
        apply(write('d', { flags, mode: 0o750, mtimeNs: 1_000_000_000n }));
        expect(permissions('d')).toBe(0o2750);
        expect(fs.statSync(at('d')).mtimeMs).toBe(1000);
        apply(write('', { flags, mode: 0o711, mtimeNs: 2_000_000_000n }));
        expect(permissions('')).toBe(0o711);
      });

      test('of a directory the payload is EISDIR', () => {
        fs.mkdirSync(at('d'));
        for (const path of ['d', '']) {
          expect(errnoFrom(() => apply(write(path), 'x'))).toBe('EISDIR');
          expect(errnoFrom(() => apply(create(path), 'x'))).toBe('EISDIR');
        }
      });

      test('goes on in a file whose mode says read-only', () => {
        apply(create('a', { flags: FLAGS.MODE, mode: 0o444 }), 'abc');
        apply(write('a', { offset: 3 }), 'def');
        apply(create('a', { flags: FLAGS.MODE, mode: 0o444 }), 'xyz');
        expect(text('a')).toBe('xyz');
        expect(permissions('a')).toBe(0o444);
      });

      test('follows what others do to the name between two turns', async () => {
        apply(create('a'), 'first');
        apply(write('a', { offset: 5 }), '!');
        fs.renameSync(at('a'), at('moved'));
        fs.writeFileSync(at('a'), 'other');
        await next();
        apply(write('a'), 'X');
        expect([text('a'), text('moved')]).toEqual(['Xther', 'first!']);
        fs.unlinkSync(at('a'));
        await next();
        expect(errnoFrom(() => apply(write('a'), 'x'))).toBe('ENOENT');
      });

      test('follows a directory that others replace between two turns', async () => {
        apply(create('d/a', { flags: FLAGS.PARENTS }), '1');
        fs.renameSync(at('d'), at('old'));
        await next();
        apply(create('d/b', { flags: FLAGS.PARENTS }), '2');
        expect(fs.readdirSync(at('d'))).toEqual(['b']);
        expect(fs.readdirSync(at('old'))).toEqual(['a']);
      });

      test('keeps far more files apart than it can have open', async () => {
        for (let round = 0; round < 2; round++) {
          for (let i = 0; i < 700; i++) {
            apply(write(`f${i}`, { flags: FLAGS.CREATE, offset: round }), String(i % 10));
          }
          await next();
        }
        for (let i = 0; i < 700; i++) expect(text(`f${i}`)).toBe(String(i % 10).repeat(2));
        expect(fs.readdirSync('/proc/self/fd').length).toBeLessThan(400);
      });
    });

    describe('names', () => {
      test('PARENTS makes what is missing, and only then', () => {
        expect(errnoFrom(() => apply(create('a/b/c'), 'x'))).toBe('ENOENT');
        expect(errnoFrom(() => apply(mkdir('a/b')))).toBe('ENOENT');
        apply(create('a/b/c', { flags: FLAGS.PARENTS }), 'x');
        expect(text('a/b/c')).toBe('x');
        expect(permissions('a/b')).toBe(0o777 & ~umask);
        apply(mkdir('p/q/r', { flags: FLAGS.PARENTS }));
        apply(rename('a/b/c', 'p/s/t', { flags: FLAGS.PARENTS }));
        expect(text('p/s/t')).toBe('x');
      });

      test('PARENTS goes as deep as a path can be', () => {
        const path = 'd/'.repeat(1500) + 'f';
        apply(create(path, { flags: FLAGS.PARENTS }), 'deep');
        expect(storage.stat(path)?.size).toBe(4);
      });

      test('mkdir makes a directory; one that exists is made', () => {
        apply(mkdir('d'));
        expect(permissions('d')).toBe(0o777 & ~umask);
        apply(create('d/f'), 'x');
        apply(mkdir('d', { flags: FLAGS.MODE, mode: 0o7700 }));
        expect(permissions('d')).toBe(0o700);
        expect(text('d/f')).toBe('x');
        expect(errnoFrom(() => apply(mkdir('d/f')))).toBe('EEXIST');
        expect(errnoFrom(() => apply(mkdir('d/f/g')))).toBe('ENOTDIR');
      });

      test('rename replaces files and empty directories, as rename(2)', () => {
        apply(create('a'), 'new');
        apply(create('b'), 'old');
        apply(rename('a', 'b'));
        expect([text('b'), fs.existsSync(at('a'))]).toEqual(['new', false]);
        apply(mkdir('d'));
        apply(create('e/f', { flags: FLAGS.PARENTS }), 'x');
        expect(errnoFrom(() => apply(rename('b', 'd')))).toBe('EISDIR');
        expect(errnoFrom(() => apply(rename('d', 'b')))).toBe('ENOTDIR');
        expect(errnoFrom(() => apply(rename('d', 'e')))).toMatch(/ENOTEMPTY|EEXIST/);
        expect(errnoFrom(() => apply(rename('e', 'e/g')))).toBe('EINVAL');
        apply(rename('e', 'd'));
        expect(text('d/f')).toBe('x');
      });

      test('a rename whose source is gone is ENOENT; identity tells whether it was done', () => {
        apply(create('a'), 'x');
        const before = storage.identity('a');
        apply(rename('a', 'b'));
        expect(errnoFrom(() => apply(rename('a', 'b')))).toBe('ENOENT');
        expect(storage.identity('a')).toBeNull();
        expect(storage.identity('b')).toEqual(before);
        const { dev, ino } = fs.statSync(at('b'), { bigint: true });
        expect(before).toEqual({ dev, ino });
      });

      test('writes go where a renamed file or directory went', () => {
        apply(create('d/a', { flags: FLAGS.PARENTS }));
        apply(write('d/a'), 'one');
        apply(rename('d/a', 'd/b'));
        expect(errnoFrom(() => apply(write('d/a'), 'x'))).toBe('ENOENT');
        apply(write('d/b', { offset: 3 }), 'two');
        apply(rename('d', 'e'));
        expect(errnoFrom(() => apply(write('d/b'), 'x'))).toBe('ENOENT');
        apply(write('e/b', { offset: 6 }), 'three');
        expect(text('e/b')).toBe('onetwothree');
      });

      test('a new file under an old name is not the old file', () => {
        apply(create('a'));
        apply(write('a'), 'one');
        apply(create('b'));
        apply(write('b'), 'two');
        apply(rename('a', 'b'));
        apply(write('a', { flags: FLAGS.CREATE }), 'new');
        apply(write('b', { offset: 3 }), '+');
        expect([text('a'), text('b')]).toEqual(['new', 'one+']);
        apply(remove('b'));
        apply(write('b', { flags: FLAGS.CREATE }), 'n');
        expect(text('b')).toBe('n');
      });

      test('an old name is forgotten at once, whoever had it open', () => {
        apply(create('b'));
        apply(write('b'), 'old');
        apply(create('a'), 'new');
        apply(rename('a', 'b'));
        apply(write('b', { offset: 3 }), '+');
        expect(text('b')).toBe('new+');
        fs.renameSync(at('b'), at('away'));
        fs.writeFileSync(at('b'), 'theirs');
        apply(rename('b', 'c'));
        apply(write('c'), 'X');
        expect([text('away'), text('c')]).toEqual(['new+', 'Xheirs']);
      });

      test('a directory that was removed can be made again at once', () => {
        for (let round = 0; round < 3; round++) {
          apply(create('d/f', { flags: FLAGS.PARENTS }), 'x');
          apply(remove('d/f'));
          apply(remove('d', { flags: FLAGS.DIRECTORY }));
        }
        expect(fs.readdirSync(directory)).toEqual([]);
      });

      test('remove takes files, and empty directories with DIRECTORY', () => {
        apply(create('d/f', { flags: FLAGS.PARENTS }), 'x');
        expect(errnoFrom(() => apply(remove('d')))).toBe('EISDIR');
        const all = { flags: FLAGS.DIRECTORY };
        expect(errnoFrom(() => apply(remove('d', all)))).toMatch(/ENOTEMPTY|EEXIST/);
        expect(errnoFrom(() => apply(remove('d/f', all)))).toBe('ENOTDIR');
        apply(remove('d/f'));
        apply(remove('d', all));
        expect(fs.readdirSync(directory)).toEqual([]);
      });

      test('remove of what is absent is done', () => {
        apply(remove('a'));
        apply(remove('a', { flags: FLAGS.DIRECTORY }));
        apply(remove('a/b/c'));
        apply(create('f'), 'x');
        apply(remove('f/g'));
        expect(text('f')).toBe('x');
      });

      test('refuses the export directory itself', () => {
        const all = { flags: FLAGS.DIRECTORY };
        expect(errnoFrom(() => apply(remove('', all)))).toBe('EBUSY');
        expect(errnoFrom(() => apply(rename('', 'a')))).toBe('EBUSY');
        expect(errnoFrom(() => apply(mkdir('')))).toBe('EEXIST');
      });

      test('a name or path that is too long is ENAMETOOLONG', () => {
        const name = 'n'.repeat(256);
        for (const op of [create(name), mkdir(name), rename('a', name), remove(name)]) {
          apply(create('a'), 'x');
          expect(errnoFrom(() => apply(op, op.kind === KIND.write ? 'x' : null))).toBe(
            'ENAMETOOLONG',
          );
        }
      });
    });

    storageJail(open, traits.followsLinks);

    describe('looking', () => {
      test('stat tells kind, size, mode and time', () => {
        apply(create('f', { flags: FLAGS.MTIME, mtimeNs: 3_000_000_000n }), 'abc');
        const mode = 0o666 & ~umask;
        const file = { kind: FOUND_KIND.file, size: 3, mode, mtimeNs: 3_000_000_000n };
        expect(storage.stat('f')).toEqual(file);
        expect(storage.stat('')?.kind).toBe(FOUND_KIND.directory);
        expect(storage.stat('g')).toBeNull();
        expect(storage.stat('f/g')).toBeNull();
        expect(storage.stat('g/h/i')).toBeNull();
        expect(storage.identity('f/g')).toBeNull();
      });

      test('read gives the bytes of the range, short at the end', async () => {
        apply(create('f'), '0123456789');
        const read = async (offset: number, length: number): Promise<string> => {
          return (await storage.read('f', offset, length)).toString('latin1');
        };
        expect(await read(0, 4)).toBe('0123');
        expect(await read(8, 100)).toBe('89');
        expect(await read(10, 5)).toBe('');
        expect(await read(99, 5)).toBe('');
        expect(await read(2, 0)).toBe('');
        await expect(storage.read('g', 0, 1)).rejects.toMatchObject({ code: 'ENOENT' });
        await expect(storage.read('', 0, 1)).rejects.toMatchObject({ code: 'EISDIR' });
      });

      test('list gives pages in byte order', () => {
        const names = ['a', 'a-b', 'aB', 'b', 'zz', '\x80\xff', '\xe4', 'B', '.hidden', '~'];
        for (const name of names) apply(create(`d/${name}`, { flags: FLAGS.PARENTS }), name);
        apply(mkdir('d/c'));
        fs.symlinkSync('nowhere', at('d/l'));
        const order = [...names, 'c', 'l'].sort((x, y) => {
          return Buffer.compare(Buffer.from(x, 'latin1'), Buffer.from(y, 'latin1'));
        });
        const seen: string[] = [];
        for (let more = true; more;) {
          const page = storage.list('d', seen.at(-1) ?? '', 5);
          seen.push(...page.entries.map((entry) => entry.name));
          more = page.more;
          expect(page.entries.length).toBe(more ? 5 : 2);
        }
        expect(seen).toEqual(order);
        const entries = storage.list('d', 'b', 2).entries;
        expect(entries.map((e) => [e.name, e.kind])).toEqual([
          ['c', FOUND_KIND.directory],
          ['l', FOUND_KIND.symlink],
        ]);
        expect(storage.list('d', '', order.length).more).toBe(false);
        expect(storage.list('d', '', order.length - 1).more).toBe(true);
        expect(storage.list('', '', 100)).toMatchObject({ entries: [{ name: 'd' }], more: false });
        expect(errnoFrom(() => void storage.list('d/a', '', 5))).toBe('ENOTDIR');
        expect(errnoFrom(() => void storage.list('x', '', 5))).toBe('ENOENT');
      });

      test('lists more names than one call of the kernel gives', () => {
        for (let i = 0; i < 5000; i++) apply(create(`f${i}`), 'x');
        const first = storage.list('', '', 4000);
        const rest = storage.list('', first.entries.at(-1)?.name ?? '', 4000);
        expect([first.entries.length, first.more]).toEqual([4000, true]);
        expect([rest.entries.length, rest.more]).toEqual([1000, false]);
      });

      test('freeBytes is what the file system says', () => {
        const space = fs.statfsSync(directory);
        const apart = Math.abs(storage.freeBytes() - space.bavail * space.bsize);
        expect(apart).toBeLessThan(space.blocks * space.bsize * 0.1 + 1);
      });
    });

    describe('bulk', () => {
      test('opens, counts what was written, and sets the attributes then', async () => {
        const flags = FLAGS.PARENTS | FLAGS.MODE | FLAGS.MTIME;
        const op = create('d/f', { flags, mode: 0o600, size: 10, mtimeNs: 1_000_000_000n });
        const { fd } = storage.openForBulk(op);
        expect(fs.statSync(at('d/f')).size).toBe(10);
        for (let i = 0; i < 20; i++) {
          fs.writeSync(fd, Buffer.alloc(1 << 20, i), 0, 1 << 20, i << 20);
          storage.wrote('d/f', 1 << 20);
          await next();
        }
        expect(permissions('d/f')).toBe(0o600);
        expect(fs.statSync(at('d/f')).mtimeMs).toBe(1000);
        storage.release('d/f');
        storage.release('d/f');
        await storage.sync();
        expect(fs.statSync(at('d/f')).size).toBe(20 << 20);
      });

      test('its descriptor outlives any number of other files', async () => {
        const { fd } = storage.openForBulk(create('bulk'));
        for (let i = 0; i < 600; i++) apply(create(`f${i}`, { offset: 1 }));
        await next();
        await storage.sync();
        fs.writeSync(fd, 'bulk');
        storage.wrote('bulk', 4);
        storage.release('bulk');
        expect(text('bulk')).toBe('bulk');
        expect(() => storage.wrote('bulk', 4)).toThrow('without openForBulk');
      });

      test('refuses what apply refuses, and is bounded', () => {
        fs.mkdirSync(at('d'));
        expect(errnoFrom(() => void storage.openForBulk(create('d')))).toBe('EISDIR');
        expect(errnoFrom(() => void storage.openForBulk(write('x')))).toBe('ENOENT');
        const codes = new Set<string>();
        for (let i = 0; i < 400; i++) {
          codes.add(errnoFrom(() => void storage.openForBulk(create(`b${i}`))));
        }
        expect([...codes]).toEqual(['', 'EMFILE']);
      });
    });

    describe('sync', () => {
      test('resolves for little, much, and nothing; overlapping too', async () => {
        await storage.sync();
        await storage.sync();
        apply(create('a/b/c', { flags: FLAGS.PARENTS }), 'x');
        const calls = [storage.sync(), storage.sync()];
        for (let i = 0; i < 100; i++) apply(create(`many/${i}`, { flags: FLAGS.PARENTS }), 'y');
        calls.push(storage.sync(), storage.sync());
        apply(rename('many', 'few'));
        apply(remove('few/7'));
        calls.push(storage.sync());
        await Promise.all(calls);
        expect(fs.readdirSync(at('few')).length).toBe(99);
      });

      test('keeps no descriptors afterwards, and closes all in the end', async () => {
        const before = fs.readdirSync('/proc/self/fd').length;
        const other = open(at(''));
        for (let i = 0; i < 20; i++) {
          other.apply(create(`d${i}/f`, { flags: FLAGS.PARENTS }), Buffer.from('x'));
          if (i % 7 === 6) await other.sync();
        }
        await other.sync();
        await next();
        // The storage's root and the runner's own; small new files are not cached.
        expect(fs.readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + 4);
        other.apply(create('late'), Buffer.from('x'));
        other.close();
        other.close();
        await next();
        expect(fs.readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + 3);
        await expect(other.sync()).rejects.toMatchObject({ code: 'EBADF' });
      });
    });

    storageAtRandom(open);
  });
}

expect.extend({
  toBeWithin(received: number, distance: bigint) {
    return {
      pass: Math.abs(received) <= Number(distance),
      message: () => `${received} is further than ${distance}`,
    };
  },
});

declare module 'vitest' {
  interface Matchers {
    toBeWithin(distance: bigint): void;
  }
}
