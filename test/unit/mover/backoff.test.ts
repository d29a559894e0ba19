/** When a dead hop is tried again, and how fast a link is said to be. */
import { describe, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { backoffMs } from '../../../src/mover/backoff.ts';
import { Rate } from '../../../src/mover/rate.ts';

describe('the pause before the next attempt', () => {
  test('doubles, up to a bound, and is never the same for all', () => {
    const middle = Array.from({ length: 12 }, (_, i) => backoffMs(i + 1, 0.5));
    expect(middle.slice(0, 4)).toEqual([1, 2, 4, 8].map((n) => n * limits.backoffFirstMs));
    expect(middle.at(-1)).toBe(limits.backoffMaxMs);
    for (let failures = 1; failures < 40; failures++) {
      const least = backoffMs(failures, 0);
      const most = backoffMs(failures, 0.999_999);
      expect(least).toBeGreaterThanOrEqual(0.75 * limits.backoffFirstMs);
      expect(most).toBeLessThanOrEqual(1.25 * limits.backoffMaxMs);
      expect(most / least).toBeGreaterThan(1.5);
    }
  });

  test('of no failure, or of very many, is a sound number', () => {
    expect(backoffMs(0, 0.5)).toBe(limits.backoffFirstMs);
    expect(backoffMs(1e9, 0.5)).toBe(limits.backoffMaxMs);
  });
});

describe('a rate', () => {
  const steady = (bytes: number, everyMs: number, forMs: number): Rate => {
    const rate = new Rate(0);
    for (let ms = everyMs; ms <= forMs; ms += everyMs) rate.add(bytes, ms);
    return rate;
  };

  test('of a steady link is that of the link, however it is cut', () => {
    for (const everyMs of [10, 100, 1_000]) {
      const rate = steady(everyMs * 1_000, everyMs, 30_000);
      expect(Math.abs(rate.bytesPerSecond(30_000) / 1e6 - 1)).toBeLessThan(0.01);
    }
  });

  test('follows a change in seconds, and fades when nothing comes', () => {
    const rate = steady(1_000_000, 1_000, 20_000);
    for (let ms = 21_000; ms <= 30_000; ms += 1_000) rate.add(5_000_000, ms);
    expect(rate.bytesPerSecond(30_000)).toBeGreaterThan(4_000_000);
    expect(rate.bytesPerSecond(34_000)).toBeLessThan(2_600_000);
    expect(rate.bytesPerSecond(120_000)).toBe(0);
  });

  test('is nothing at first, and a clock that stands still makes it no infinity', () => {
    const rate = new Rate(5);
    expect(rate.bytesPerSecond(5)).toBe(0);
    rate.add(1_000, 5);
    rate.add(1_000, 5);
    expect(Number.isFinite(rate.bytesPerSecond(5))).toBe(true);
  });
});
