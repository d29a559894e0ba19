/**
 * What a spool promises across a kill and a restart, one case for each way in which it could be
 * broken: numbers used twice, released operations that come back, acknowledged ones that go,
 * repeats that are taken again, descriptors that are closed twice.
 */
import { closeSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Entry } from '../../../src/spool/entry.ts';
import { LOG_HEADER_BYTES } from '../../../src/spool/segment.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { incoming, incomingExternal, SENDER, SpoolCase } from '../../support/spool-case.ts';

let scene: SpoolCase;
beforeEach(() => {
  scene = new SpoolCase(8 * 1024 * 1024);
});
afterEach(async () => {
  await scene.end();
});

const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const livePaths = (spool: Spool): string[] => [...spool.live.values()].map(({ path }) => path);
const entryOf = (spool: Spool, path: string): Entry => {
  const found = [...spool.live.values()].find((entry) => entry.path === path);
  if (found === undefined) throw new Error(`${path} is not in the spool`);
  return found;
};
const put = (spool: Spool, seq: number, path: string, bytes = text(path)): Entry => {
  return spool.append([incoming(seq, path, bytes)])[0] as Entry;
};
/** More than a second: housekeeping has flushed what was released. */
const housekeeping = async (rounds = 1): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, rounds * 1_100 + 200));
};

describe('released operations stay released', () => {
  test('over two restarts with releases between them', async () => {
    let spool = await scene.open();
    for (const [i, path] of ['a', 'b', 'c'].entries()) put(spool, i + 1, path);
    spool.release([entryOf(spool, 'a')]);
    await scene.close(spool);
    spool = await scene.open();
    expect(livePaths(spool)).toEqual(['b', 'c']);
    spool.release([entryOf(spool, 'b')]);
    await scene.close(spool);
    spool = await scene.open();
    expect(livePaths(spool)).toEqual(['c']);
  });

  test('when one had its payload in a data segment that is gone', async () => {
    const spool = await scene.open();
    const [large] = spool.append([incomingExternal(spool, 1, 'large', Buffer.alloc(200_000, 1))]);
    // As after a grant: nobody holds room in that segment any more.
    spool.data.giveBack(
      { segment: large?.payloadSegment ?? 0, offset: 0, bytes: 200_000 },
      200_000,
    );
    spool.release([large as Entry]);
    await housekeeping();
    expect(readdirSync(join(scene.directory, 'segments')).filter((n) => /data$/.test(n))).toEqual(
      [],
    );
    put(spool, 2, 'small');
    await spool.sync();
    const after = await scene.open(scene.killed());
    expect(after.findings).toEqual([]);
    expect(livePaths(after)).toEqual(['small']);
  });

  test('while its segment lives on and holes are punched into it', async () => {
    const spool = await scene.open();
    // All of them in one segment, which lives on with the last.
    const payload = Buffer.alloc(100_000, 7);
    const all = [1, 2, 3, 4, 5, 6].map((seq) => incomingExternal(spool, seq, `f${seq}`, payload));
    const entries = spool.append(all);
    spool.release(entries.slice(0, 5));
    // Between the flush and the punching nothing more may have become dead for good.
    spool.data.punchDead(1, 0);
    await spool.sync();
    const after = await scene.open(scene.killed());
    expect(after.findings).toEqual([]);
    // Their release is not in the index yet, so they are all here again, with their bytes.
    expect(livePaths(after)).toEqual(['f1', 'f2', 'f3', 'f4', 'f5', 'f6']);
    for (const entry of after.live.values()) {
      expect(payload.equals(await after.readPayload(entry)), entry.path).toBe(true);
    }
  });
});

describe('numbers are never given twice', () => {
  test('when the index is lost while nothing is in the spool', async () => {
    let spool = await scene.open();
    const { spoolId } = spool;
    const first = put(spool, 1, 'a');
    spool.release([first]);
    await scene.close(spool);
    spool = await scene.open();
    await housekeeping();
    await scene.close(spool);
    for (const file of ['index.db', 'index.db-wal', 'index.db-shm']) {
      rmSync(join(scene.directory, file), { force: true });
    }
    spool = await scene.open();
    const next = put(spool, 2, 'b');
    expect(spool.spoolId === spoolId ? next.seq : Infinity).toBeGreaterThan(first.seq);
  });
});

describe('numbers are never given twice by a power cut', () => {
  /** The directory after a cut that took all records, which were never synced. */
  async function cut(withIndex: boolean): Promise<{ spool: Spool; highest: number }> {
    const before = await scene.open();
    for (let seq = 1; seq <= 5; seq++) put(before, seq, `f${seq}`);
    const after = scene.killed();
    const [log] = readdirSync(join(after, 'segments')).filter((name) => name.endsWith('.log'));
    truncateSync(join(after, 'segments', log ?? ''), LOG_HEADER_BYTES);
    for (const file of withIndex ? [] : ['index.db', 'index.db-wal', 'index.db-shm']) {
      rmSync(join(after, file), { force: true });
    }
    return { spool: await scene.open(after), highest: before.highestSeq };
  }

  test.each([true, false])('with the index: %s', async (withIndex) => {
    // The mover may have passed them on under these numbers.
    const { spool, highest } = await cut(withIndex);
    expect(livePaths(spool)).toEqual([]);
    expect(put(spool, 1, 'again').seq).toBeGreaterThan(highest);
  });
});

describe('damage at the end', () => {
  test('of a log without a mark is not cut off in silence', async () => {
    const spool = await scene.open();
    put(spool, 1, 'first');
    const last = put(spool, 2, 'last');
    await spool.sync();
    const copy = scene.killed();
    const file = join(copy, 'segments', '00000001.log');
    const bytes = readFileSync(file);
    bytes[last.at + 50] = (bytes[last.at + 50] as number) ^ 1;
    writeFileSync(file, bytes);
    const after = await scene.open(copy);
    expect(livePaths(after)).toEqual(['first']);
    expect(after.findings).toMatchObject([{ segment: '00000001.log', offset: last.at }]);
    expect(readdirSync(join(copy, 'quarantine')).length).toBe(1);
  });
});

describe('a sync that failed', () => {
  test('is the end: the next one does not succeed', async () => {
    const spool = await scene.open();
    const [entry] = spool.append([incomingExternal(spool, 1, 'large', Buffer.alloc(100_000, 1))]);
    closeSync(spool.data.fd(entry?.payloadSegment ?? 0) as number);
    await expect(spool.sync()).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
    await expect(spool.sync()).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
    expect(() => put(spool, 2, 'after')).toThrow(/spool disk failed/);
    expect(spool.state).toBe('failed');
  });
});

describe('taken numbers', () => {
  test('of a sealed segment are known after a kill, released or not', async () => {
    const spool = await scene.open();
    const bytes = Buffer.alloc(60_000, 1);
    for (let seq = 1; seq <= 40; seq++) put(spool, seq, `f${seq}`, bytes);
    spool.release([entryOf(spool, 'f1'), entryOf(spool, 'f2')]);
    await housekeeping(7);
    const after = await scene.open(scene.killed());
    expect(livePaths(after)).not.toContain('f1');
    expect([1, 2, 3, 18].map((seq) => after.taken.has(SENDER, seq))).toEqual([
      true,
      true,
      true,
      true,
    ]);
  }, 30_000);
});

describe('a sync that runs', () => {
  test('keeps its descriptors while the segment becomes full', async () => {
    const spool = await scene.open();
    let failed: Error | null = null;
    spool.on('failed', (error) => {
      failed = error;
    });
    const bytes = Buffer.alloc(60_000, 1);
    // One in a data segment makes it a sync on the thread pool.
    spool.append([incomingExternal(spool, 1, 'large', bytes)]);
    for (let seq = 2; seq <= 19; seq++) put(spool, seq, `f${seq}`, bytes);
    const full = entryOf(spool, 'f19').segment;
    const running = spool.sync();
    // The segment is full: this one goes to the next, and the descriptor is the sync's to close.
    expect(put(spool, 20, 'next').segment).toBe(full + 2);
    await running;
    await spool.sync();
    expect(failed).toBeNull();
  });
});
