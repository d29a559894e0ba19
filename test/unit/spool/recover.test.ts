/**
 * Recovery, one case for each row of the crash table in src/spool/SPOOL.md, and damage at rest:
 * flipped bits, lost ends, files that are missing, empty, or somebody else's.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Entry } from '../../../src/spool/entry.ts';
import { packHeads, unpackHeads } from '../../../src/spool/recover.ts';
import { type Found, LOG_HEADER_BYTES, logName, walkLog } from '../../../src/spool/segment.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import {
  contents,
  incoming,
  incomingExternal,
  SENDER,
  SpoolCase,
} from '../../support/spool-case.ts';

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
const live = (opened: Spool): string[] => [...opened.live.values()].map(({ path }) => path);
const segmentsOf = (directory: string): string => join(directory, 'segments');
const logs = (directory: string): string[] => {
  return readdirSync(segmentsOf(directory))
    .filter((name) => name.endsWith('.log'))
    .sort();
};
const fileOf = (directory: string, entry: { readonly segment: number }): string => {
  return join(segmentsOf(directory), logName(entry.segment));
};
const flip = (file: string, at: number): void => {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] as number) ^ 0x10;
  writeFileSync(file, bytes);
};
const walk = (file: string): Found[] => [...walkLog(readFileSync(file))];
/** Fills the current segment, so that the next record begins another. */
const fill = (seq: number): Entry => put(seq, `fill${seq}`, 'x'.repeat(66_000));
const taken = (opened: Spool, ...seqs: readonly number[]): boolean[] => {
  return seqs.map((seq) => opened.taken.has(SENDER, seq));
};
const quarantine = (directory: string): string[] => {
  const kept = join(directory, 'quarantine');
  return existsSync(kept) ? readdirSync(kept).sort() : [];
};

describe('killed', () => {
  test('after an append, before a sync: what is in the page cache is adopted', async () => {
    put(1);
    putExternal(2, 'large', 100_000);
    const after = await scene.open(scene.killed());
    expect(live(after)).toEqual(['f1', 'large']);
    expect((await contents(after)).get('f1')).toBe('bytes of f1');
    expect(taken(after, 1, 2, 3)).toEqual([true, true, false]);
    expect(after.findings).toEqual([]);
  });

  test('in the middle of an append: the torn end is cut off at every byte, and not put aside', async () => {
    put(1);
    await spool.sync();
    const second = put(2);
    const third = put(3);
    const whole = readFileSync(fileOf(scene.directory, third));
    for (let length = third.at - 1; length > second.at; length -= 17) {
      const copy = scene.killed();
      truncateSync(fileOf(copy, third), length);
      const after = await scene.open(copy);
      expect(live(after)).toEqual(['f1']);
      expect([after.findings, quarantine(copy)]).toEqual([[], []]);
      expect(readFileSync(fileOf(copy, third)).length).toBe(second.at);
      await scene.close(after);
    }
    expect(whole.length).toBe(third.at + third.bytes);
  });

  test('while a segment is made: it goes, numbers go on', async () => {
    const first = put(1);
    const copy = scene.killed();
    writeFileSync(join(segmentsOf(copy), logName(first.segment + 1)), Buffer.alloc(20));
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['f1']);
    expect(logs(copy)).not.toContain(logName(first.segment + 1));
  });

  test('before a release reached the index: it is live again', async () => {
    const [first] = [put(1), put(2)];
    spool.release([first as Entry]);
    const after = await scene.open(scene.killed());
    expect(live(after)).toEqual(['f1', 'f2']);
  });

  test('after the index knew a release, before the file went: it goes now', async () => {
    const first = fill(1);
    put(2);
    await spool.sync();
    const kept = readFileSync(fileOf(scene.directory, first));
    spool.release([first]);
    await spool.tidy();
    expect(existsSync(fileOf(scene.directory, first))).toBe(false);
    const copy = scene.killed();
    writeFileSync(fileOf(copy, first), kept);
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['f2']);
    await after.tidy();
    expect(existsSync(fileOf(copy, first))).toBe(false);
  });

  test('after the file went, before its row: the row goes', async () => {
    const first = fill(1);
    put(2);
    spool.release([first]);
    await spool.tidy();
    const after = await scene.open(scene.killed());
    await after.tidy();
    expect(after.index.segments().map(({ number }) => number)).not.toContain(first.segment);
    expect(taken(after, 1)).toEqual([true]);
  });

  test('during compaction, at either end: one copy of each record is live', async () => {
    const small = put(1);
    const large = fill(2);
    put(3);
    await spool.sync();
    const old = readFileSync(fileOf(scene.directory, small));
    spool.release([large]);
    spool.hasRoom(LIMIT_BYTES);
    await spool.tidy();
    expect(small.segment).not.toBe(large.segment);
    const before = scene.killed();
    await spool.tidy();
    expect(existsSync(fileOf(scene.directory, large))).toBe(false);
    const between = scene.killed();
    writeFileSync(fileOf(between, large), old);
    for (const copy of [before, between, scene.killed()]) {
      const after = await scene.open(copy);
      expect(live(after)).toEqual(['f1', 'f3']);
      expect((await contents(after)).get('f1')).toBe('bytes of f1');
      expect(after.findings).toEqual([]);
    }
  });

  test('after compaction, with the moved record released: its old copy does not come back', async () => {
    const small = put(1);
    const large = fill(2);
    put(3);
    await spool.sync();
    const old = readFileSync(fileOf(scene.directory, small));
    spool.release([large]);
    spool.hasRoom(LIMIT_BYTES);
    await spool.tidy();
    const oldFile = { segment: large.segment };
    spool.release([small]);
    await spool.tidy();
    const copy = scene.killed();
    writeFileSync(fileOf(copy, oldFile), old);
    expect(live(await scene.open(copy))).toEqual(['f3']);
  });

  test('in recovery, after the log was cut and before the rest was put aside: the same again', async () => {
    put(1);
    await spool.sync();
    const bad = put(2);
    fill(3);
    put(4);
    const copy = scene.killed();
    flip(fileOf(copy, bad), bad.at + 40);
    const half = scene.killed(copy);
    truncateSync(fileOf(half, bad), bad.at);
    for (const directory of [copy, half]) {
      const after = await scene.open(directory);
      expect(live(after)).toEqual(['f1']);
      expect(taken(after, 1, 2, 3, 4)).toEqual([true, false, false, false]);
      expect(quarantine(directory).length).toBeGreaterThan(0);
      await scene.close(after);
      expect(live(await scene.open(directory))).toEqual(['f1']);
    }
  });
});

describe('a power cut', () => {
  test('that lost a payload and kept its record: the log ends there', async () => {
    put(1);
    await spool.sync();
    const large = putExternal(2, 'large', 50_000);
    put(3);
    const copy = scene.killed();
    const data = join(segmentsOf(copy), `${String(large.payloadSegment).padStart(8, '0')}.data`);
    writeFileSync(data, Buffer.alloc(50_000));
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['f1']);
    expect(taken(after, 2, 3)).toEqual([false, false]);
    expect(after.findings[0]?.problem).toContain('payload checksum (data segment)');
  });

  test('that kept the name of a segment and nothing in it ends the log there', async () => {
    put(1);
    await spool.sync();
    fill(2);
    const lost = put(3);
    fill(4);
    const next = put(5);
    const copy = scene.killed();
    truncateSync(fileOf(copy, lost), 0);
    const after = await scene.open(copy);
    expect(next.segment).not.toBe(lost.segment);
    expect(live(after)).toEqual(['f1', 'fill2']);
    expect(taken(after, 3, 5)).toEqual([false, false]);
    expect(after.findings[0]?.problem).toContain('segment header');
  });

  test('that lost the end of a segment and kept the next one: order goes before bytes', async () => {
    put(1);
    await spool.sync();
    const lost = put(2);
    fill(3);
    const next = put(4);
    for (const length of [lost.at, lost.at + 30]) {
      const copy = scene.killed();
      truncateSync(fileOf(copy, lost), length);
      const after = await scene.open(copy);
      expect(next.segment).not.toBe(lost.segment);
      expect(live(after)).toEqual(['f1']);
      expect(taken(after, 2, 4)).toEqual([false, false]);
      expect(after.findings[0]?.problem).toContain('lost its end');
      await scene.close(after);
    }
  });

  test('that left a new segment with zeros: it is cut off', async () => {
    const first = fill(1);
    await spool.sync();
    const next = put(2);
    const copy = scene.killed();
    writeFileSync(fileOf(copy, next), Buffer.alloc(LOG_HEADER_BYTES + 300));
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['fill1']);
    expect(first.segment).not.toBe(next.segment);
    expect(after.findings.length).toBeLessThanOrEqual(1);
  });
});

describe('what is adopted', () => {
  test('is durable: a second cut right away takes nothing of it', async () => {
    put(1);
    putExternal(2, 'large', 70_000);
    const copy = scene.killed();
    const after = await scene.open(copy);
    const again = await scene.open(scene.killed(copy));
    expect(live(again)).toEqual(live(after));
  });

  test('keeps its numbers, and new ones come behind', async () => {
    const seqs = [put(1), put(2)].map(({ seq }) => seq);
    const copy = scene.killed();
    const after = await scene.open(copy);
    expect([...after.live.keys()]).toEqual(seqs);
    const [next] = after.append([incoming(3, 'f3', Buffer.from('x'))]);
    expect(next?.seq).toBeGreaterThan(Math.max(...seqs));
    // Also numbers that were given and are nowhere: what a crash took away had been sent perhaps.
    const third = await scene.open(scene.killed());
    const [other] = third.append([incoming(3, 'f3', Buffer.from('x'))]);
    expect(other?.seq).toBeGreaterThan(seqs.at(-1) ?? 0);
  });
});

describe('the index is lost', () => {
  test('everything in the log is live, under numbers above all that were ever given', async () => {
    const entries = [put(1), put(2)];
    spool.release([entries[0] as Entry]);
    await scene.close(spool);
    let highest = entries[1]?.seq ?? 0;
    for (let i = 0; i < 3; i++) {
      for (const suffix of ['', '-wal', '-shm']) {
        rmSync(join(scene.directory, `index.db${suffix}`), { force: true });
      }
      spool = await scene.open();
      const next = put(10 + i);
      expect(next.seq).toBeGreaterThan(highest);
      highest = next.seq;
      spool.release([...spool.live.values()]);
      await spool.tidy();
      await scene.close(spool);
    }
  });
});

describe('damage at rest', () => {
  /** Five records, of which the first three had been synced when the last two came. */
  const build = async (): Promise<Entry[]> => {
    const entries = [put(1), put(2), put(3)];
    await spool.sync();
    entries.push(put(4), put(5));
    return entries;
  };

  test('of a synced record costs that one alone, and it is put aside and reported', async () => {
    const entries = await build();
    for (const offset of [0, 5, 12, 30, 140, -1]) {
      const copy = scene.killed();
      const { at, bytes } = entries[1] as Entry;
      flip(fileOf(copy, entries[1] as Entry), offset < 0 ? at + bytes - 1 : at + offset);
      const after = await scene.open(copy);
      expect(live(after)).toEqual(['f1', 'f3', 'f4', 'f5']);
      expect(after.findings).toMatchObject([{ offset: at, bytes }]);
      expect(quarantine(copy)).toEqual([`${logName(entries[1]?.segment ?? 0)}.${at}`]);
      await scene.close(after);
    }
  });

  test('of the last record before a clean end is put aside, not cut off in silence', async () => {
    await build();
    await scene.close(spool);
    const [log = ''] = logs(scene.directory);
    const last = walk(join(segmentsOf(scene.directory), log)).findLast((f) => f.what === 'record');
    flip(join(segmentsOf(scene.directory), log), (last?.at ?? 0) + 50);
    const after = await scene.open();
    expect(live(after)).toEqual(['f1', 'f2', 'f3', 'f4']);
    expect(after.findings).toHaveLength(1);
  });

  test('of a mark loses nothing', async () => {
    await build();
    const copy = scene.killed();
    const file = join(segmentsOf(copy), logs(copy)[0] as string);
    const mark = walk(file).find(({ what }) => what === 'mark');
    flip(file, (mark?.at ?? 0) + 9);
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['f1', 'f2', 'f3', 'f4', 'f5']);
    expect(after.findings).toEqual([]);
  });

  test('of a segment header is reported and costs no synced record', async () => {
    await build();
    await scene.close(spool);
    const file = join(segmentsOf(scene.directory), logs(scene.directory)[0] as string);
    for (const at of [3, 7, 20, 30, 45, 61]) {
      const copy = scene.killed();
      flip(join(segmentsOf(copy), logs(copy)[0] as string), at);
      const after = await scene.open(copy);
      expect(live(after)).toEqual(['f1', 'f2', 'f3', 'f4', 'f5']);
      await scene.close(after);
    }
    expect(walk(file).at(-1)?.what).toBe('mark');
  });

  test('an end that is gone is reported', async () => {
    await build();
    await scene.close(spool);
    const file = join(segmentsOf(scene.directory), logs(scene.directory)[0] as string);
    const last = walk(file).findLast((found) => found.what === 'record');
    truncateSync(file, last?.at ?? 0);
    const after = await scene.open();
    expect(live(after)).toEqual(['f1', 'f2', 'f3', 'f4']);
  });

  test('a segment that is gone but for its name is reported when it had been durable', async () => {
    const first = fill(1);
    put(2);
    await spool.sync();
    put(3);
    const copy = scene.killed();
    truncateSync(fileOf(copy, first), 10);
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['f2', 'f3']);
    const gone = { segment: logName(first.segment), problem: 'the segment has lost its end' };
    expect(after.findings).toMatchObject([gone]);
    expect(logs(copy)).not.toContain(logName(first.segment));
  });

  test('nothing that is damaged is ever deleted: its bytes are in the quarantine', async () => {
    const [, second] = await build();
    const { at = 0, bytes = 0 } = second ?? {};
    const copy = scene.killed();
    flip(fileOf(copy, second as Entry), at + 20);
    const damaged = readFileSync(fileOf(copy, second as Entry)).subarray(at, at + bytes);
    await scene.open(copy);
    const [kept = ''] = quarantine(copy);
    expect(readFileSync(join(copy, 'quarantine', kept))).toEqual(damaged);
  });

  test('of a record that compaction moved costs that one alone', async () => {
    const [first] = [put(1), put(2)];
    const large = fill(3);
    put(4);
    spool.release([large]);
    spool.hasRoom(LIMIT_BYTES);
    await spool.tidy();
    await spool.tidy();
    const copy = scene.killed();
    // Its lengths too, so that the walk has to look for the next one.
    const file = fileOf(copy, first as Entry);
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.fill(0xff, first?.at, (first?.at ?? 0) + 24));
    const after = await scene.open(copy);
    expect(live(after)).toContain('f2');
    expect(after.findings).toHaveLength(1);
  });

  test('of packed heads in the index: the segment is walked instead', () => {
    const heads = [put(1), put(2)].map((entry) => ({
      at: entry.at,
      head: incoming(entry.seq, entry.path, Buffer.alloc(0)).bytes,
    }));
    const packed = packHeads(heads);
    expect(unpackHeads(packed)?.map(({ at }) => at)).toEqual(heads.map(({ at }) => at));
    for (let at = 0; at < packed.length; at++) {
      const bytes = Buffer.from(packed);
      bytes[at] = (bytes[at] as number) ^ 1;
      expect(unpackHeads(bytes)).toBeNull();
      expect(unpackHeads(packed.subarray(0, at))).toBeNull();
    }
  });
});

describe('files of somebody else', () => {
  test('a log of another spool is refused by name', async () => {
    put(1);
    const stranger = new SpoolCase(LIMIT_BYTES);
    try {
      const other = await stranger.open();
      other.append([incoming(1, 'foreign', Buffer.from('x'))]);
      const [log = ''] = logs(stranger.directory);
      const copy = scene.killed();
      copyFileSync(join(segmentsOf(stranger.directory), log), join(segmentsOf(copy), logName(77)));
      await expect(scene.open(copy)).rejects.toMatchObject({ code: 'CORRUPT' });
      rmSync(join(segmentsOf(copy), logName(77)));
      expect(live(await scene.open(copy))).toEqual(['f1']);
      // A whole segments directory beside somebody else's index.
      const mixed = scene.killed();
      rmSync(segmentsOf(mixed), { recursive: true });
      mkdirSync(segmentsOf(mixed));
      copyFileSync(join(segmentsOf(stranger.directory), log), join(segmentsOf(mixed), log));
      await expect(scene.open(mixed)).rejects.toMatchObject({ code: 'CORRUPT' });
    } finally {
      await stranger.end();
    }
  });

  test('a log of a newer release is refused by name', async () => {
    const entry = put(1);
    const copy = scene.killed();
    const bytes = readFileSync(fileOf(copy, entry));
    bytes.write('KSEG0009', 'latin1');
    bytes.writeUInt32LE(1, 60);
    writeFileSync(fileOf(copy, entry), bytes);
    await expect(scene.open(copy)).rejects.toMatchObject({ code: 'VERSION' });
  });

  test('files with other names are left alone', async () => {
    put(1);
    const copy = scene.killed();
    const note = join(segmentsOf(copy), 'README');
    writeFileSync(note, 'x');
    renameSync(note, `${note}.txt`);
    const after = await scene.open(copy);
    expect(live(after)).toEqual(['f1']);
    expect(existsSync(`${note}.txt`)).toBe(true);
  });
});

describe('a sealed segment', () => {
  test('comes from the index: its log is not read', async () => {
    const now = performance.now.bind(performance);
    let skewMs = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + skewMs);
    try {
      const [first, second] = [fill(1), put(2)];
      await spool.tidy();
      skewMs = 6_000;
      await spool.tidy();
      expect(
        spool.index.segments().find(({ number }) => number === first.segment)?.records,
      ).toBeTruthy();
      const copy = scene.killed();
      // Garbage behind the header: who read it would notice.
      const file = fileOf(copy, first);
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.fill(0xff, LOG_HEADER_BYTES));
      const after = await scene.open(copy);
      expect(live(after)).toEqual(['fill1', second?.path]);
      expect(after.findings).toEqual([]);
      expect(await after.problemOf(after.live.get(first.seq) as Entry)).toBe('no record header');
    } finally {
      clock.mockRestore();
    }
  });
});
