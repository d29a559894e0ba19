/**
 * The SQLite index: what a flush wrote is there after a reopen and cost one fsync (counted in the
 * kernel, because SQLite's own answer about that is not to be believed), a second opener is
 * refused,
 * a newer format is refused by name, and a failed index does no further work.
 */
import Database from 'better-sqlite3';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { RangeSet } from '../../../src/base/ranges.ts';
import { SpoolIndex } from '../../../src/spool/index.ts';
import { ownCalls } from '../../support/own-calls.ts';

const A = 'aa'.repeat(16);
const B = 'bb'.repeat(16);
let directory: string;
let file: string;
let open: SpoolIndex[];
/** Never collected as garbage, see SpoolIndex. */
const foreign: Database.Database[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kangaroo-index-'));
  file = join(directory, 'index.db');
  open = [];
});
afterEach(() => {
  for (const index of open) index.close();
  rmSync(directory, { recursive: true, force: true });
});

const openIndex = (): SpoolIndex => {
  const index = new SpoolIndex(file);
  open.push(index);
  return index;
};
const reopen = (): SpoolIndex => {
  for (const index of open.splice(0)) index.close();
  return openIndex();
};
const set = (...bounds: readonly number[]): RangeSet => new RangeSet(0, [...bounds]);

describe('a flush', () => {
  test('is all there after a reopen', () => {
    const index = openIndex();
    index.setMeta('spoolId', A);
    index.flush({
      seqLimit: 2 ** 40,
      released: new Map([[4, set(3, 5, 9, 9)]]),
      sealed: new Map([[5, Buffer.from('heads')]]),
      taken: [{ sender: A, ranges: set(2, 3), session: true }],
      destinations: ['archive', 'archive'],
    });
    const after = reopen();
    expect([after.meta('spoolId'), after.meta('seqLimit')]).toEqual([A, 2 ** 40]);
    const [four, five] = after.segments();
    expect([four?.number, four?.records, [...(four?.released.ranges() ?? [])]]).toEqual([
      4,
      null,
      [
        [3, 5],
        [9, 9],
      ],
    ]);
    expect([five?.number, five?.records?.toString()]).toEqual([5, 'heads']);
    expect(after.taken()).toMatchObject([{ sender: A, session: true }]);
    expect(after.destinations()).toEqual(['archive']);
  });

  test('replaces a row, and one half of a segment row does not wipe the other', () => {
    const index = openIndex();
    index.flush({ released: new Map([[4, set(1, 1)]]), sealed: new Map([[4, Buffer.from('h')]]) });
    index.flush({ released: new Map([[4, set(1, 7)]]) });
    const [row] = reopen().segments();
    expect([row?.records?.toString(), row?.released.has(7)]).toEqual(['h', true]);
  });

  test('forgets what it is told to', () => {
    const index = openIndex();
    index.flush({
      sealed: new Map([[4, Buffer.from('h')]]),
      taken: [
        { sender: A, ranges: set(1, 1), session: true },
        { sender: B, ranges: set(1, 1), session: false },
      ],
    });
    index.flush({ removed: [4, 99], forgottenSenders: [A] });
    const after = reopen();
    expect(after.segments()).toEqual([]);
    expect(after.taken().map(({ sender }) => sender)).toEqual([B]);
  });

  test('keeps the newest sessions and every spool', () => {
    const index = openIndex();
    const rows = Array.from({ length: limits.sessionsRememberedMax + 1_100 }, (_, i) => ({
      sender: i.toString(16).padStart(32, '0'),
      ranges: set(1, 1),
      session: i !== 3,
    }));
    for (let i = 0; i < rows.length; i += 256) index.flush({ taken: rows.slice(i, i + 256) });
    const left = index.taken();
    expect(left.length).toBeLessThanOrEqual(limits.sessionsRememberedMax + 1_025);
    expect(left.some(({ sender }) => sender === rows[3]?.sender)).toBe(true);
    expect(left.at(-1)?.sender).toBe(rows.at(-1)?.sender);
    expect(left.some(({ sender }) => sender === rows[0]?.sender)).toBe(false);
  });
});

describe('durability', () => {
  test('each commit is one fsync at least, also the first of a reopened index', async () => {
    reopen().setMeta('warm', 1);
    const index = reopen();
    const calls = await ownCalls('fsync,fdatasync', () => {
      for (let i = 0; i < 20; i++) index.flush({ seqLimit: i });
      for (let i = 0; i < 5; i++) index.noteIntent(A, i, 1n, BigInt(i));
      for (let i = 0; i < 5; i++) index.addMessage({ i });
    });
    if (calls === null) return;
    expect(calls.length).toBeGreaterThanOrEqual(30);
  });

  test('a copy taken after a flush has it: nothing waits in memory', () => {
    const index = openIndex();
    index.flush({ seqLimit: 77 });
    const copy = join(directory, 'copy.db');
    execFileSync('cp', [file, copy]);
    execFileSync('cp', [`${file}-wal`, `${copy}-wal`]);
    const copied = new SpoolIndex(copy);
    open.push(copied);
    expect(copied.meta('seqLimit')).toBe(77);
  });
});

describe('opening', () => {
  test('by a second one is SPOOL_IN_USE, and free again after close', () => {
    openIndex();
    expect(() => new SpoolIndex(file)).toThrow(expect.objectContaining({ code: 'SPOOL_IN_USE' }));
    expect(reopen().meta('format')).toBe(1);
  });

  test('of a newer format is VERSION, and leaves no lock behind', () => {
    openIndex().setMeta('format', 2);
    expect(() => reopen()).toThrow(expect.objectContaining({ code: 'VERSION' }));
    const db = new Database(file);
    foreign.push(db);
    db.exec("UPDATE meta SET value = 1 WHERE key = 'format'");
    db.close();
    expect(openIndex().meta('format')).toBe(1);
  });

  test('of something that is no database is SPOOL_FAILED', () => {
    writeFileSync(file, Buffer.alloc(8_192, 0x41));
    expect(() => openIndex()).toThrow(expect.objectContaining({ code: 'SPOOL_FAILED' }));
  });
});

describe('messages and intents', () => {
  test('messages come after an id, in order, and the oldest go', () => {
    const index = openIndex();
    const ids = [1, 2, 3].map((n) => index.addMessage({ n }));
    expect(index.messagesAfter(ids[0] ?? 0, 10).map(({ json }) => json)).toEqual([
      '{"n":2}',
      '{"n":3}',
    ]);
    expect(index.messagesAfter(0, 2).map(({ id }) => id)).toEqual(ids.slice(0, 2));
    expect(index.messagesAfter(ids[2] ?? 0, 10)).toEqual([]);
  });

  test('an intent is known until its operation is durable', () => {
    const index = openIndex();
    expect(index.intent(A, 1)).toBeNull();
    index.noteIntent(A, 1, 2n ** 63n, 2n ** 62n + 1n);
    index.noteIntent(A, 2, 5n, 6n);
    index.noteIntent(B, 1, 9n, 9n);
    index.flush({ intentsDone: [{ sender: A, seq: 1 }] });
    const after = reopen();
    expect(after.intent(A, 1)).toBeNull();
    expect(after.intent(A, 2)).toEqual({ dev: 5n, ino: 6n });
    after.noteIntent(A, 2, 7n, 8n);
    expect(after.intent(A, 2)).toEqual({ dev: 7n, ino: 8n });
    expect(after.intent(B, 1)).toEqual({ dev: 9n, ino: 9n });
  });
});

describe('after a failure', () => {
  test('nothing goes on as if nothing had been', () => {
    const index = openIndex();
    // A value that SQLite refuses stands for the disk error that cannot be had here.
    expect(() => index.setMeta('bad', { not: 'a value' } as unknown as string)).toThrow(
      expect.objectContaining({ code: 'SPOOL_FAILED' }),
    );
    expect(index.isFailed).toBe(true);
    expect(() => index.flush({ seqLimit: 1 })).toThrow(/failed before/);
  });
});
