/**
 * What reaches the disk, seen from outside: strace(1) tells which descriptors were synced and makes
 * syncs fail. With the addon and without. ext4 would hide a forgotten directory from a power cut,
 * so the calls themselves are what is checked.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { runChild, stripSources, whyNot, type ChildResult } from './storage-child.ts';

const noStrace = whyNot('strace', ['-f', '-e', 'trace=fsync', 'true']);

let scratch: string;
beforeAll(() => {
  // On a real disk: memory has nothing to sync.
  scratch = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'kangaroo-sync-')));
  stripSources(join(scratch, 'stripped'));
});
afterAll(() => {
  fs.rmSync(scratch, { recursive: true, force: true });
});

interface Traced extends ChildResult {
  /** Paths below the export directory ('' for itself), in order; by call. */
  readonly fsync: readonly string[];
  readonly fdatasync: readonly string[];
  readonly syncfs: number;
}

describe.each([true, false])('addon %s', (withAddon) => {
  const reason = noStrace ?? (withAddon && native === null ? addonReason : null);
  const check = reason === null ? test : test.skip;
  if (reason !== null) console.info(`storage-sync: skipped: ${reason}`);

  function traced(lines: string, inject: readonly string[] = []): Traced {
    const directory = fs.mkdtempSync(join(scratch, 'export-'));
    const trace = join(scratch, 'trace');
    const result = runChild({
      stripped: join(scratch, 'stripped'),
      directory,
      withAddon,
      before: [
        ...['strace', '-f', '-y', '-q', '-o', trace],
        ...['-e', 'trace=fsync,fdatasync,syncfs', ...inject],
      ],
      lines,
    });
    expect(result, result.errors).toMatchObject({ status: 0, errors: '' });
    const text = fs.readFileSync(trace, 'utf8');
    const below = (call: string): string[] => {
      const calls = [...text.matchAll(new RegExp(` ${call}\\(\\d+<([^>]*)>`, 'g'))];
      const paths = calls.map((match) => match[1] as string);
      return paths.filter((p) => p.startsWith(directory)).map((p) => p.slice(directory.length + 1));
    };
    return {
      ...result,
      fsync: below('fsync'),
      fdatasync: below('fdatasync'),
      syncfs: [...text.matchAll(/ syncfs\(/g)].length,
    };
  }

  check('the first sync covers the whole file system, even with nothing applied', () => {
    const { syncfs, fsync } = traced(`
      const storage = open();
      await storage.sync();
      await storage.sync();
    `);
    expect([syncfs, fsync]).toEqual([1, []]);
  });

  check('each new file, each directory with a new name, and nothing else is synced', () => {
    const { syncfs, fsync, fdatasync } = traced(`
      const storage = open();
      write(storage, 'old', 'x');
      write(storage, 'gone', 'x');
      write(storage, 'from/moved', 'x');
      storage.apply(op(KIND.mkdir, 'untouched'), null);
      storage.apply(op(KIND.mkdir, 'to'), null);
      storage.apply(op(KIND.mkdir, 'attributes'), null);
      storage.apply(op(KIND.mkdir, 'less'), null);
      write(storage, 'less/gone', 'x');
      await storage.sync();
      write(storage, 'small', 'x');
      write(storage, 'a/b/large', 'x'.repeat(1 << 20));
      write(storage, 'a/b/large', 'y', { offset: 1 << 20 });
      storage.apply(op(KIND.write, 'old', { offset: 1 }), Buffer.from('more'));
      storage.apply(op(KIND.mkdir, 'made/deep', { flags: FLAGS.PARENTS }), null);
      storage.apply(op(KIND.rename, 'from/moved', { path2: 'to/moved' }), null);
      storage.apply(op(KIND.remove, 'less/gone'), null);
      storage.apply(op(KIND.write, 'attributes', { flags: FLAGS.MODE, mode: 0o700 }), null);
      await storage.sync();
      await storage.sync();
    `);
    expect(syncfs).toBe(1);
    expect(fdatasync).toEqual(['old']);
    const directories = ['', 'a', 'a/b', 'attributes', 'from', 'less', 'made', 'made/deep', 'to'];
    expect([...fsync].sort()).toEqual([...directories, 'a/b/large', 'small'].sort());
    // Bytes before names.
    expect([...fsync.slice(0, 2)].sort()).toEqual(['a/b/large', 'small']);
  });

  check('one change alone syncs just what it needs', () => {
    const { reports, fsync, fdatasync } = traced(`
      const storage = open();
      for (const path of ['a', 'b', 'c', 'd', 'e']) storage.apply(op(KIND.mkdir, path), null);
      write(storage, 'c/from', 'x');
      write(storage, 'e/gone', 'x');
      await storage.sync();
      const alone = async (change) => {
        change();
        await storage.sync();
        // A call on a descriptor of its own marks the end of each in the trace.
        fs.fsyncSync(root);
      };
      const root = fs.openSync(directory);
      await alone(() => write(storage, 'a/small', 'x'));
      await alone(() => write(storage, 'b/large', 'x'.repeat(1 << 20)));
      await alone(() => storage.apply(op(KIND.rename, 'c/from', { path2: 'd/to' }), null));
      await alone(() => storage.apply(op(KIND.remove, 'e/gone'), null));
      await alone(() => storage.apply(op(KIND.mkdir, 'e/made'), null));
      await alone(() => storage.apply(op(KIND.write, 'd/to'), Buffer.from('y')));
      await alone(() => storage.apply(op(KIND.write, 'b/large'), Buffer.from('y')));
      report(true);
    `);
    expect([reports, fdatasync]).toEqual([[true], ['d/to', 'b/large']]);
    const changes: string[][] = [[]];
    for (const path of fsync) {
      if (path === '') changes.push([]);
      else changes.at(-1)?.push(path);
    }
    expect(changes.map((paths) => paths.sort())).toEqual([
      ['a', 'a/small'],
      ['b', 'b/large'],
      ['c', 'd'],
      ['e'],
      ['e', 'e/made'],
      [],
      [],
      [],
    ]);
  });

  check('attributes and a repeated creation are synced too', () => {
    const { fsync, fdatasync } = traced(`
      const storage = open();
      write(storage, 'd/f', 'x');
      write(storage, 'd/g', 'x');
      await storage.sync();
      storage.apply(op(KIND.write, 'd/f', { flags: FLAGS.MTIME, mtimeNs: 1n }), null);
      await storage.sync();
      write(storage, 'd/g', 'x');
      storage.apply(op(KIND.mkdir, 'd', {}), null);
      storage.apply(op(KIND.remove, 'd/absent', {}), null);
      await storage.sync();
    `);
    expect(fdatasync).toEqual([]);
    expect(fsync.slice(0, 1)).toEqual(['d/f']);
    expect([...fsync.slice(1)].sort()).toEqual(['', 'd', 'd/g']);
  });

  check('a file is synced where it lies after a rename', () => {
    const { fsync } = traced(`
      const storage = open();
      await storage.sync();
      write(storage, 'd/a', 'x');
      storage.apply(op(KIND.rename, 'd/a', { path2: 'd/b' }), null);
      storage.apply(op(KIND.rename, 'd', { path2: 'e' }), null);
      await storage.sync();
    `);
    expect([...fsync].sort()).toEqual(['', 'e', 'e/b']);
  });

  (withAddon ? check : test.skip)('what is made through a link is covered by syncfs', () => {
    const { syncfs, reports } = traced(`
      const storage = open();
      storage.apply(op(KIND.mkdir, 'd'), null);
      fs.symlinkSync('d/made', directory + '/link');
      await storage.sync();
      write(storage, 'link', 'x');
      report(fs.readFileSync(directory + '/d/made', 'utf8'));
      await storage.sync();
    `);
    expect([reports, syncfs]).toEqual([['x'], 2]);
  });

  check('many files are one syncfs', () => {
    const { syncfs, fsync, fdatasync } = traced(`
      const storage = open();
      await storage.sync();
      for (let i = 0; i < 100; i++) write(storage, 'd/' + i, 'x');
      await storage.sync();
      write(storage, 'd/7', 'y');
      await storage.sync();
    `);
    expect(syncfs).toBe(2);
    expect([...fsync, ...fdatasync].sort()).toEqual(['d', 'd/7']);
  });

  check('bulk bytes are synced in the round after they were reported', () => {
    const { fsync, fdatasync } = traced(`
      const storage = open();
      await storage.sync();
      const { fd } = storage.openForBulk(op(KIND.write, 'bulk', { flags: FLAGS.CREATE }));
      await storage.sync();
      fs.writeSync(fd, 'bytes');
      storage.wrote('bulk', 5);
      storage.release('bulk');
      await storage.sync();
    `);
    expect([...fsync].sort()).toEqual(['', 'bulk']);
    expect(fdatasync).toEqual(['bulk']);
  });

  check('a failing fsync is told, and its descriptor never used again', () => {
    const { reports, fsync } = traced(
      `
      const storage = open();
      const openNow = () => fs.readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return fs.readlinkSync('/proc/self/fd/' + fd).endsWith('/large');
        } catch {
          return false;
        }
      }).length;
      await storage.sync();
      write(storage, 'large', 'x'.repeat(100_000));
      const first = storage.sync();
      const second = storage.sync();
      report(await outcome(first));
      report(await outcome(second));
      report(openNow());
      write(storage, 'large', 'x'.repeat(100_000));
      report(await outcome(storage.sync()));
    `,
      ['-e', 'inject=fsync:error=EIO:when=1'],
    );
    expect(reports).toEqual([
      { code: 'EIO', failed: ['large'] },
      { code: 'EIO', failed: ['large'] },
      0,
      'good',
    ]);
    expect(fsync).toEqual(['large', '']);
  });

  check('a failing directory sync is told', () => {
    const { reports } = traced(
      `
      const storage = open();
      await storage.sync();
      storage.apply(op(KIND.mkdir, 'd/e', { flags: FLAGS.PARENTS }), null);
      report(await outcome(storage.sync()));
    `,
      ['-e', 'inject=fsync:error=ENOSPC:when=2'],
    );
    expect(reports).toEqual([{ code: 'ENOSPC', failed: [expect.stringMatching(/^(d|d\/e)?$/)] }]);
  });

  check('a failing syncfs names what it was for, and the next sync is one again', () => {
    const { reports, syncfs } = traced(
      `
      const storage = open();
      write(storage, 'd/f', 'x');
      report(await outcome(storage.sync()));
      write(storage, 'd/f', 'x');
      report(await outcome(storage.sync()));
    `,
      ['-e', 'inject=syncfs:error=EIO:when=1'],
    );
    // Without the addon each syncfs is another process's first.
    const again = withAddon ? 'good' : { code: 'EIO', failed: ['d', 'd/f'] };
    expect(reports).toEqual([{ code: 'EIO', failed: ['', 'd', 'd/f'] }, again]);
    expect(syncfs).toBe(2);
  });
});
