/**
 * What a spool does with the segments it finds at start (SPOOL.md, "Killed here").
 *
 * Sealed segments come from the index. The others are walked. Up to the last mark everything had
 * been durable: a bad record there was acknowledged once, so it alone is put aside and reported.
 * Behind the last mark nothing is known to be promised, and order counts: the first bad record ends
 * the log, what follows is put aside. A torn last write is cut off. There is no path that deletes
 * what it cannot read.
 *
 * What is behind the last mark is written again before it is synced: a page that a failed fsync
 * left clean would otherwise look durable and not be. Recovery can be killed at any step and starts
 * over; it changes nothing but the torn end and what it puts aside.
 */
import {
  closeSync,
  constants,
  copyFileSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import { decodeHead, FLAGS, headBytes, type RecordHeader } from '../protocol/operation.ts';
import { Entry } from './entry.ts';
import type { SegmentRow } from './index.ts';
import { LogSegment } from './log.ts';
import { dataName, decodeLogHeader, type Found, logName, parseSegmentName, walkLog } from './segment.ts';

/** Something that was put aside, for `kangaroo messages`. */
export interface Finding {
  readonly segment: string;
  readonly offset: number;
  readonly bytes: number;
  readonly problem: string;
  readonly head: RecordHeader | null;
}

export interface Recovered {
  /** null: there is no log segment, this spool is new. */
  readonly spoolId: string | null;
  readonly segments: LogSegment[];
  /** Live entries, seq ascending. */
  readonly entries: Entry[];
  readonly dataSegments: { readonly number: number; readonly bytes: number }[];
  readonly findings: Finding[];
  readonly highestSeq: number;
  readonly highestSegment: number;
}

interface Walked {
  readonly segment: LogSegment;
  readonly file: string;
  readonly bytes: Buffer;
  readonly found: Found[];
}

/** Packs heads for the index: for each u32 place in the segment, then the head; at the end a CRC. */
export function packHeads(heads: readonly { readonly at: number; readonly head: Buffer }[]): Buffer {
  const parts: Buffer[] = [];
  for (const { at, head } of heads) {
    const place = Buffer.allocUnsafe(4);
    place.writeUInt32LE(at);
    parts.push(place, head);
  }
  const body = Buffer.concat(parts);
  const end = Buffer.allocUnsafe(4);
  end.writeUInt32LE(crc32c(body));
  return Buffer.concat([body, end]);
}

/** What packHeads packed, or null when it is damaged: the segment is then walked instead. */
export function unpackHeads(packed: Buffer): { at: number; head: RecordHeader }[] | null {
  const end = packed.length - 4;
  if (end < 0 || crc32c(packed.subarray(0, end)) !== packed.readUInt32LE(end)) return null;
  const heads: { at: number; head: RecordHeader }[] = [];
  let at = 0;
  while (at < end) {
    const head = decodeHead(packed, at + 4);
    if (typeof head === 'string') return null;
    heads.push({ at: packed.readUInt32LE(at), head });
    at += 4 + headBytes(head);
  }
  return heads;
}

export function recover(
  directory: string,
  rows: readonly SegmentRow[],
  nowMs: number,
): Recovered {
  return new Recovery(directory, rows, nowMs).run();
}

class Recovery {
  readonly #segmentsDirectory: string;
  readonly #quarantine: string;
  readonly #rows: ReadonlyMap<number, SegmentRow>;
  readonly #nowMs: number;
  readonly #entries = new Map<number, Entry>();
  readonly #findings: Finding[] = [];
  #highestSeq = 0;
  #spoolId: string | null = null;

  constructor(directory: string, rows: readonly SegmentRow[], nowMs: number) {
    this.#segmentsDirectory = join(directory, 'segments');
    this.#quarantine = join(directory, 'quarantine');
    this.#rows = new Map(rows.map((row) => [row.number, row]));
    this.#nowMs = nowMs;
  }

  run(): Recovered {
    const files = readdirSync(this.#segmentsDirectory)
      .map(parseSegmentName)
      .filter((name) => name !== null);
    const logs = files.filter(({ kind }) => kind === 'log').map(({ number }) => number);
    const segments: LogSegment[] = [];
    const walked: Walked[] = [];
    for (const number of logs.sort((a, b) => a - b)) {
      const segment = this.#fromIndex(number);
      if (segment !== null) {
        segments.push(segment);
        continue;
      }
      const one = this.#walk(number);
      if (one !== null) walked.push(one);
    }
    segments.push(...this.#adopt(walked));
    segments.sort((a, b) => a.number - b.number);
    const entries = [...this.#entries.values()].sort((a, b) => a.seq - b.seq);
    this.#assign(entries, segments);
    return {
      spoolId: this.#spoolId,
      segments,
      entries,
      dataSegments: files.filter(({ kind }) => kind === 'data').map(({ number }) => ({
        number,
        bytes: statSync(join(this.#segmentsDirectory, dataName(number))).size,
      })),
      findings: this.#findings,
      highestSeq: this.#highestSeq,
      highestSegment: Math.max(0, ...files.map(({ number }) => number)),
    };
  }

  /** A sealed segment, whose heads the index has. */
  #fromIndex(number: number): LogSegment | null {
    const row = this.#rows.get(number);
    const heads = row?.records == null ? null : unpackHeads(row.records);
    if (row === undefined || heads === null) return null;
    const file = join(this.#segmentsDirectory, logName(number));
    const header = readStart(file);
    this.#meetSpool(file, header);
    const segment = new LogSegment(number);
    segment.sealed = true;
    segment.end = statSync(file).size;
    for (const { at, head } of heads) {
      segment.noteTaken(head.senderId, head.senderSeq);
      this.#live(head, number, at, row);
    }
    return segment;
  }

  #walk(number: number): Walked | null {
    const file = join(this.#segmentsDirectory, logName(number));
    const bytes = readFileSync(file);
    if (bytes.length < 32) {
      // Killed while it was made: no record can have been in it.
      unlinkSync(file);
      return null;
    }
    this.#meetSpool(file, bytes);
    const segment = new LogSegment(number);
    segment.end = bytes.length;
    return { segment, file, bytes, found: [...walkLog(bytes)] };
  }

  #meetSpool(file: string, header: Buffer): void {
    const decoded = decodeLogHeader(header);
    if (typeof decoded === 'string') {
      throw new KangarooError('VERSION', `${file}: ${decoded}`, {
        hint: 'use the release that wrote it, or move the file away',
      });
    }
    if (this.#spoolId !== null && this.#spoolId !== decoded.spoolId) {
      throw new KangarooError('CORRUPT', `${file} belongs to another spool (${decoded.spoolId})`, {
        hint: 'move that file out of the spool directory',
      });
    }
    this.#spoolId = decoded.spoolId;
  }

  /** Takes the walked segments over, in order; returns those that stay. */
  #adopt(walked: readonly Walked[]): LogSegment[] {
    const lastMarked = walked.findLastIndex(({ found }) => found.some((f) => f.what === 'mark'));
    const kept: LogSegment[] = [];
    let cut: Finding | null = null;
    for (const [i, one] of walked.entries()) {
      if (cut !== null) {
        this.#setAside(one, 32, cut.problem);
        unlinkSync(one.file);
        continue;
      }
      const mark = one.found.findLast((f) => f.what === 'mark');
      const promisedUpTo =
        i < lastMarked ? one.bytes.length : i === lastMarked ? (mark?.at ?? 0) : 0;
      cut = this.#adoptOne(one, promisedUpTo);
      this.#makeDurable(one, promisedUpTo);
      kept.push(one.segment);
    }
    return kept;
  }

  /** Returns where the log ends when it is cut in this segment. */
  #adoptOne(one: Walked, promisedUpTo: number): Finding | null {
    const row = this.#rows.get(one.segment.number);
    for (const found of one.found) {
      if (found.what === 'mark') continue;
      const problem = this.#problem(found, found.at >= promisedUpTo);
      if (problem === null) {
        if (found.what !== 'record') continue;
        one.segment.noteTaken(found.head.senderId, found.head.senderSeq);
        this.#live(found.head, one.segment.number, found.at, row);
        continue;
      }
      if (found.at < promisedUpTo) {
        this.#report(one, found, problem);
        continue;
      }
      if (found.what === 'damage' && found.toEnd) {
        one.segment.end = found.at;
        return null;
      }
      const finding = this.#setAside(one, found.at, problem);
      one.segment.end = found.at;
      return finding;
    }
    return null;
  }

  #problem(found: Exclude<Found, { what: 'mark' }>, checkExternal: boolean): string | null {
    if (found.what === 'damage') return found.problem;
    if (!found.payloadSound) return 'payload checksum';
    if (!checkExternal || (found.head.flags & FLAGS.EXTERNAL) === 0) return null;
    const payload = this.#externalPayload(found.head);
    return payload !== null && crc32c(payload) === found.head.payloadCrc
      ? null
      : 'payload checksum (data segment)';
  }

  #externalPayload(head: RecordHeader): Buffer | null {
    const file = join(this.#segmentsDirectory, dataName(head.payloadSegment));
    const bytes = Buffer.allocUnsafe(head.payloadBytes);
    try {
      const fd = openSync(file, constants.O_RDONLY);
      try {
        const got = readSync(fd, bytes, 0, head.payloadBytes, head.payloadOffset);
        return got === head.payloadBytes ? bytes : null;
      } finally {
        closeSync(fd);
      }
    } catch {
      return null;
    }
  }

  #live(head: RecordHeader, segment: number, at: number, row: SegmentRow | undefined): void {
    this.#highestSeq = Math.max(this.#highestSeq, head.seq);
    if (row?.released.has(head.seq) === true) return;
    this.#entries.set(head.seq, new Entry(head, segment, at, this.#nowMs));
  }

  #assign(entries: readonly Entry[], segments: readonly LogSegment[]): void {
    const byNumber = new Map(segments.map((segment) => [segment.number, segment]));
    for (const entry of entries) {
      const segment = byNumber.get(entry.segment) as LogSegment;
      segment.entries.push(entry);
      segment.liveCount += 1;
      segment.liveBytes += entry.bytes;
    }
  }

  #report(one: Walked, found: Exclude<Found, { what: 'mark' }>, problem: string): void {
    const finding = {
      segment: logName(one.segment.number),
      offset: found.at,
      bytes: found.bytes,
      problem,
      head: found.what === 'record' ? found.head : null,
    };
    this.#keep(finding, one.bytes.subarray(found.at, found.at + found.bytes));
    this.#findings.push(finding);
  }

  /** Puts everything from `at` on aside. */
  #setAside(one: Walked, at: number, problem: string): Finding {
    const record = one.found.find((f) => f.what === 'record' && f.at === at);
    const finding = {
      segment: logName(one.segment.number),
      offset: at,
      bytes: one.bytes.length - at,
      problem: `${problem}; it was not yet committed`,
      head: record?.what === 'record' ? record.head : null,
    };
    this.#keep(finding, one.bytes.subarray(at));
    this.#findings.push(finding);
    return finding;
  }

  #keep(finding: Finding, bytes: Buffer): void {
    mkdirSync(this.#quarantine, { recursive: true, mode: 0o700 });
    const file = join(this.#quarantine, `${finding.segment}.${finding.offset}`);
    writeFileSync(file, bytes, { mode: 0o600, flush: true });
    const external = finding.head;
    if (external !== null && (external.flags & FLAGS.EXTERNAL) !== 0) {
      const data = join(this.#segmentsDirectory, dataName(external.payloadSegment));
      try {
        copyFileSync(data, `${file}.${dataName(external.payloadSegment)}`);
      } catch {
        // The data segment is what is missing: then there is nothing to keep.
      }
    }
  }

  /** Cuts the torn end and puts on disk what may only be in memory, by writing it again. */
  #makeDurable(one: Walked, promisedUpTo: number): void {
    const fd = openSync(one.file, constants.O_RDWR);
    try {
      if (one.segment.end < one.bytes.length) ftruncateSync(fd, one.segment.end);
      const from = Math.min(promisedUpTo, one.segment.end);
      rewrite(fd, one.bytes.subarray(from, one.segment.end), from);
      for (const found of one.found) {
        if (found.what !== 'record' || found.at < from || found.at >= one.segment.end) continue;
        if ((found.head.flags & FLAGS.EXTERNAL) !== 0) this.#rewritePayload(found.head);
      }
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    syncDirectory(this.#segmentsDirectory);
  }

  #rewritePayload(head: RecordHeader): void {
    const payload = this.#externalPayload(head);
    if (payload === null) return;
    const fd = openSync(join(this.#segmentsDirectory, dataName(head.payloadSegment)), 'r+');
    try {
      rewrite(fd, payload, head.payloadOffset);
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

export function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function readStart(file: string): Buffer {
  const fd = openSync(file, constants.O_RDONLY);
  try {
    const header = Buffer.alloc(32);
    return header.subarray(0, readSync(fd, header, 0, 32, 0));
  } finally {
    closeSync(fd);
  }
}

function rewrite(fd: number, bytes: Buffer, at: number): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}
