/**
 * Data segments: room in one piece, accounting that comes out at zero, segments that go when
 * nothing
 * needs them, and holes punched only into what the index knows to be released.
 */
import fc from 'fast-check';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../../src/base/addon.ts';
import { DataSegments, type Extent } from '../../../src/spool/data.ts';
import { dataName } from '../../../src/spool/segment.ts';

const SEGMENT_BYTES = 10_000;
let directory: string;
let data: DataSegments;
const fresh = (): void => {
  directory = mkdtempSync(join(tmpdir(), 'kangaroo-data-'));
  let number = 1;
  data = new DataSegments(directory, SEGMENT_BYTES, () => number++);
};
const away = (): void => {
  data.closeAll();
  rmSync(directory, { recursive: true, force: true });
};
beforeEach(fresh);
afterEach(away);

/** An operation with `bytes` of payload, taken without a grant that outlives it. */
const take = (bytes: number): Extent => {
  const extent = data.reserve(bytes);
  data.addLive(extent.segment, bytes);
  data.giveBack(extent, bytes);
  return extent;
};
const release = ({ segment, offset, bytes }: Extent): void => {
  data.removeLive(segment, offset, bytes);
};

describe('room', () => {
  test('comes one piece behind the other, and a full segment is followed by a new one', () => {
    expect(data.reserve(4_000)).toEqual({ segment: 1, offset: 0, bytes: 4_000 });
    expect(data.reserve(6_000)).toEqual({ segment: 1, offset: 4_000, bytes: 6_000 });
    expect(data.reserve(1)).toEqual({ segment: 2, offset: 0, bytes: 1 });
    expect(readdirSync(directory).sort()).toEqual([dataName(1), dataName(2)]);
  });

  test('larger than a segment gets one of its own', () => {
    expect(data.reserve(3 * SEGMENT_BYTES)).toEqual({ segment: 1, offset: 0, bytes: 30_000 });
    expect(data.reserve(1).segment).toBe(2);
  });

  test('that was not used comes back when nothing lies behind it', () => {
    const first = data.reserve(4_000);
    data.giveBack(first, 1_000);
    expect(data.occupiedBytes).toBe(1_000);
    const second = data.reserve(2_000);
    expect(second.offset).toBe(1_000);
    const third = data.reserve(100);
    data.giveBack(second, 0);
    expect(data.reserve(50).offset).toBe(third.offset + 100);
    expect(data.occupiedBytes).toBe(1_150);
  });

  test('is never given to two holders at a time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 12_000 }), fc.nat(100), fc.nat(5)), {
          maxLength: 40,
        }),
        (steps) => {
          away();
          fresh();
          const held: Extent[] = [];
          const used: Extent[] = [];
          for (const [bytes, share, which] of steps) {
            const extent = data.reserve(bytes);
            for (const other of [...held, ...used]) {
              const apart =
                other.segment !== extent.segment ||
                other.offset + other.bytes <= extent.offset ||
                extent.offset + extent.bytes <= other.offset;
              expect(apart).toBe(true);
            }
            held.push(extent);
            const back = held.length > 3 ? held.splice(which % held.length, 1)[0] : undefined;
            if (back === undefined) continue;
            const usedBytes = Math.floor((back.bytes * share) / 100);
            data.addLive(back.segment, usedBytes);
            data.giveBack(back, usedBytes);
            if (usedBytes > 0) used.push({ ...back, bytes: usedBytes });
          }
          const sum = (list: readonly Extent[]): number => list.reduce((n, e) => n + e.bytes, 0);
          expect(data.occupiedBytes).toBe(sum(held) + sum(used));
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('a segment', () => {
  test('is dead when nothing lives in it and nobody holds room', () => {
    const extent = data.reserve(100);
    data.addLive(extent.segment, 100);
    release(extent);
    expect(data.dead()).toEqual([]);
    data.giveBack(extent, 100);
    expect(data.dead()).toEqual([1]);
    expect(data.remove(1)).toBe(true);
    expect([data.has(1), data.occupiedBytes, data.dead()]).toEqual([false, 0, []]);
    expect(data.reserve(1).segment).toBe(2);
  });

  test('that got life between the look and the removal stays', () => {
    release(take(100));
    expect(data.dead()).toEqual([1]);
    take(10);
    expect(data.remove(1)).toBe(false);
    expect(data.has(1)).toBe(true);
  });

  test('is not removed under a running sync', async () => {
    const extent = take(100);
    const running = data.sync();
    release(extent);
    expect(data.remove(1)).toBe(false);
    await running;
    expect(data.remove(1)).toBe(true);
  });

  test('found at start is dead unless something lives in it, even an empty one', () => {
    writeFileSync(join(directory, dataName(71)), Buffer.alloc(500));
    writeFileSync(join(directory, dataName(72)), '');
    writeFileSync(join(directory, dataName(73)), Buffer.alloc(300));
    data.adopt(71, 500);
    data.adopt(72, 0);
    data.adopt(73, 300);
    data.addLive(73, 100);
    expect(data.dead()).toEqual([71, 72]);
    expect(data.occupiedBytes).toBe(800);
  });

  test('that is gone ignores what comes late', () => {
    const extent = take(100);
    release(extent);
    data.remove(1);
    data.giveBack(extent, 0);
    release(extent);
    data.addLive(1, 5);
    expect(data.isDirty).toBe(false);
    expect(data.occupiedBytes).toBe(0);
  });
});

describe('sync', () => {
  test('covers what was added before, and what comes meanwhile needs the next', async () => {
    take(100);
    expect(data.isDirty).toBe(true);
    const running = data.sync();
    expect(data.isDirty).toBe(false);
    take(100);
    await running;
    expect(data.isDirty).toBe(true);
    await data.sync();
    expect(data.isDirty).toBe(false);
  });
});

describe('punching', () => {
  const isPunching = native !== null;

  test.skipIf(!isPunching)('waits for the flush that makes a release known', () => {
    const blocks = 5;
    const bytes = 64 * 1024;
    data.closeAll();
    let number = 10;
    data = new DataSegments(directory, 1024 * 1024, () => number++);
    const extents = Array.from({ length: blocks }, () => take(bytes));
    const file = join(directory, dataName(10));
    for (const { segment, offset } of extents) {
      writeSync(data.fd(segment) as number, Buffer.alloc(bytes, 1), 0, bytes, offset);
    }
    const before = statSync(file).blocks;
    release(extents[0] as Extent);
    release(extents[1] as Extent);
    const flush = data.beginFlush();
    release(extents[2] as Extent);
    data.punchDead(1, 0);
    expect(statSync(file).blocks).toBe(before);
    data.endFlush(flush);
    data.punchDead(1, 0);
    expect(data.occupiedBytes).toBe(3 * bytes);
    expect(statSync(file).blocks).toBeLessThanOrEqual(before - (2 * bytes) / 512);
    data.endFlush(data.beginFlush());
    data.lend(10, 500);
    data.lend(10, 200);
    data.punchDead(1, 499);
    expect(data.occupiedBytes).toBe(3 * bytes);
    data.punchDead(1, 500);
    expect(data.occupiedBytes).toBe(2 * bytes);
    expect(statSync(file).size).toBe(blocks * bytes);
  });
});
