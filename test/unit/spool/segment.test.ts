/**
 * The walk through a log segment: what it makes of a sound one, of one with damage at every place,
 * of one that ends at every byte, and of payloads that are themselves made of records.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HEADER_BYTES } from '../../../src/protocol/operation.ts';
import {
  dataName,
  decodeLogHeader,
  encodeLogHeader,
  encodeMark,
  type Found,
  isForeign,
  LOG_HEADER_BYTES,
  type LogHeader,
  logName,
  MARK_BYTES,
  NOWHERE,
  parseSegmentName,
  walkLog,
} from '../../../src/spool/segment.ts';
import { incoming } from '../../support/spool-case.ts';

const header: LogHeader = {
  spoolId: '0123456789abcdef'.repeat(2),
  number: 12,
  floor: 40,
  previous: { segment: 11, offset: 5_000 },
};
const segment = (...parts: readonly Buffer[]): Buffer => {
  return Buffer.concat([encodeLogHeader(header), ...parts]);
};
const record = (seq: number, payload: Buffer | string = `payload ${seq}`): Buffer => {
  return incoming(seq, `f${seq}`, Buffer.from(payload as string, 'latin1')).bytes;
};
const walk = (bytes: Buffer, floor = header.floor): Found[] => [...walkLog(bytes, floor)];
const seqs = (found: readonly Found[]): number[] => {
  return found.flatMap((one) => (one.what === 'record' ? [one.head.seq] : []));
};
/** Everything the walk yields lies behind each other and covers the file. */
const isGapless = (bytes: Buffer, found: readonly Found[]): boolean => {
  let at = LOG_HEADER_BYTES;
  for (const one of found) {
    if (one.at !== at) return false;
    at += one.what === 'mark' ? MARK_BYTES : one.bytes;
  }
  return at === bytes.length;
};
const places = (...records: readonly Buffer[]): number[] => {
  let at = LOG_HEADER_BYTES;
  return records.map(({ length }) => (at += length) - length);
};

describe('names', () => {
  test('say number and kind', () => {
    expect(parseSegmentName(logName(12))).toEqual({ number: 12, kind: 'log' });
    expect(parseSegmentName(dataName(123_456_789))).toEqual({ number: 123_456_789, kind: 'data' });
    for (const other of ['12.log', '00000012.log.bad', 'x00000012.log', '00000012.idx', '']) {
      expect(parseSegmentName(other)).toBeNull();
    }
  });
});

describe('the header of a segment', () => {
  test('says what was put in', () => {
    expect(decodeLogHeader(encodeLogHeader(header))).toEqual(header);
  });

  test('is checked: each flipped bit behind the magic is noticed', () => {
    for (let bit = 64; bit < LOG_HEADER_BYTES * 8; bit++) {
      const bytes = encodeLogHeader(header);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(decodeLogHeader(bytes)).toBe('segment header checksum');
    }
  });

  test('is known by its checksum when only the magic is damaged', () => {
    for (let byte = 0; byte < 8; byte++) {
      const bytes = encodeLogHeader(header);
      bytes[byte] = 0;
      expect(decodeLogHeader(bytes)).toEqual(header);
    }
  });

  test('of another release is told from a damaged one', () => {
    const newer = encodeLogHeader(header);
    newer.write('KSEG0002', 'latin1');
    newer[60] = (newer[60] as number) ^ 1;
    const rule = decodeLogHeader(newer) as string;
    expect(isForeign(rule)).toBe(true);
    expect(rule).toContain('KSEG0002');
    for (const bytes of [Buffer.alloc(LOG_HEADER_BYTES), Buffer.alloc(3)]) {
      expect(isForeign(decodeLogHeader(bytes) as string)).toBe(false);
    }
  });
});

describe('a sound segment', () => {
  test('gives its records and marks in order', () => {
    const durable = { segment: 12, offset: 300 };
    const bytes = segment(record(41), record(42), encodeMark(durable), record(43));
    const found = walk(bytes);
    expect(found.map(({ what }) => what)).toEqual(['record', 'record', 'mark', 'record']);
    expect(found[2]).toMatchObject({ what: 'mark', durable });
    expect(seqs(found)).toEqual([41, 42, 43]);
    expect(isGapless(bytes, found)).toBe(true);
  });

  test('without records is empty', () => {
    expect(walk(segment())).toEqual([]);
  });

  test('may begin with records that were moved into it, below its own numbers', () => {
    expect(seqs(walk(segment(record(3), record(7), record(41)), 2))).toEqual([3, 7, 41]);
  });
});

describe('damage', () => {
  const records = [41, 42, 43, 44, 45].map((seq) => record(seq));
  const [, , third = 0] = places(...records);

  test('in a payload costs that record alone', () => {
    const bytes = segment(...records);
    const last = third + (records[2]?.length ?? 0) - 1;
    bytes[last] = (bytes[last] as number) ^ 1;
    const found = walk(bytes);
    expect(found.map((one) => (one.what === 'record' ? one.payloadSound : null))).toEqual([
      true,
      true,
      false,
      true,
      true,
    ]);
  });

  test('of each bit of a header costs that record alone', () => {
    const whole = segment(...records);
    const head = HEADER_BYTES + 'dest'.length + 'f43'.length;
    for (let bit = 0; bit < head * 8; bit++) {
      const bytes = Buffer.from(whole);
      const at = third + (bit >> 3);
      bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
      const found = walk(bytes);
      expect(seqs(found)).toEqual([41, 42, 44, 45]);
      expect(isGapless(bytes, found)).toBe(true);
      expect(found.find(({ what }) => what === 'damage')).toMatchObject({
        at: third,
        bytes: records[2]?.length,
        toEnd: false,
        losesNothing: false,
      });
    }
  });

  test('of a mark loses nothing, and says so', () => {
    for (let bit = 0; bit < MARK_BYTES * 8; bit++) {
      const bytes = segment(record(41), encodeMark(NOWHERE), record(42));
      const at = LOG_HEADER_BYTES + record(41).length;
      bytes[at + (bit >> 3)] = (bytes[at + (bit >> 3)] as number) ^ (1 << (bit & 7));
      const found = walk(bytes);
      expect(seqs(found)).toEqual([41, 42]);
      expect(found[1]).toMatchObject({ what: 'damage', at, bytes: MARK_BYTES, losesNothing: true });
    }
  });

  test('of the last record reaches to the end', () => {
    const bytes = segment(...records);
    const at = places(...records)[4] as number;
    bytes[at + 50] = (bytes[at + 50] as number) ^ 1;
    expect(walk(bytes).at(-1)).toMatchObject({ what: 'damage', at, toEnd: true });
  });

  test('of any kind never throws and never invents a number', () => {
    const whole = segment(...records, encodeMark(NOWHERE));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(whole.length - LOG_HEADER_BYTES - 1), fc.nat(255)), {
          minLength: 1,
          maxLength: 40,
        }),
        fc.nat(whole.length),
        (changes, cut) => {
          const bytes = Buffer.from(whole.subarray(0, Math.max(LOG_HEADER_BYTES, cut)));
          for (const [at, value] of changes) {
            if (LOG_HEADER_BYTES + at < bytes.length) bytes[LOG_HEADER_BYTES + at] = value;
          }
          const found = walk(bytes);
          expect(isGapless(bytes, found)).toBe(true);
          const got = seqs(found);
          expect(got).toEqual([...got].sort((a, b) => a - b));
          for (const seq of got) expect(seq >= 41 && seq <= 45).toBe(true);
        },
      ),
      { numRuns: 3_000 },
    );
  });
});

describe('a torn end', () => {
  test('at every byte leaves the records before it', () => {
    const records = [41, 42, 43].map((seq) => record(seq));
    const whole = segment(...records);
    const starts = places(...records);
    for (let length = LOG_HEADER_BYTES; length <= whole.length; length++) {
      const bytes = whole.subarray(0, length);
      const found = walk(bytes);
      const expected = [41, 42, 43].filter((_, i) => {
        return (starts[i] as number) + (records[i] as Buffer).length <= length;
      });
      expect(seqs(found)).toEqual(expected);
      const last = found.at(-1);
      const isWhole =
        length === LOG_HEADER_BYTES || starts.includes(length) || length === whole.length;
      expect(last?.what === 'damage').toBe(!isWhole);
      if (last?.what === 'damage') expect(last.toEnd).toBe(true);
    }
  });
});

describe('records inside a payload', () => {
  // Written before whatever carries them, so at or below the floor or an earlier record.
  const own = Buffer.concat([record(30), record(31), record(40)]);
  const foreign = Buffer.concat([record(7_000), record(7_001)]);

  test('are payload as long as the header around them is sound', () => {
    expect(seqs(walk(segment(record(41), record(42, own), record(43, foreign))))).toEqual([
      41, 42, 43,
    ]);
  });

  test('are not believed when the header before them is damaged: the lengths lead on', () => {
    for (const payload of [own, foreign]) {
      const bytes = segment(record(41), record(42, payload), record(43));
      const at = LOG_HEADER_BYTES + record(41).length;
      for (const byte of [4, 8, 23, 26, 33, 41, 60, 80, 100, 137]) {
        const damaged = Buffer.from(bytes);
        damaged[at + byte] = (damaged[at + byte] as number) ^ 0x55;
        expect(seqs(walk(damaged))).toEqual([41, 43]);
      }
    }
  });

  test('of the same spool are not believed when the lengths are damaged too', () => {
    for (const first of [true, false]) {
      const before = first ? [] : [record(41)];
      const carrier = record(first ? 41 : 42, own);
      const bytes = segment(...before, carrier, record(43));
      const at = LOG_HEADER_BYTES + (before[0]?.length ?? 0);
      for (const byte of [0, 12, 13, 14, 15, 16, 22]) {
        const damaged = Buffer.from(bytes);
        damaged[at + byte] = 0xee;
        expect(seqs(walk(damaged))).toEqual(first ? [43] : [41, 43]);
      }
    }
  });
});
