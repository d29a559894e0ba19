/** Addresses and targets as people write them, and the paths that must never come out of them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { invalidPath } from '../../../src/protocol/operation.ts';
import {
  EVERYTHING,
  formatAddress,
  formatTarget,
  fromArgument,
  isAddress,
  isWithin,
  joinPath,
  matches,
  parseAddress,
  parseTarget,
  splitPath,
  toDisplay,
} from '../../../src/route/address.ts';

describe('an address', () => {
  test.each([
    ['kangaroo://archive/run8/out', 'archive', 'run8/out', false],
    ['/kangaroo/archive/run8/out', 'archive', 'run8/out', false],
    ['kangaroo://archive/run8/', 'archive', 'run8', true],
    ['kangaroo://archive/', 'archive', '', true],
    ['kangaroo://archive', 'archive', '', true],
    ['kangaroo://a.b-C9//x///y//', 'a.b-C9', 'x/y', true],
    ['kangaroo://a/...', 'a', '...', false],
    ['kangaroo://a/ü', 'a', '\xc3\xbc', false],
    ['kangaroo://a/with space', 'a', 'with space', false],
  ])('%s', (text, name, path, directory) => {
    expect(isAddress(text)).toBe(true);
    expect(parseAddress(text)).toEqual({ name, path, directory });
  });

  test.each([
    'archive/x',
    '/tmp/x',
    'kangaroo:/a/x',
    'kangaroo:///x',
    'kangaroo://.a/x',
    'kangaroo://a b/x',
    'kangaroo://a/../x',
    'kangaroo://a/x/..',
    'kangaroo://a/./x',
    'kangaroo://a/x\0y',
    '/kangaroo/../etc/passwd',
    `kangaroo://a/${'x'.repeat(4_097)}`,
  ])('%j is a wrong use, said so', (text) => {
    expect(() => parseAddress(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });

  test('whatever is typed, what comes out stays below the export directory', () => {
    const part = fc.constantFrom('..', '.', '/', '//', 'a', '%2e', '\\', ' ', '\0', '\n');
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        try {
          const { path } = parseAddress(`kangaroo://a/${parts.join('')}`);
          expect(invalidPath(path)).toBe(false);
        } catch (error) {
          expect(error).toMatchObject({ code: 'USAGE' });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('comes back from what is shown, where it can be shown', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[^/\0.]{1,8}$/), { minLength: 1, maxLength: 4 }),
        (parts) => {
          const path = fromArgument(parts.join('/'));
          expect(parseAddress(formatAddress('a', path)).path).toBe(path);
        },
      ),
    );
  });

  test('with bytes that are no text is shown byte by byte', () => {
    expect(toDisplay('a\xff')).toBe('a\xff');
    expect(toDisplay('\xc3\xbc')).toBe('ü');
  });
});

describe('paths', () => {
  test('are put together and taken apart', () => {
    expect([joinPath('', 'a'), joinPath('a/b', 'c')]).toEqual(['a', 'a/b/c']);
    expect([splitPath('a/b/c'), splitPath('a'), splitPath('')]).toEqual([
      ['a/b', 'c'],
      ['', 'a'],
      ['', ''],
    ]);
  });

  test('are within a directory by component, not by letters', () => {
    expect([isWithin('a', 'a'), isWithin('a/b', 'a'), isWithin('x', '')]).toEqual([
      true,
      true,
      true,
    ]);
    expect([isWithin('ab', 'a'), isWithin('a', 'a/b'), isWithin('', 'a')]).toEqual([
      false,
      false,
      false,
    ]);
  });
});

describe('a target', () => {
  test.each([
    ['', '', ''],
    ['archive', 'archive', ''],
    ['kangaroo://archive', 'archive', ''],
    ['kangaroo://archive/run8/', 'archive', 'run8'],
    ['/kangaroo/archive/run8/f', 'archive', 'run8/f'],
  ])('%j', (text, name, path) => {
    expect(parseTarget(text)).toEqual({ name, path });
  });

  test.each(['a/b', './x', 'a b', '/tmp'])('%j is a wrong use', (text) => {
    expect(() => parseTarget(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });

  test('is about everything, a server, a directory or a file', () => {
    const about = (text: string): boolean[] => {
      const target = parseTarget(text);
      return [
        matches(target, 'a', 'd/f'),
        matches(target, 'a', 'd'),
        matches(target, 'a', 'dx'),
        matches(target, 'b', 'd/f'),
      ];
    };
    expect(about('')).toEqual([true, true, true, true]);
    expect(about('a')).toEqual([true, true, true, false]);
    expect(about('kangaroo://a/d')).toEqual([true, true, false, false]);
    expect(about('kangaroo://a/d/f')).toEqual([true, false, false, false]);
    expect([formatTarget(EVERYTHING), formatTarget({ name: 'a', path: 'd' })]).toEqual([
      '',
      'kangaroo://a/d',
    ]);
  });
});
