/**
 * What people see: the status table, messages, entries, the progress line. Text of strangers cannot
 * move the cursor, and nothing is wider than it may be.
 */
import fc from 'fast-check';
import picocolors from 'picocolors';
import { describe, expect, test } from 'vitest';
import { messageLine, renderMessages } from '../../../../src/client/cli/messages-view.ts';
import { entryJson, modeLetters } from '../../../../src/client/cli/names-view.ts';
import { progressLine, Rate } from '../../../../src/client/cli/progress.ts';
import { whereItWaits, withProgress } from '../../../../src/client/cli/push.ts';
import { renderStatus, statusLines } from '../../../../src/client/cli/status-view.ts';
import { shorten, trimLines } from '../../../../src/client/cli/text.ts';
import { KangarooError } from '../../../../src/base/errors.ts';
import type { DestinationReport, StatusReport } from '../../../../src/client/report.ts';

const plain = picocolors.createColors(false);

const waiting: DestinationReport = {
  name: 'archive',
  nextHop: '127.0.0.1:9631',
  state: 'waiting',
  reason: 'ECONNREFUSED',
  retryInSeconds: 3,
  queuedOperations: 12,
  queuedBytes: 64 * 1024 ** 2,
  heldOperations: 2,
  bytesPerSecond: 0,
  etaSeconds: null,
};

function report(destinations: readonly DestinationReport[]): StatusReport {
  return {
    server: { name: 'node7', spoolId: 'x', version: '0.1.0', uptimeSeconds: 185 },
    spool: {
      operations: 12,
      bytes: 65 * 1024 ** 2,
      limitBytes: 16 * 1024 ** 3,
      oldestSeconds: 42,
      state: 'ok',
      occupiedBytes: 66 * 1024 ** 2,
      reason: null,
    },
    destinations,
  };
}

describe('status', () => {
  test('says where, how much, and why it waits', () => {
    const text = renderStatus(report([waiting]), plain);
    expect(text).toContain('node7  kangaroo 0.1.0, up 3 min 5 s');
    expect(text).toContain('12 operations, 65 MiB of 16 GiB, the oldest 42 s old');
    const lines = text.split('\n');
    const at = lines.findIndex((line) => line.startsWith('archive'));
    expect(lines[at]).toMatch(/waiting +64 MiB in 12 operations, 2 held +- +-$/);
    expect(lines[at + 1]).toBe('  why: ECONNREFUSED; next try in 3 s');
  });

  test('speed, time left, files, and what was omitted', () => {
    const sending: DestinationReport = {
      ...waiting,
      ...{ state: 'sending', reason: null, retryInSeconds: null, heldOperations: 0 },
      ...{ bytesPerSecond: 10 * 1024 ** 2, etaSeconds: 7 },
      files: [
        { path: 'run/a', queuedBytes: 5, heldOperations: 1, state: 'held', reason: 'EACCES' },
      ],
      filesOmitted: 3,
    };
    const text = renderStatus(report([sending]), plain);
    expect(text).toMatch(/sending +64 MiB in 12 operations +10 MiB\/s +7 s/);
    expect(text).toMatch(/kangaroo:\/\/archive\/run\/a +held +5 B, 1 held +EACCES/);
    expect(text).toContain('and 3 more files');
  });

  test('nothing in transit, and a full spool', () => {
    const spool = { ...report([]).spool, state: 'full' as const, reason: 'its disk is full' };
    const text = renderStatus({ ...report([]), spool }, plain);
    expect(text).toMatch(/, full: its disk is full\nnothing is in transit$/);
  });

  test('a name cannot move the cursor', () => {
    const rude = { ...waiting, name: 'a\x1b[2J\x07', reason: 'x\ny' };
    const text = renderStatus(report([rude]), plain) + statusLines(report([rude])).join('');
    // eslint-disable-next-line no-control-regex
    expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f]/);
  });

  test('lines of --watch leave out what always moves', () => {
    const later = { ...waiting, retryInSeconds: 2, bytesPerSecond: 5 };
    expect(statusLines(report([waiting]))).toEqual(statusLines(report([later])));
  });
});

describe('messages', () => {
  const message = {
    ...{ id: 7, at: '2026-01-02T03:04:05Z', since: '2026-01-02T03:00:00Z', server: 'archive' },
    ...{ address: 'kangaroo://archive/run/a', operation: 'write', reason: 'permission denied' },
    ...{ errno: 'EACCES', todo: 'chmod u+w the directory', operations: 3, bytes: 2048 },
    state: 'held' as const,
  };

  test('say what, why, and what to do', () => {
    const text = renderMessages([message], plain);
    expect(text).toContain('kangaroo://archive/run/a');
    expect(text).toContain(
      'write refused by archive: permission denied (EACCES) (3 operations, 2 KiB)',
    );
    expect(text).toContain('to do: chmod u+w the directory');
    expect(messageLine(message).split('\n')).toHaveLength(1);
  });
});

describe('entries', () => {
  test.each([
    [0o755, 'rwxr-xr-x'],
    [0o4755, 'rwsr-xr-x'],
    [0o2644, 'rw-r-Sr--'],
    [0o1777, 'rwxrwxrwt'],
    [0, '---------'],
  ])('mode %o is %s', (mode, letters) => {
    expect(modeLetters(mode)).toBe(letters);
  });

  test('the earliest and the latest time can be shown', () => {
    const entry = {
      ...{ name: 'f', kind: 'file' as const, size: 1, mode: 0o644, mtimeNs: 2n ** 63n - 1n },
      address: { name: 'a', path: 'f', directory: false },
    };
    expect(() => JSON.stringify(entryJson(entry))).not.toThrow();
    expect(() => entryJson({ ...entry, mtimeNs: -(2n ** 63n) })).not.toThrow();
  });
});

describe('progress', () => {
  const state = {
    label: 'put results.dat',
    doneBytes: 25 * 1024 ** 2,
    totalBytes: 100 * 1024 ** 2,
    bytesPerSecond: 25 * 1024 ** 2,
    note: '',
  };

  test('bytes, share, rate and time left', () => {
    expect(progressLine(state, 120)).toBe(
      'put results.dat  [======                  ]   25%  25 MiB of 100 MiB  25 MiB/s  3 s left',
    );
    expect(progressLine({ ...state, totalBytes: null, note: 'why' }, 120)).toBe(
      'put results.dat  25 MiB  25 MiB/s  why',
    );
  });

  test('never wider than the terminal', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.nat(),
        fc.integer({ min: 20, max: 200 }),
        (label, done, columns) => {
          const line = progressLine({ ...state, label, doneBytes: done, note: label }, columns);
          return [...line].length < columns;
        },
      ),
    );
  });

  test('the rate is that of the last seconds', () => {
    const rate = new Rate();
    for (let second = 0; second <= 20; second++) rate.add(second * 1_000, second * 100);
    expect(rate.bytesPerSecond).toBeCloseTo(100);
    for (let second = 21; second <= 30; second++) rate.add(second * 1_000, 2_000);
    expect(rate.bytesPerSecond).toBe(0);
    const burst = new Rate();
    for (let i = 0; i < 1_000; i++) burst.add(i, i * 10);
    expect(burst.bytesPerSecond).toBeCloseTo(10_000);
  });

  test('what a push waits for', () => {
    const progress = { operations: 1, bytes: 10, where: 'a', reason: 'no answer' };
    expect(whereItWaits(progress)).toBe('a: no answer');
    expect(whereItWaits({ ...progress, reason: '' })).toBe('');
    const error = withProgress(new KangarooError('NOT_YET', 'late'), progress) as KangarooError;
    expect(error.message).toBe('late; 10 B in 1 operation on the way, waiting: a: no answer');
    const told = new KangarooError('NOT_YET', '1 operation is still at server a');
    expect(withProgress(told, progress)).toBe(told);
    const other = new KangarooError('HELD', 'x');
    expect(withProgress(other, progress)).toBe(other);
  });
});

test('shorten keeps both ends', () => {
  expect(shorten('abcdefghij', 5)).toBe('ab…ij');
  expect(shorten('abc', 5)).toBe('abc');
  expect(shorten('a\x1b', 9)).toBe('a\\x1b');
});

test('trimLines', () => {
  expect(trimLines('a  \nb\t\n')).toBe('a\nb\n');
});
