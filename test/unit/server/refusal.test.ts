/** The table of refusals: complete, readable, and silent about what is no refusal. */

import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { isShortage, knownRefusals, refusal, refusalOf } from '../../../src/server/refusal.ts';

const failure = (code: string): Error => Object.assign(new Error(code), { code });

test('knows what a destination commonly answers', () => {
  const common =
    'EACCES EPERM EROFS ENOSPC EDQUOT EISDIR ENOTDIR ENAMETOOLONG ELOOP EFBIG ENOTEMPTY EEXIST ' +
    'ENOENT EXDEV EINVAL ENXIO ETXTBSY EMLINK EBUSY EIO ESTALE';
  for (const errno of common.split(' ')) expect(knownRefusals()).toContain(errno);
});

test('each row has an errno that exists, a text and an advice of one clause', () => {
  // Node has no name for these two, but the addon and libuv do.
  const others = ['EREMOTEIO', 'EUCLEAN'];
  for (const errno of knownRefusals()) {
    expect([...Object.keys(constants.errno), ...others]).toContain(errno);
    const row = refusal(errno);
    expect(row.errno).toBe(errno);
    for (const text of [row.text, row.advice]) {
      expect(text).toMatch(/^[a-z][^\n]{10,100}[^.\s]$/);
    }
    if (row.retriesItself) expect(row.advice).toContain('by itself');
    else expect(row.advice).toMatch(/kangaroo (retry|discard)/);
  }
});

test('space is made, disks come back, directories arrive; the rest waits for somebody', () => {
  for (const errno of ['ENOSPC', 'EDQUOT', 'EIO', 'ENOENT']) {
    expect(refusal(errno).retriesItself).toBe(true);
  }
  for (const errno of ['EACCES', 'EISDIR', 'EROFS', 'EEXIST']) {
    expect(refusal(errno).retriesItself).toBe(false);
  }
});

test('an unknown errno is a refusal too', () => {
  for (const errno of ['ESURPRISE', 'EPROTO']) {
    expect(refusal(errno)).toMatchObject({ errno, retriesItself: false });
    expect(refusal(errno).text).toContain(errno);
  }
  expect(refusal('constructor').text).toContain('constructor');
});

test('our own shortages and faults of the program are no refusals', () => {
  for (const code of ['EMFILE', 'ENFILE', 'ENOMEM', 'EINTR', 'EAGAIN']) {
    expect(refusalOf(failure(code))).toBeNull();
    expect(isShortage(failure(code))).toBe(true);
  }
  expect(refusalOf(new TypeError('a bug'))).toBeNull();
  expect(isShortage(new TypeError('a bug'))).toBe(false);
  expect(refusalOf(failure('ERR_INVALID_ARG_TYPE'))).toBeNull();
  expect(refusalOf(failure('ENOSPC'))).toEqual(refusal('ENOSPC'));
  expect(isShortage(failure('ENOSPC'))).toBe(false);
});

test('errors that Node has no name for are known by their number', () => {
  const nameless = (errno: number): Error => {
    return Object.assign(new Error(), { code: `Unknown system error ${errno}`, errno });
  };
  expect(refusalOf(nameless(-constants.errno.EDQUOT))).toEqual(refusal('EDQUOT'));
  expect(refusalOf(nameless(-constants.errno.ESTALE))).toEqual(refusal('ESTALE'));
  expect(refusalOf(nameless(-4000))?.errno).toBe('E4000');
  expect(refusalOf({ errno: 5 })).toBeNull();
});
