/** Deadlines: on the wire, in waits that end, and in waits that nobody waits for any more. */
import { describe, expect, test } from 'vitest';
import {
  deadlineIn,
  fromWireMs,
  hasPassed,
  NEVER,
  nowMs,
  remainingMs,
  sleep,
  toWireMs,
  within,
} from '../../../src/base/deadline.ts';

const forever = new Promise<never>(() => {});
const WIRE_NEVER = 0xffff_ffff;

describe('a deadline', () => {
  test('is a moment of the clock that nobody can set', () => {
    expect(Math.abs(nowMs() - performance.now())).toBeLessThan(50);
    expect(remainingMs(deadlineIn(1_000))).toBeGreaterThan(900);
    expect(remainingMs(nowMs() - 5)).toBe(0);
    expect([hasPassed(nowMs() - 1), hasPassed(deadlineIn(1_000)), hasPassed(NEVER)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(deadlineIn(Infinity)).toBe(NEVER);
  });

  test('travels as the milliseconds left', () => {
    expect(toWireMs(NEVER)).toBe(WIRE_NEVER);
    expect(fromWireMs(WIRE_NEVER)).toBe(NEVER);
    expect(toWireMs(nowMs() - 10)).toBe(0);
    expect(toWireMs(deadlineIn(1e15))).toBe(WIRE_NEVER - 1);
    const there = remainingMs(fromWireMs(toWireMs(deadlineIn(5_000))));
    expect(there > 4_900 && there <= 5_001).toBe(true);
  });
});

describe('a wait', () => {
  test('gives the result, or the failure, of the work', async () => {
    expect(await within(Promise.resolve(7), NEVER, 'work')).toBe(7);
    expect(await within(Promise.resolve(7), deadlineIn(1_000), 'work')).toBe(7);
    const failing = within(Promise.reject(new Error('no')), deadlineIn(1_000), 'work');
    await expect(failing).rejects.toThrow('no');
  });

  test('ends at the deadline as NOT_YET, and at the signal as INTERRUPTED', async () => {
    await expect(within(forever, deadlineIn(20), 'work')).rejects.toMatchObject({
      code: 'NOT_YET',
      message: 'work: the time ran out',
    });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 10);
    await expect(within(forever, NEVER, 'work', stop.signal)).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
  });

  test('that was over before it began leaves no failure unheard', async () => {
    const unheard: unknown[] = [];
    const listen = (error: unknown): void => void unheard.push(error);
    process.on('unhandledRejection', listen);
    const stop = new AbortController();
    stop.abort();
    const work = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('late')), 5);
    });
    await expect(within(work, NEVER, 'work', stop.signal)).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
    await sleep(30);
    process.off('unhandledRejection', listen);
    expect(unheard).toEqual([]);
  });

  test('of more than 24 days is none that ends at once', async () => {
    const work = sleep(20).then(() => 'done');
    expect(await within(work, deadlineIn(1e12), 'work')).toBe('done');
  });
});

describe('a sleep', () => {
  test('ends early when it is aborted, and leaves no listener', async () => {
    const stop = new AbortController();
    const asleep = sleep(60_000, stop.signal);
    setTimeout(() => stop.abort(), 5);
    await expect(asleep).rejects.toMatchObject({ code: 'INTERRUPTED', exitStatus: 130 });
    await expect(sleep(1, stop.signal)).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});
