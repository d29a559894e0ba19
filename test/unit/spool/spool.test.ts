/**
 * The door of the spool: one owner, batches that are whole or not at all, syncs that are shared,
 * room that is waited for, segments that go when nothing needs them, and a failed disk after which
 * nothing is acknowledged.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { deadlineIn, NEVER } from '../../../src/base/deadline.ts';
import { HeapGrowth } from '../../../src/base/heap.ts';
import { decodeHead } from '../../../src/protocol/operation.ts';
import { checkSpool, type CheckFinding } from '../../../src/spool/check.ts';
import type { Entry } from '../../../src/spool/entry.ts';
import { logName } from '../../../src/spool/segment.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import {
  contents,
  incoming,
  incomingExternal,
  SENDER,
  SpoolCase,
} from '../../support/spool-case.ts';

const LIMIT_BYTES = 512 * 1024;
let scene: SpoolCase;
let spool: Spool;
beforeEach(async () => {
  scene = new SpoolCase(LIMIT_BYTES);
  spool = await scene.open();
});
afterEach(async () => {
  await scene.end();
});

const put = (seq: number, path = `f${seq}`, text = `bytes of ${path}`): Entry => {
  return spool.append([incoming(seq, path, Buffer.from(text))])[0] as Entry;
};
const putExternal = (seq: number, path: string, bytes: number): Entry => {
  const made = incomingExternal(spool, seq, path, Buffer.alloc(bytes, path));
  const entry = spool.append([made])[0] as Entry;
  const { payloadSegment: segment, payloadOffset: offset } = entry;
  spool.data.giveBack({ segment, offset, bytes }, bytes);
  return entry;
};
const segments = (): string[] => readdirSync(join(scene.directory, 'segments')).sort();

describe('opening', () => {
  test('holds the heap until it is known how much there is, and looks with every change', async () => {
    put(1);
    await spool.sync();
    await scene.close(spool);
    const tighten = vi.spyOn(HeapGrowth.prototype, 'tighten');
    const note = vi.spyOn(HeapGrowth.prototype, 'note');
    try {
      spool = await scene.open();
      put(2);
      spool.release([...spool.live.values()]);
      expect(note.mock.calls).toEqual([[1], [2], [0]]);
      expect(tighten).toHaveBeenCalledOnce();
      expect(tighten.mock.invocationCallOrder[0]).toBeLessThan(
        note.mock.invocationCallOrder[0] ?? 0,
      );
    } finally {
      vi.restoreAllMocks();
    }
  });

  test('by a second server is refused while the first has it', async () => {
    await expect(scene.open()).rejects.toMatchObject({ code: 'SPOOL_IN_USE' });
    await scene.close(spool);
    spool = await scene.open();
    expect(spool.state).toBe('ok');
  });

  test('that fails leaves no lock behind', async () => {
    put(1);
    await scene.close(spool);
    const bad = join(scene.directory, 'segments', logName(99));
    mkdirSync(bad);
    await expect(scene.open()).rejects.toThrow();
    rmSync(bad, { recursive: true });
    spool = await scene.open();
    expect(spool.live.size).toBe(1);
  });

  test('gives a private directory, and refuses a symbolic link', async () => {
    expect(statSync(scene.directory).mode & 0o777).toBe(0o700);
    const link = join(scene.root, 'link');
    symlinkSync(scene.directory, link);
    await scene.close(spool);
    await expect(scene.open(link)).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
  });

  test('keeps the spool id and changes the incarnation', async () => {
    const { spoolId, incarnation } = spool;
    await scene.close(spool);
    spool = await scene.open();
    expect(spool.spoolId).toBe(spoolId);
    expect(spool.incarnation).not.toBe(incarnation);
  });
});

describe('append', () => {
  test('numbers, stamps and stores what came', async () => {
    const origin = { originId: 'cd'.repeat(16), originSeq: 77, hops: 3 };
    const entries = spool.append([
      incoming(1, 'new', Buffer.from('one')),
      incoming(2, 'relayed', Buffer.from('two'), origin),
    ]);
    const [fresh, relayed] = await Promise.all(
      entries.map(async (entry) => decodeHead(await spool.readHead(entry))),
    );
    expect(fresh).toMatchObject({
      seq: entries[0]?.seq,
      originId: spool.spoolId,
      originSeq: entries[0]?.seq,
      senderId: SENDER,
      senderSeq: 1,
      hops: 1,
    });
    expect(relayed).toMatchObject({ ...origin, hops: 4, senderSeq: 2, seq: entries[1]?.seq });
    expect(await contents(spool)).toEqual(
      new Map([
        ['new', 'one'],
        ['relayed', 'two'],
      ]),
    );
    expect(spool.liveBytes).toBe(6);
  });

  test('tells of what came, in order', () => {
    const heard: number[] = [];
    spool.on('append', (entries) => heard.push(...entries.map(({ seq }) => seq)));
    const seqs = [put(1), put(2)].map(({ seq }) => seq);
    expect(heard).toEqual(seqs);
  });
});

describe('sync', () => {
  test('of many callers at a time resolves for all of them', async () => {
    const waits: Promise<void>[] = [];
    for (let seq = 1; seq <= 50; seq++) {
      put(seq);
      waits.push(spool.sync());
    }
    await Promise.all(waits);
    const copy = await scene.open(scene.killed());
    expect(copy.live.size).toBe(50);
  });

  test('that fails is the end: nothing is acknowledged, waiting callers are woken', async () => {
    put(1);
    const failures: unknown[] = [];
    spool.on('failed', (error) => failures.push(error));
    const waiting = spool.room(10 * LIMIT_BYTES, NEVER).catch((error: unknown) => error);
    const failure = spool.fail(new Error('EIO: i/o error, fdatasync'));
    expect(failure.code).toBe('SPOOL_FAILED');
    spool.fail(new Error('again'));
    expect(failures).toHaveLength(1);
    expect(await waiting).toMatchObject({ code: 'SPOOL_FAILED' });
    await expect(spool.sync()).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
    expect(() => put(2)).toThrow(expect.objectContaining({ code: 'SPOOL_FAILED' }));
    expect(() => spool.reserve(10)).toThrow(expect.objectContaining({ code: 'SPOOL_FAILED' }));
    expect(spool.state).toBe('failed');
    await scene.close(spool);
  });
});

describe('room', () => {
  test('is waited for, and comes when what was delivered goes', async () => {
    const entries = Array.from({ length: 7 }, (_, i) => put(i + 1, `f${i}`, 'x'.repeat(66_000)));
    expect(spool.hasRoom(70_000)).toBe(false);
    expect([spool.state, spool.fullReason]).toEqual(['full', 'its limit is reached']);
    const waiting = spool.room(70_000, deadlineIn(5_000));
    spool.release(entries);
    await waiting;
    expect(spool.state).toBe('ok');
    await spool.tidy();
    expect(spool.occupiedBytes).toBeLessThan(70_000);
  });

  test('ends at the deadline, and leaves no listener behind', async () => {
    put(1);
    const before = spool.listenerCount('room');
    const waits = Array.from({ length: 20 }, () => spool.room(2 * LIMIT_BYTES, deadlineIn(20)));
    const results = await Promise.allSettled(waits);
    for (const result of results) expect(result).toMatchObject({ reason: { code: 'NOT_YET' } });
    expect(spool.listenerCount('room')).toBe(before);
  });

  test('ends when nobody waits any more', async () => {
    const stop = new AbortController();
    const waiting = spool.room(2 * LIMIT_BYTES, NEVER, stop.signal);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });

  test('is missing once after a write met a full disk', () => {
    expect(spool.hasRoom(1)).toBe(true);
    spool.noteDiskFull();
    expect(spool.hasRoom(1)).toBe(false);
    expect(spool.fullReason).toBe('its disk is full');
    expect(spool.hasRoom(1)).toBe(true);
  });
});

test('room in a file that cannot be made is the end of the spool, not of who asked', () => {
  renameSync(join(scene.directory, 'segments'), join(scene.directory, 'taken away'));
  expect(() => spool.reserve(10)).toThrow(expect.objectContaining({ code: 'SPOOL_FAILED' }));
  expect(spool.state).toBe('failed');
  renameSync(join(scene.directory, 'taken away'), join(scene.directory, 'segments'));
});

test('names of segments that cannot be made durable are the end of the spool', () => {
  const long = 'x'.repeat(66_000);
  put(1, 'a', long);
  renameSync(join(scene.directory, 'segments'), join(scene.directory, 'taken away'));
  const fill = (): Entry[] => [put(2, 'b', long), put(3, 'c', long)];
  expect(fill).toThrow(expect.objectContaining({ code: 'SPOOL_FAILED' }));
  expect(spool.state).toBe('failed');
  renameSync(join(scene.directory, 'taken away'), join(scene.directory, 'segments'));
});

describe('what is released', () => {
  test('goes from the disk: log and data segments, and their rows', async () => {
    const entries = [put(1, 'a', 'x'.repeat(66_000)), putExternal(2, 'b', 60_000), put(3)];
    await spool.sync();
    spool.release(entries);
    spool.hasRoom(LIMIT_BYTES);
    await spool.tidy();
    await spool.tidy();
    await spool.tidy();
    expect(segments().filter((name) => name.endsWith('.data'))).toEqual([]);
    expect(segments()).toHaveLength(1);
    expect(spool.occupiedBytes).toBeLessThan(200);
    expect(spool.index.segments()).toEqual([]);
    expect([spool.live.size, spool.liveBytes]).toEqual([0, 0]);
    const after = await scene.open(scene.killed());
    expect([after.live.size, after.taken.has(SENDER, 2)]).toEqual([0, true]);
  });

  test('twice changes nothing', () => {
    const entry = put(1);
    spool.release([entry]);
    spool.release([entry]);
    expect([spool.live.size, spool.liveBytes]).toEqual([0, 0]);
  });

  test('raises the low water mark only behind everything that may still be sent', async () => {
    const heard: number[] = [];
    spool.on('lowWater', (seq) => heard.push(seq));
    const [first, second, third] = [put(1), put(2), put(3)] as [Entry, Entry, Entry];
    spool.release([second]);
    await spool.tidy();
    expect(heard.at(-1)).toBe(first.seq - 1);
    spool.release([first]);
    await spool.tidy();
    expect(heard.at(-1)).toBe(second.seq);
    spool.release([third]);
    await spool.tidy();
    expect(heard.at(-1)).toBe(third.seq);
  });
});

describe('compaction', () => {
  test('moves the few that live in a dead segment and gives back the disk', async () => {
    const moved: Entry[] = [];
    spool.on('moved', (entries) => moved.push(...entries));
    const small = put(1, 'small', 'keep me');
    const external = putExternal(2, 'external', 10_000);
    const large = put(3, 'large', 'x'.repeat(66_000));
    put(4, 'next');
    const from = small.segment;
    spool.release([large]);
    spool.hasRoom(LIMIT_BYTES);
    await spool.tidy();
    await spool.tidy();
    expect(moved).toEqual([small, external]);
    expect(segments()).not.toContain(logName(from));
    expect((await contents(spool)).get('small')).toBe('keep me');
    expect(await spool.problemOf(external)).toBeNull();
    const after = await scene.open(scene.killed());
    expect([...after.live.values()].map(({ path }) => path)).toEqual(['small', 'external', 'next']);
    expect((await contents(after)).get('external')?.length).toBe(10_000);
  });

  test('of what is released while it is being moved leaves nothing alive', async () => {
    const small = put(1, 'small', 'keep me');
    const large = put(2, 'large', 'x'.repeat(66_000));
    put(3, 'next');
    spool.release([large]);
    spool.hasRoom(LIMIT_BYTES);
    const running = spool.tidy();
    // After the flush of that round, while the records are being read.
    await new Promise((resolve) => setTimeout(resolve, 3));
    spool.release([small]);
    await running;
    for (let i = 0; i < 3; i++) await spool.tidy();
    const after = await scene.open(scene.killed());
    expect([...after.live.values()].map(({ path }) => path)).toEqual(['next']);
  });
});

describe('damage that is met while running', () => {
  test('is put aside with what can still be read', () => {
    const entry = putExternal(1, 'large', 5_000);
    spool.putAside(entry, 'payload checksum');
    const kept = readdirSync(join(scene.directory, 'quarantine')).sort();
    expect(kept).toEqual([`${entry.seq}.json`, `${entry.seq}.payload`, `${entry.seq}.record`]);
  });
});

describe('check', () => {
  test('reads a running spool and finds nothing, or names what is damaged', async () => {
    put(1);
    putExternal(2, 'large', 70_000);
    await spool.sync();
    const problems: CheckFinding[] = [];
    const good = await checkSpool(scene.killed(), (finding) => problems.push(finding));
    expect(good).toMatchObject({ operations: 2, problems: 0 });
    const copy = scene.killed();
    rmSync(join(copy, 'segments', segments().find((name) => name.endsWith('.data')) ?? ''));
    const bad = await checkSpool(copy, (finding) => problems.push(finding));
    expect(existsSync(copy)).toBe(true);
    expect([bad.problems, problems.length]).toEqual([1, 1]);
  });

  test('of no spool is a wrong use', async () => {
    await expect(checkSpool(scene.root, () => {})).rejects.toMatchObject({ code: 'USAGE' });
  });
});
