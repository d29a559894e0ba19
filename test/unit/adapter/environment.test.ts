/**
 * The environment of an adapted program: what is set, what stays, what is refused.
 */
import { describe, expect, test } from 'vitest';
import {
  adaptedEnvironment,
  checkMountList,
  parseMount,
  preloadList,
} from '../../../src/adapter/environment.ts';

const library = '/opt/kangaroo/native/build/preload/libkangaroo.so';

describe('LD_PRELOAD', () => {
  test.each([
    [undefined, library],
    ['', library],
    [library, library],
    ['/usr/lib/libdarshan.so', `/usr/lib/libdarshan.so:${library}`],
    ['liba.so libb.so', `liba.so:libb.so:${library}`],
    [`${library}:liba.so`, `liba.so:${library}`],
    [`liba.so:/elsewhere/libkangaroo.so:${library}`, `liba.so:${library}`],
    [': :', library],
  ])('%j becomes %j', (before, after) => {
    expect(preloadList(before, library)).toBe(after);
    expect(preloadList(after, library)).toBe(after);
  });
});

describe('variables', () => {
  test('what is not asked for stays as it was', () => {
    const before = {
      PATH: '/bin',
      KANGAROO_SERVER: 'here',
      KANGAROO_MOUNTS: 'a=/b',
      NO: undefined,
    };
    expect(adaptedEnvironment(before, { library })).toEqual({
      PATH: '/bin',
      KANGAROO_SERVER: 'here',
      KANGAROO_MOUNTS: 'a=/b',
      LD_PRELOAD: library,
    });
  });

  test('what is asked for is set', () => {
    const made = adaptedEnvironment(
      { KANGAROO_MOUNTS: 'x=/y', KANGAROO_FSYNC: 'push' },
      {
        ...{ library, server: 'unix:/s', timeoutMs: 1_500, report: '-', fsync: 'commit' },
        verdict: '/t/verdict',
        mounts: [{ logical: 'out', target: '/kangaroo/a/b' }],
      },
    );
    expect(made).toEqual({
      LD_PRELOAD: library,
      KANGAROO_SERVER: 'unix:/s',
      KANGAROO_TIMEOUT: '1500ms',
      KANGAROO_MOUNTS: 'out=/kangaroo/a/b:x=/y',
      KANGAROO_REPORT: '-',
      KANGAROO_FSYNC: 'commit',
      KANGAROO_VERDICT: '/t/verdict',
    });
  });
});

describe('mounts', () => {
  test.each([
    ['out.txt=/kangaroo/a/out', 'out.txt', '/kangaroo/a/out'],
    ['/data=kangaroo://a/x', '/data', '/kangaroo/a/x'],
    ['/data=/scratch=1', '/data', '/scratch=1'],
  ])('%s', (text, logical, target) => {
    expect(parseMount(text)).toEqual({ logical, target });
  });

  test.each(['', 'x', '=/y', 'x=', 'x=relative', 'a:b=/c', 'a=/b:c', 'a=kangaroo://a:1/x'])(
    '%s is refused',
    (text) => {
      expect(() => parseMount(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    },
  );

  test.each([undefined, '', ':', 'a=/b', 'a=/b::/c=/kangaroo/d/e=f:'])('the list %s', (text) => {
    expect(() => checkMountList(text)).not.toThrow();
  });

  test.each(['a', 'a=/b:c', '=/b', 'a=b', 'x=/y:a=kangaroo://a/b'])('the list %s', (text) => {
    expect(() => checkMountList(text)).toThrow(
      expect.objectContaining({
        code: 'USAGE',
        message: expect.stringMatching(/^KANGAROO_MOUNTS: '.*' is not LOGICAL=\/TARGET$/) as string,
      }),
    );
  });
});
