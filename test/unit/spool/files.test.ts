/**
 * Segment files by number: whole reads or an error that says what kind it is, and descriptors that
 * are closed neither under a reader nor never.
 */
import {
  mkdirSync,
  mkdtempSync,
  readSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SegmentFiles } from '../../../src/spool/files.ts';
import { dataName, logName } from '../../../src/spool/segment.ts';
import { openBelow } from '../../support/proc.ts';
import { until } from '../../support/wait.ts';

const OPEN_FILES_MAX = 128;
let directory: string;
let files: SegmentFiles;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kangaroo-files-'));
  files = new SegmentFiles(directory, (number) => number % 2 === 0);
});
afterEach(() => {
  files.closeAll();
  rmSync(directory, { recursive: true, force: true });
});

const openCount = (): number => openBelow(directory).length;
/** Closing is asynchronous in places. */
const untilOpen = async (count: number): Promise<void> => {
  await until(`${count} open files`, 5_000, () => openCount() === count);
};

test('a number leads to a log or a data segment', async () => {
  writeFileSync(join(directory, logName(1)), 'log');
  writeFileSync(join(directory, dataName(2)), 'data');
  expect((await files.read(1, 0, 3)).toString()).toBe('log');
  expect((await files.read(2, 1, 2)).toString()).toBe('at');
  expect((await files.read(2, 4, 0)).length).toBe(0);
});

describe('what cannot be read', () => {
  test('is CORRUPT when the segment is too short or gone', async () => {
    writeFileSync(join(directory, logName(1)), '12345');
    await expect(files.read(1, 3, 3)).rejects.toMatchObject({ code: 'CORRUPT' });
    await expect(files.read(3, 0, 1)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(() => files.borrow(5)).toThrow(expect.objectContaining({ code: 'CORRUPT' }));
    truncateSync(join(directory, logName(1)), 2);
    await expect(files.read(1, 0, 3)).rejects.toMatchObject({ code: 'CORRUPT' });
  });

  test('for another reason is not: that may pass', async () => {
    // A directory in its place gives EISDIR; a shortage of descriptors takes the same way.
    mkdirSync(join(directory, logName(7)));
    await expect(files.read(7, 0, 1)).rejects.toMatchObject({ code: 'EISDIR' });
  });
});

describe('descriptors', () => {
  test('stay with a reader through an unlink, and go with the last one', async () => {
    writeFileSync(join(directory, logName(1)), 'still here');
    const { fd, release } = files.borrow(1);
    unlinkSync(join(directory, logName(1)));
    files.drop(1);
    const bytes = Buffer.alloc(5);
    expect(readSync(fd, bytes, 0, 5, 0)).toBe(5);
    release();
    await untilOpen(0);
  });

  test('of files that others removed are given back', async () => {
    for (const number of [1, 3, 5]) writeFileSync(join(directory, logName(number)), 'x');
    await files.read(1, 0, 1);
    await files.read(3, 0, 1);
    const { release } = files.borrow(5);
    for (const number of [3, 5]) unlinkSync(join(directory, logName(number)));
    files.dropRemoved();
    await untilOpen(2);
    release();
    files.dropRemoved();
    await untilOpen(1);
    expect((await files.read(1, 0, 1)).toString()).toBe('x');
  });

  test('are bounded, and the ones in use are not taken away', async () => {
    const numbers = Array.from({ length: OPEN_FILES_MAX + 20 }, (_, i) => 2 * i + 1);
    for (const number of numbers) writeFileSync(join(directory, logName(number)), `${number}`);
    const { fd, release } = files.borrow(1);
    for (const number of numbers) {
      const text = `${number}`;
      expect((await files.read(number, 0, text.length)).toString()).toBe(text);
    }
    expect(openCount()).toBe(OPEN_FILES_MAX);
    const bytes = Buffer.alloc(1);
    expect(readSync(fd, bytes, 0, 1, 0)).toBe(1);
    expect(bytes.toString()).toBe('1');
    release();
  });

  test('are closed once each, however reads and drops are mixed', async () => {
    for (const number of [1, 3]) writeFileSync(join(directory, logName(number)), 'abc');
    const reads = Array.from({ length: 40 }, async (_, i) => {
      if (i % 7 === 0) files.drop(1);
      return (await files.read(i % 2 === 0 ? 1 : 3, 0, 3)).toString();
    });
    expect(new Set(await Promise.all(reads))).toEqual(new Set(['abc']));
    files.closeAll();
    await untilOpen(0);
  });
});
