/**
 * The order in which the spool asks things of the disk, read from the kernel: what is acknowledged
 * was synced before, what is removed was durably not needed before. A file system that happens to
 * write in time would hide every mistake here.
 */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Entry } from '../../../src/spool/entry.ts';
import { dataName, logName, walkLog } from '../../../src/spool/segment.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { type OwnCall, ownCalls } from '../../support/own-calls.ts';
import { incoming, incomingExternal, SpoolCase } from '../../support/spool-case.ts';

const CALLS = 'openat,write,pwrite64,pwritev,fsync,fdatasync,unlink,unlinkat,sendto';
/** Segments of 64 KiB. */
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

const put = (seq: number, bytes = 10): Entry => {
  return spool.append([incoming(seq, `f${seq}`, Buffer.alloc(bytes, 7))])[0] as Entry;
};
const putExternal = (seq: number, bytes: number): Entry => {
  const made = incomingExternal(spool, seq, `f${seq}`, Buffer.alloc(bytes, 7));
  const entry = spool.append([made])[0] as Entry;
  const { payloadSegment: segment, payloadOffset: offset } = entry;
  spool.data.giveBack({ segment, offset, bytes }, bytes);
  return entry;
};
/** Where the calls of these names on that file are in the trace. */
const places = (calls: readonly OwnCall[], names: RegExp, file: string): number[] => {
  return calls.flatMap(({ name, args }, i) => (names.test(name) && args.includes(file) ? [i] : []));
};
const WRITES = /write/;
const SYNCS = /sync/;
const UNLINKS = /unlink/;
/** Calls are compared with at, so an empty list must not pass for "never". */
const last = (list: readonly number[]): number => list.at(-1) ?? NaN;
const first = (list: readonly number[]): number => list[0] ?? NaN;
/** Where a file was opened first. */
const openedAt = (calls: readonly OwnCall[], file: string): number => {
  return first(places(calls, /^openat/, file));
};

/** Holds up what a sync does with data segments, until the function that it returns is called. */
const holdPayloadSync = (): (() => void) => {
  const { data } = spool;
  const syncData = data.sync.bind(data);
  let goOn = (): void => {};
  const held = new Promise<void>((resolve) => (goOn = resolve));
  data.sync = async () => {
    await held;
    await syncData();
  };
  return goOn;
};
/** The log's own part of a sync that runs is surely over then. */
const untilLogIsSynced = async (): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, 200));
};

test('a sync that has ended covers payload, record and directory', async () => {
  let entries: Entry[] = [];
  const calls = await ownCalls(CALLS, async () => {
    entries = [put(1), putExternal(2, 5_000), put(3)];
    await spool.sync();
  });
  if (calls === null) return;
  const log = logName(entries[0]?.segment ?? 0);
  const data = dataName(entries[1]?.payloadSegment ?? 0);
  for (const file of [log, data]) {
    expect(last(places(calls, SYNCS, file))).toBeGreaterThan(last(places(calls, WRITES, file)));
  }
  const made = first(places(calls, /openat/, data));
  expect(last(places(calls, /^fsync/, '/segments>'))).toBeGreaterThan(made);
});

test('the names of segments are durable before the next log segment is begun', async () => {
  let logs: number[] = [];
  const calls = await ownCalls(CALLS, () => {
    // Nobody asks for a sync, and each fills a segment.
    logs = [put(1, 66_000), putExternal(2, 5_000), put(3, 66_000), put(4)].map((e) => e.segment);
    return Promise.resolve();
  });
  if (calls === null) return;
  const begun = [...new Set(logs)].slice(1).map((number) => openedAt(calls, logName(number)));
  expect(begun).toHaveLength(2);
  const synced = places(calls, /^fsync/, '/segments>');
  const [second = NaN, third = NaN] = begun;
  expect(synced.filter((at) => at > second && at < third)).toHaveLength(1);
});

test('a caller that comes while a sync runs gets one that began after its append', async () => {
  let third: Entry | null = null;
  const calls = await ownCalls(CALLS, async () => {
    const goOn = holdPayloadSync();
    putExternal(1, 5_000);
    const running = spool.sync();
    await untilLogIsSynced();
    third = put(2);
    const following = spool.sync();
    goOn();
    await Promise.all([running, following]);
  });
  if (calls === null) return;
  const log = logName((third as Entry | null)?.segment ?? 0);
  expect(last(places(calls, SYNCS, log))).toBeGreaterThan(last(places(calls, WRITES, log)));
});

test('no mark claims a record before its payload elsewhere is durable', async () => {
  const goOn = holdPayloadSync();
  const { segment } = putExternal(1, 5_000);
  const marks = (): number => {
    const found = walkLog(readFileSync(spool.files.path(segment)));
    return [...found].filter(({ what }) => what === 'mark').length;
  };
  const running = spool.sync();
  await untilLogIsSynced();
  put(2);
  const before = marks();
  goOn();
  await running;
  put(3);
  expect([before, marks()]).toEqual([0, 1]);
});

test('a dead segment goes after the index durably says so', async () => {
  const large = put(1, 66_000);
  const external = putExternal(2, 5_000);
  await spool.sync();
  const calls = await ownCalls(CALLS, async () => {
    spool.release([large, external]);
    await spool.tidy();
  });
  if (calls === null) return;
  const data = dataName(external.payloadSegment);
  const flushed = first(places(calls, SYNCS, 'index.db-wal'));
  expect(first(places(calls, UNLINKS, logName(large.segment)))).toBeGreaterThan(flushed);
  expect(first(places(calls, UNLINKS, data))).toBeGreaterThan(flushed);
});

test('its row goes after the directory durably lacks the file', async () => {
  const large = put(1, 66_000);
  put(2);
  await spool.sync();
  spool.release([large]);
  await spool.tidy();
  const calls = await ownCalls(CALLS, async () => {
    await spool.tidy();
  });
  if (calls === null) return;
  const rowGone = first(places(calls, SYNCS, 'index.db-wal'));
  expect(first(places(calls, /^fsync/, '/segments>'))).toBeLessThan(rowGone);
});

test('a damaged record and its payload are kept, durably, before the log is cut', async () => {
  const damaged = putExternal(1, 5_000);
  const { segment, at, payloadSegment } = damaged;
  const copy = scene.killed();
  // No mark is in the log: what is bad ends it.
  const data = join(copy, 'segments', dataName(payloadSegment));
  writeFileSync(data, readFileSync(data).fill(0));
  const calls = await ownCalls(`${CALLS},ftruncate`, async () => {
    await scene.open(copy);
  });
  if (calls === null) return;
  const kept = `/quarantine/${logName(segment)}.${at}`;
  const cut = first(places(calls, /^ftruncate/, `/segments/${logName(segment)}>`));
  expect(cut).toBeGreaterThan(0);
  for (const file of [`${kept}>`, `${kept}.${dataName(payloadSegment)}>`]) {
    expect(first(places(calls, SYNCS, file))).toBeLessThan(cut);
    const named = calls.findIndex(({ name, args }, i) => {
      return /^fsync/.test(name) && args.includes('/quarantine>') && i > openedAt(calls, file);
    });
    expect(named).toBeGreaterThan(-1);
    expect(named).toBeLessThan(cut);
  }
});

test('of a log that is cut the last segment goes first: none seems to follow another', async () => {
  const lost = put(1, 66_000);
  const behind = [put(2, 66_000), put(3, 66_000), put(4)].map(({ segment }) => segment);
  const copy = scene.killed();
  const file = join(copy, 'segments', logName(lost.segment));
  truncateSync(file, lost.at + 10);
  const calls = await ownCalls(CALLS, async () => {
    await scene.open(copy);
  });
  if (calls === null) return;
  const gone = behind.map((number) => first(places(calls, UNLINKS, `/${logName(number)}`)));
  expect(gone).toEqual([...gone].sort((a, b) => b - a));
  const synced = places(calls, /^fsync/, '/segments>');
  for (const [i, at] of gone.slice(1).entries()) {
    expect(synced.some((one) => one > at && one < (gone[i] as number))).toBe(true);
  }
});

test('a record that is found damaged while running is kept durably as well', async () => {
  const entry = putExternal(1, 5_000);
  const calls = await ownCalls(CALLS, () => spool.putAside(entry, 'payload checksum'));
  if (calls === null) return;
  const kept = ['json', 'record', 'payload'].map((end) => `/quarantine/${entry.seq}.${end}>`);
  const syncs = kept.map((file) => first(places(calls, SYNCS, file)));
  const named = last(places(calls, /^fsync/, '/quarantine>'));
  for (const synced of syncs) expect(synced).toBeLessThan(named);
});

test('compaction syncs the new copies before the old segment can go', async () => {
  const small = put(1);
  const large = put(2, 66_000);
  put(3);
  await spool.sync();
  const old = small.segment;
  const calls = await ownCalls(CALLS, async () => {
    spool.release([large]);
    spool.hasRoom(LIMIT_BYTES);
    await spool.tidy();
    await spool.tidy();
  });
  if (calls === null) return;
  const copied = first(places(calls, WRITES, logName(small.segment)));
  const synced = places(calls, SYNCS, logName(small.segment)).filter((i) => i > copied);
  expect(first(places(calls, UNLINKS, logName(old)))).toBeGreaterThan(first(synced));
});
