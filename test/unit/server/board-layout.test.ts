/**
 * Do both sides of the board mean the same bytes? The C header is compiled, and what it says of
 * offsets, sizes and numbers is compared with board-layout.ts; entries go there and back.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  BOARD,
  CUT_FIRST,
  decodeEntry,
  encodeEntry,
  ENTRY,
  ENTRY_KIND,
  HEADER,
  inodeNumber,
  RING_AT,
  SEALED,
  SLOT,
  SLOT_FLAGS,
  SLOT_KIND,
  unreadable,
} from '../../../src/server/board-layout.ts';
import { factsAfter, lookAlong, walkRing } from '../../../src/server/board-ring.ts';
import { CHANGE_KIND } from '../../../src/server/verb-change.ts';
import { OPEN_FLAGS } from '../../../src/server/verb-open.ts';
import { FLAGS } from '../../../src/protocol/operation.ts';

const native = fileURLToPath(new URL('../../../native/', import.meta.url));
const hasCompiler = spawnSync('cc', ['--version']).status === 0;
if (!hasCompiler) process.stderr.write('board-layout: skipped in part, there is no C compiler\n');

/** C expressions by the names they have here. */
const snake = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
const offsets = (struct: string, names: readonly string[]): string[] => {
  return names.map((name) => `offsetof(struct ${struct}, ${snake(name)})`);
};
const { end: entryEnd, ...entryFields } = ENTRY;
const WANTED: readonly (readonly [expression: string, value: number | bigint])[] = [
  ['KG_BOARD_MAGIC', BOARD.magic],
  ['KG_BOARD_VERSION', BOARD.version],
  ['KG_HEADER_BYTES', BOARD.headerBytes],
  ['KG_SLOT_BYTES', BOARD.slotBytes],
  ['KG_SLOTS', BOARD.slots],
  ['KG_RING_BYTES', BOARD.ringBytes],
  ['KG_PAYLOAD_MAX', BOARD.payloadBytesMax],
  ['KG_INLINE_MAX', BOARD.inlineBytesMax],
  ['KG_INLINE_ROOM_MAX', BOARD.inlineRoomBytesMax],
  ['KG_ROWS', BOARD.rows],
  ['sizeof(struct kg_row)', BOARD.rowBytes],
  ['KG_SPARES', BOARD.spares],
  ['KG_LEASE_MS', BOARD.leaseMs],
  ['KG_CUT_FIRST', CUT_FIRST],
  ['KG_SEALED', SEALED],
  ['sizeof(struct kg_entry)', entryEnd],
  ['KG_SLOT_FREE', SLOT_KIND.free],
  ['KG_SLOT_FILE', SLOT_KIND.file],
  ['KG_SLOT_DIRECTORY', SLOT_KIND.directory],
  ['KG_SLOT_STALE', SLOT_FLAGS.STALE],
  ['KG_SLOT_REMOVED', SLOT_FLAGS.REMOVED],
  ['KG_SET_MODE', FLAGS.MODE],
  ['KG_SET_MTIME', FLAGS.MTIME],
  ['KG_SET_ATIME', FLAGS.ATIME],
  ...Object.entries(ENTRY_KIND).map(
    ([name, value]) => [`KG_ENTRY_${name.toUpperCase()}`, value] as const,
  ),
  ...Object.entries(OPEN_FLAGS).map(([name, value]) => [`KG_OPEN_${name}`, value] as const),
  ...Object.entries(CHANGE_KIND).map(
    ([name, value]) => [`KG_${name.toUpperCase()}`, value] as const,
  ),
  ...pairs('kg_board_header', HEADER),
  ...pairs('kg_slot', SLOT),
  ...pairs('kg_entry', entryFields),
  // One of 200 bytes and checksum 7 that is sealed.
  ['KG_STATE(7, 200) | KG_SEALED', (7n << 32n) | 401n],
  ['KG_STATE_BYTES(KG_STATE(7, 200))', 200],
  ['KG_STATE_CRC(KG_STATE(7, 200))', 7],
];

function pairs(struct: string, fields: Readonly<Record<string, number>>) {
  const expressions = offsets(struct, Object.keys(fields));
  return Object.values(fields).map((value, i) => [expressions[i] as string, value] as const);
}

describe.skipIf(!hasCompiler)('the C header', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'kangaroo-layout-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test('has the same numbers', () => {
    const lines = WANTED.map(
      ([expression]) => `printf("%llu\\n", (unsigned long long)(${expression}));`,
    );
    const program = ['core/board.h', 'core/core.h'].map((name) => `#include "${native}${name}"`);
    program.push('#include <stdio.h>', 'int main(void) {', ...lines, 'return 0; }', '');
    const source = join(directory, 'layout.c');
    const binary = join(directory, 'layout');
    writeFileSync(source, program.join('\n'));
    const built = spawnSync('cc', ['-std=gnu11', '-pthread', '-o', binary, source]);
    expect(String(built.stderr)).toBe('');
    const told = String(spawnSync(binary).stdout).trim().split('\n');
    const found = WANTED.map(([expression], i) => [expression, told[i]]);
    expect(found).toEqual(WANTED.map(([expression, value]) => [expression, String(value)]));
  });
});

describe('entries', () => {
  const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const safe = fc.maxSafeNat();

  test('go into the ring and come back', () => {
    const entry = fc.record({
      kind: fc.constantFrom(ENTRY_KIND.segment, ENTRY_KIND.inline, ENTRY_KIND.truncate),
      flags: fc.integer({ min: 0, max: 65_535 }),
      seq: safe,
      slot: u32,
      generation: u32,
      offset: safe,
      payloadBytes: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      payloadCrc: u32,
      segment: safe,
      segmentOffset: safe,
      room: u32,
      mode: u32,
      bytes: u32,
    });
    fc.assert(
      fc.property(entry, (fields) => {
        const ring = Buffer.alloc(128, 0xff);
        encodeEntry(fields, ring, 64);
        expect(decodeEntry(ring, 64)).toMatchObject({ ...fields, at: 64 });
      }),
    );
  });

  test('have times instead of a place when they set attributes', () => {
    const ring = Buffer.alloc(64);
    const fields = { kind: ENTRY_KIND.attributes, seq: 1, slot: 2, generation: 3, bytes: 64 };
    encodeEntry({ ...fields, mtimeNs: -5n, atimeNs: 7n }, ring, 0);
    expect(decodeEntry(ring, 0)).toMatchObject({ mtimeNs: -5n, atimeNs: 7n });
  });

  /** Rings that begin with garbage, of which so many bytes are said to have been written. */
  const garbage = fc
    .tuple(fc.uint8Array({ minLength: 64, maxLength: 512 }), fc.nat({ max: 63 }))
    .map(([bytes, words]) => ({ bytes, to: Math.min(words * 8, bytes.length) }));
  const ringOf = (bytes: Uint8Array): Buffer => {
    const ring = Buffer.alloc(BOARD.ringBytes);
    ring.set(bytes);
    return ring;
  };

  test('are read in whatever garbage there is, without an end that never comes', () => {
    fc.assert(
      fc.property(garbage, ({ bytes, to }) => {
        let last = 0;
        for (const standing of walkRing(ringOf(bytes), 0, to)) {
          if (standing.entry === null) return;
          expect(unreadable(standing.entry, to)).toBeNull();
          expect(standing.next).toBeGreaterThan(last);
          expect(standing.next).toBeLessThanOrEqual(to);
          last = standing.next;
        }
      }),
      { numRuns: 50 },
    );
  });

  test('are looked along in garbage as far as they can be read, and no further than asked', () => {
    fc.assert(
      fc.property(garbage, ({ bytes, to }) => {
        const ring = ringOf(bytes);
        const sound = [...walkRing(ring, 0, to)].flatMap((one) => (one.entry ? [one.next] : []));
        const seen: number[] = [];
        lookAlong(ring, 0, to, (at, next) => {
          expect(next).toBeGreaterThan(at);
          return seen.push(next) < 100;
        });
        expect(seen.slice(0, sound.length)).toEqual(sound);
        expect(Math.max(0, ...seen)).toBeLessThanOrEqual(to);
      }),
      { numRuns: 50 },
    );
  });

  test('are nowhere where less than a head was written before the end of the ring', () => {
    const ring = Buffer.alloc(BOARD.ringBytes);
    const problem = 'nothing where an entry must be';
    expect([...walkRing(ring, 0, 8)]).toEqual([{ entry: null, problem }]);
    lookAlong(ring, 0, 8, () => expect.unreachable('looked at what is no entry'));
  });

  test('are walked over the end of the ring, where a head has no room', () => {
    const ring = Buffer.alloc(BOARD.ringBytes);
    const start = 3 * BOARD.ringBytes - 72;
    const fields = { kind: ENTRY_KIND.truncate, slot: 1, generation: 1, bytes: ENTRY.end };
    encodeEntry({ ...fields, seq: 1, offset: 10 }, ring, start % BOARD.ringBytes);
    encodeEntry({ ...fields, seq: 2, offset: 20 }, ring, 0);
    const set = { kind: ENTRY_KIND.attributes, flags: FLAGS.MODE, mode: 0o640 };
    encodeEntry({ ...fields, ...set, seq: 3 }, ring, ENTRY.end);
    const end = 3 * BOARD.ringBytes + 2 * ENTRY.end;
    const seqs = [...walkRing(ring, start, end)].map(({ entry }) => entry?.seq);
    expect(seqs).toEqual([1, 2, 3]);
    const places: number[] = [];
    lookAlong(ring, start, end, (at) => places.push(at) < 2);
    expect(places).toEqual([start % BOARD.ringBytes, 0]);
    const before = { size: 99, mode: 0o600, mtimeNs: 7n };
    expect(factsAfter(ring, start, end, { index: 1, generation: 1 }, before)).toEqual({
      ...{ size: 20, mode: 0o640, mtimeNs: 7n },
    });
    expect(factsAfter(ring, start, end, { index: 1, generation: 2 }, before)).toEqual(before);
  });
});

test('inode numbers are those of FNV-1a', () => {
  // Made by another program, which has the published sum for 'foobar'.
  expect(inodeNumber('archive', 'run8/out.dat')).toBe(1_680_427_977_683_629);
  expect(inodeNumber('a', '')).toBe(3_370_036_245_108_985);
  expect(inodeNumber('a', 'b')).not.toBe(inodeNumber('a', 'c'));
  expect(Number.isSafeInteger(inodeNumber('x'.repeat(255), 'y'.repeat(4000)))).toBe(true);
  expect(RING_AT % 8).toBe(0);
});
