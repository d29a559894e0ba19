/**
 * Connections to the next hops: one for all callers, made again when it breaks, with each caller's
 * own deadline, and told apart whether a hop is away or only answers no.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { deadlineIn } from '../../../src/base/deadline.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import type { Connection } from '../../../src/protocol/connection.ts';
import { Downstream } from '../../../src/server/downstream.ts';
import { NextHop } from '../../support/next-hop.ts';

let hop: NextHop;
let downstream: Downstream;
beforeEach(async () => {
  hop = await new NextHop().listen();
  downstream = new Downstream();
});
afterEach(async () => {
  await downstream.close();
  await hop.close();
});

const ask = async (connection: Connection): Promise<number> => {
  const options = { deadline: deadlineIn(3_000) };
  return (await connection.ask('COMMIT', { lowWater: 0 }, 'COMMITTED', options)).incarnation;
};
const many = async (count: number): Promise<number[]> => {
  const calls = Array.from({ length: count }, async () => {
    return await downstream.with(hop.address, deadlineIn(3_000), ask);
  });
  return await Promise.all(calls);
};

describe('one connection', () => {
  test('serves all callers', async () => {
    expect(await many(10)).toEqual(Array.from({ length: 10 }, () => 1));
    expect(hop.greetings).toBe(1);
  });

  test('is made again once, whoever notices that it broke', async () => {
    await many(1);
    let breaks = 1;
    hop.beforeCommitted = () => {
      if (breaks-- > 0) hop.breakOff();
    };
    await many(10);
    await many(10);
    expect(hop.greetings).toBe(2);
  });
});

describe('a hop that is away', () => {
  const away = { kind: 'tcp', host: '127.0.0.1', port: 1 } as const;

  test('is NOT_YET at the deadline, and known to be away from then on', async () => {
    const startMs = performance.now();
    const work = downstream.with(away, deadlineIn(300), ask);
    await expect(work).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(performance.now() - startMs).toBeLessThan(1_500);
    expect(downstream.awayReason(away)).toContain('ECONNREFUSED');
    const again = performance.now();
    await expect(downstream.lookup(away, deadlineIn(60_000), ask)).rejects.toMatchObject({
      code: 'NOT_YET',
    });
    expect(performance.now() - again).toBeLessThan(500);
  });

  test('that hangs while another caller dials costs nobody more than its own deadline', async () => {
    hop.isMute = true;
    const slow = downstream.with(hop.address, deadlineIn(1_500), ask).catch(() => {});
    const startMs = performance.now();
    const quick = downstream.with(hop.address, deadlineIn(200), ask);
    await expect(quick).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(performance.now() - startMs).toBeLessThan(800);
    await slow;
  });

  test('that says nothing at all is left alone for longer', { timeout: 20_000 }, async () => {
    hop.isMute = true;
    const asked = downstream.lookup(hop.address, deadlineIn(600), ask);
    await expect(asked).rejects.toMatchObject({ code: 'NOT_YET' });
    await sleep(1_500);
    expect(downstream.isJustAway(hop.address)).toBe(true);
    const refused = downstream.lookup(away, deadlineIn(600), ask);
    await expect(refused).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(downstream.isJustAway(away)).toBe(true);
    await expect.poll(() => downstream.isJustAway(away), { timeout: 9_500 }).toBe(false);
  });

  test('that says nothing any more is left alone by lookups, and not for a push', async () => {
    await many(1);
    const never = (timeoutMs: number) => async (connection: Connection) => {
      const question = { name: 'n', path: 'p', timeoutMs, hops: 0 };
      const options = { deadline: deadlineIn(timeoutMs), what: 'look' };
      return await connection.ask('STAT', question, 'FOUND', options);
    };
    const pushed = downstream.with(hop.address, deadlineIn(900), never(900));
    await expect(pushed).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(downstream.isJustAway(hop.address)).toBe(false);
    // Whose own time is short must not speak for others.
    const hurried = downstream.lookup(hop.address, deadlineIn(20), never(20));
    await expect(hurried).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(downstream.isJustAway(hop.address)).toBe(false);
    const asked = downstream.lookup(hop.address, deadlineIn(900), never(900));
    await expect(asked).rejects.toMatchObject({ code: 'NOT_YET' });
    expect(downstream.isJustAway(hop.address)).toBe(true);
    await downstream.lookup(hop.address, deadlineIn(3_000), ask);
    expect(downstream.isJustAway(hop.address)).toBe(false);
  });

  test('that comes back with a refusal is not away any more', async () => {
    const { address } = hop;
    hop.isGreeting = false;
    await downstream.with(address, deadlineIn(100), ask).catch(() => {});
    expect(downstream.awayReason(address)).not.toBeNull();
    hop.isGreeting = true;
    const refused = downstream.with(address, deadlineIn(2_000), async () => {
      await Promise.resolve();
      throw new KangarooError('NOT_FOUND', 'no such file');
    });
    await expect(refused).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(downstream.awayReason(address)).toBeNull();
  });
});

test('nobody waits on after an abort', async () => {
  const stop = new AbortController();
  const away = { kind: 'tcp', host: '127.0.0.1', port: 1 } as const;
  const work = downstream.with(away, deadlineIn(10_000), ask, stop.signal);
  setTimeout(() => stop.abort(), 100);
  await expect(work).rejects.toMatchObject({ code: 'INTERRUPTED' });
});
