/**
 * Sizes and durations: what people type is read exactly, what is refused is named, and what is
 * shown rounds the way one expects.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatDuration,
  parseDuration,
  parseSize,
  writeSize,
} from '../../../src/base/units.ts';

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['1K', 1024],
    ['64M', 64 * 1024 ** 2],
    ['1.5G', 1.5 * 1024 ** 3],
    ['2t', 2 * 1024 ** 4],
    [' 7k ', 7 * 1024],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', '-1', '1.5', 'K', '1KB', '1 000', '0x10', '1e3', '9999999T', '.5G', 'NaN'])(
    'refuses %j',
    (text) => {
      expect(() => parseSize(text, '--spool-limit')).toThrow(
        expect.objectContaining({
          code: 'USAGE',
          message: expect.stringContaining(text) as string,
        }),
      );
    },
  );

  test('what is written is read back', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (bytes) => parseSize(writeSize(bytes)) === bytes));
    expect(writeSize(16 * 1024 ** 3)).toBe('16G');
    expect(writeSize(0)).toBe('0');
  });

  test.each([
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [10 * 1024 ** 2, '10 MiB'],
    [123.4 * 1024 ** 2, '123 MiB'],
    [1024 ** 2 - 1, '1 MiB'],
    [2 ** 53 - 1, '8 PiB'],
  ])('%d is shown as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('a shown size never needs more than four digits in a row', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => /^\d{1,4}(\.\d+)? /.test(formatBytes(bytes))),
    );
  });
});

describe('durations', () => {
  test.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5s', 1_500],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['0s', 0],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(['', '30', 's', '-1s', '1d', '1 s', '5M', '1e3s', '1h30m'])('refuses %j', (text) => {
    expect(() => parseDuration(text, '--timeout')).toThrow(
      expect.objectContaining({ code: 'USAGE' }),
    );
  });

  test.each([
    [0, '0 ms'],
    [350, '350 ms'],
    [999.9, '1 s'],
    [4_200, '4.2 s'],
    [9_960, '10 s'],
    [59_700, '1 min'],
    [185_000, '3 min 5 s'],
    [7_800_000, '2 h 10 min'],
    [3 * 86_400_000 + 4 * 3_600_000, '3 d 4 h'],
    [Infinity, 'for ever'],
  ])('%d ms is shown as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
