/**
 * The log on a real disk: appends and their places, marks that claim no more than a sync covered,
 * segments that roll while a sync runs, and appends that fail.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Log } from '../../../src/spool/log.ts';
import {
  decodeLogHeader,
  type Found,
  LOG_HEADER_BYTES,
  logName,
  MARK_BYTES,
  NOWHERE,
  walkLog,
} from '../../../src/spool/segment.ts';
import { openBelow } from '../../support/proc.ts';
import { incoming } from '../../support/spool-case.ts';

const SPOOL_ID = '12'.repeat(16);
let directory: string;
let log: Log;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kangaroo-log-'));
  log = new Log(directory, SPOOL_ID, 1, 0);
});
afterEach(() => {
  log.close();
  rmSync(directory, { recursive: true, force: true });
});

const record = (seq: number): Buffer => incoming(seq, `f${seq}`, Buffer.from(`bytes ${seq}`)).bytes;
const read = (number: number): Buffer => readFileSync(join(directory, logName(number)));
const walk = (number: number): Found[] => [...walkLog(read(number))];
const kinds = (number: number): string[] => walk(number).map(({ what }) => what);
const marks = (number: number): unknown[] => {
  return walk(number).flatMap((found) => (found.what === 'mark' ? [found.durable] : []));
};
/** Do this process's descriptors all mean a file of the directory exactly once? */
const openLogs = (): string[] => openBelow(directory);

describe('append', () => {
  test('says where the first piece lies', () => {
    const [first, second] = [record(1), record(2)];
    expect(log.append([first, second], 2)).toBe(LOG_HEADER_BYTES);
    expect(log.append([record(3)], 3)).toBe(LOG_HEADER_BYTES + first.length + second.length);
    expect(log.current.end).toBe(read(1).length);
    expect(kinds(1)).toEqual(['record', 'record', 'record']);
  });

  test('of more pieces than one system call takes stays in order', () => {
    const records = Array.from({ length: 1_500 }, (_, i) => record(i + 1));
    log.append(records, 1_500);
    const seqs = walk(1).map((found) => (found.what === 'record' ? found.head.seq : 0));
    expect(seqs).toEqual(Array.from({ length: 1_500 }, (_, i) => i + 1));
  });
});

describe('a mark', () => {
  test('leads the append behind a sync, and the place it returns is behind the mark', async () => {
    log.append([record(1)], 1);
    const durable = { segment: 1, offset: log.current.end };
    await log.sync(true);
    expect(log.append([record(2)], 2)).toBe(durable.offset + MARK_BYTES);
    expect(kinds(1)).toEqual(['record', 'mark', 'record']);
    expect(marks(1)).toEqual([durable]);
  });

  test('does not claim what came while the sync ran', async () => {
    log.append([record(1)], 1);
    const durable = { segment: 1, offset: log.current.end };
    const running = log.sync(false);
    log.append([record(2)], 2);
    await running;
    log.append([record(3)], 3);
    expect(kinds(1)).toEqual(['record', 'record', 'mark', 'record']);
    expect(marks(1)).toEqual([durable]);
    expect(log.isDirty).toBe(true);
  });

  test('is not made twice for one sync, and not for a sync of nothing', async () => {
    await log.sync(true);
    log.append([record(1)], 1);
    await log.sync(true);
    await log.sync(true);
    log.append([record(2)], 2);
    log.append([record(3)], 3);
    expect(kinds(1)).toEqual(['record', 'mark', 'record', 'record']);
  });

  test('of its own is made once', async () => {
    log.append([record(1)], 1);
    const durable = { segment: 1, offset: log.current.end };
    await log.sync(true);
    for (let i = 0; i < 3; i++) {
      log.mark();
      await log.sync(true);
    }
    expect(kinds(1)).toEqual(['record', 'mark']);
    expect(marks(1)).toEqual([durable]);
  });

  test('names the segment that was current when the sync began', async () => {
    log.append([record(1)], 1);
    const durable = { segment: 1, offset: log.current.end };
    const running = log.sync(false);
    log.roll(2);
    await running;
    log.append([record(2)], 2);
    expect(marks(2)).toEqual([durable]);
  });
});

describe('rolling', () => {
  test('chains the segments: floor and the end of the one before', () => {
    log.append([record(1), record(2)], 2);
    const { end } = log.current;
    expect(log.roll(5).number).toBe(1);
    expect(decodeLogHeader(read(1))).toEqual({
      spoolId: SPOOL_ID,
      number: 1,
      floor: 0,
      previous: NOWHERE,
    });
    const header = {
      spoolId: SPOOL_ID,
      number: 5,
      floor: 2,
      previous: { segment: 1, offset: end },
    };
    expect(decodeLogHeader(read(5))).toEqual(header);
  });

  test('while a sync runs closes each descriptor once', async () => {
    for (let number = 2; number < 60; number++) {
      log.append([record(number)], number);
      const running = log.sync(false);
      if (number % 3 === 0) log.append([record(number + 100)], number + 100);
      log.roll(number);
      if (number % 2 === 0) log.append([record(number + 200)], number + 200);
      await running;
      await log.sync(number % 5 === 0);
    }
    await log.sync(true);
    expect(openLogs().length).toBe(1);
  });

  test('to a number that is taken fails and changes nothing', () => {
    expect(() => log.roll(1)).toThrow(/EEXIST/);
    log.append([record(1)], 1);
    expect(kinds(1)).toEqual(['record']);
  });
});

describe('a full disk', () => {
  test('costs an append nothing but an error, and the next one goes on', () => {
    if (!canLimitFileSize()) return;
    log.append([Buffer.alloc(3_000, 1)], 1);
    const before = log.current.end;
    const code = withFileSizeLimit(4_096, () => {
      try {
        log.append([Buffer.alloc(1_000, 2), Buffer.alloc(1_000, 3)], 2);
        return 'done';
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    });
    expect(code).toBe('EFBIG');
    expect([log.current.end, read(1).length]).toEqual([before, before]);
    expect(log.append([Buffer.alloc(500, 4)], 3)).toBe(before);
    expect(read(1).subarray(before)).toEqual(Buffer.alloc(500, 4));
  });

  test('leaves no file behind when a segment cannot be begun', () => {
    const before = readdirSync(directory).length;
    rmSync(directory, { recursive: true });
    expect(() => log.roll(9)).toThrow(/ENOENT/);
    expect(before).toBe(1);
    expect(openLogs().length).toBe(1);
  });
});

/**
 * A limit on the size of files makes write(2) end after a part and then fail, as a full disk does,
 * in this process alone and for as long as `work` runs.
 */
function withFileSizeLimit<T>(bytes: number, work: () => T): T {
  const ignore = (): void => {};
  process.on('SIGXFSZ', ignore);
  limitFileSize(`${bytes}`);
  try {
    return work();
  } finally {
    limitFileSize('unlimited');
    process.off('SIGXFSZ', ignore);
  }
}

function limitFileSize(soft: string): void {
  execFileSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${soft}:unlimited`]);
}

function canLimitFileSize(): boolean {
  try {
    limitFileSize('unlimited');
    return true;
  } catch {
    console.log('skipped: prlimit(1) of util-linux is missing or may not raise the limit');
    return false;
  }
}
