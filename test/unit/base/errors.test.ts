/**
 * The table of errors: its exit statuses are the contract, and every error comes out of it whole.
 */
import { describe, expect, test } from 'vitest';
import {
  asKangarooError,
  ERRORS,
  type ErrorCode,
  errnoOf,
  explain,
  isErrorCode,
  KangarooError,
} from '../../../src/base/errors.ts';

/** The table of exit statuses that scripts rely on. */
const CONTRACT: Readonly<Record<number, readonly string[]>> = {
  // Refused for good.
  1: [
    'NOT_FOUND',
    'EXISTS',
    'IS_DIRECTORY',
    'NOT_DIRECTORY',
    'NOT_EMPTY',
    'NOT_SUPPORTED',
    'LOCAL_FILE',
    'CORRUPT',
    'PROTOCOL',
    'VERSION',
    'TOO_LARGE',
    'NO_ROUTE',
    'LOOP',
    'SPOOL_IN_USE',
    'INTERNAL',
  ],
  // Wrong usage.
  2: ['USAGE'],
  // The server cannot be reached.
  69: ['UNREACHABLE'],
  // Held.
  73: ['HELD'],
  // Not yet: the time ran out or the outcome is unknown; safe to try again.
  75: ['NOT_YET', 'BUSY', 'SPOOL_FAILED', 'DISCONNECTED'],
  // Not allowed.
  77: ['DENIED'],
  130: ['INTERRUPTED'],
};
const codes = Object.keys(ERRORS) as ErrorCode[];

describe('the table', () => {
  test('has the exit statuses of the contract and no others', () => {
    const statusOf = new Map(
      Object.entries(CONTRACT).flatMap(([status, names]) =>
        names.map((name) => [name, Number(status)] as const),
      ),
    );
    for (const code of codes) {
      expect([code, ERRORS[code].exitStatus]).toEqual([code, statusOf.get(code)]);
    }
    expect([...statusOf.keys()].filter((code) => !isErrorCode(code))).toEqual([]);
  });

  test('says of everything that may be tried again that it may, and what to do next', () => {
    for (const code of codes) {
      const { exitStatus, retryable, hint } = ERRORS[code];
      expect([code, retryable]).toEqual([code, [69, 75, 130].includes(exitStatus)]);
      expect(hint).not.toMatch(/[\n.]$|\n/);
      expect(hint.length).toBeGreaterThan(5);
    }
  });
});

describe('an error', () => {
  test('carries its row, and a hint of its own where the thrower knows better', () => {
    const error = new KangarooError('HELD', 'a/b: permission denied');
    expect(error).toMatchObject({ code: 'HELD', exitStatus: 73, retryable: false });
    expect(error.hint).toBe(ERRORS.HELD.hint);
    expect(new KangarooError('HELD', 'x', { hint: 'ask Ann' }).hint).toBe('ask Ann');
    const cause = new Error('deeper');
    expect(new KangarooError('HELD', 'x', { cause }).cause).toBe(cause);
    expect('cause' in new KangarooError('HELD', 'x')).toBe(false);
  });

  test('of any other kind becomes INTERNAL and keeps its cause', () => {
    const cause = new TypeError('x is not a function');
    expect(asKangarooError(cause)).toMatchObject({
      code: 'INTERNAL',
      message: cause.message,
      cause,
    });
    expect(asKangarooError('a word').message).toBe('a word');
    expect(asKangarooError(undefined).code).toBe('INTERNAL');
    const known = new KangarooError('BUSY', 'x');
    expect(asKangarooError(known)).toBe(known);
  });

  test('is one line for people, whatever names were in it', () => {
    const line = explain(new KangarooError('NOT_FOUND', 'a\nb\x1b[31m\x7f\u009b: no such file'));
    expect(line).toBe(
      'a\\x0ab\\x1b[31m\\x7f\\x9b: no such file (check the address with kangaroo ls)',
    );
  });
});

test('codes of a newer release are told from known ones', () => {
  for (const code of ['HELD', 'USAGE']) expect(isErrorCode(code)).toBe(true);
  for (const code of ['held', 'toString', '__proto__', 'constructor', '']) {
    expect(isErrorCode(code)).toBe(false);
  }
});

test('an answer has no stack, a fault has, also behind an answer', () => {
  expect(new KangarooError('NOT_FOUND', 'x').stack).not.toContain('errors.test.ts');
  expect(new KangarooError('INTERNAL', 'x').stack).toContain('errors.test.ts');
});

test('errno names are found where there are any', () => {
  expect(errnoOf(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe('ENOENT');
  // EXISTS is a code of ours.
  const ours = new KangarooError('EXISTS', 'x');
  for (const other of [null, undefined, 'ENOENT', {}, { code: 5 }, { code: 'SQLITE_BUSY' }, ours]) {
    expect(errnoOf(other)).toBeNull();
  }
});
