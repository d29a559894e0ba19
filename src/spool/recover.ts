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
import { dirname, join } from 'node:path';
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import { RangeSet } from '../base/ranges.ts';
import {
  decodeHead,
  FLAGS,
  HEADER_BYTES,
  headBytes,
  type RecordHeader,
} from '../protocol/operation.ts';
import { syncDirectory } from './directory.ts';
import { Entry } from './entry.ts';
import type { SegmentRow } from './index.ts';
import { LogSegment } from './log.ts';
import { saysFull } from './room.ts';
import {
  dataName,
  decodeLogHeader,
  type Found,
  isForeign,
  LOG_HEADER_BYTES,
  type LogHeader,
  logName,
  NOWHERE,
  parseSegmentName,
  type Place,
  walkLog,
} from './segment.ts';

/** Something that was put aside, for `kangaroo messages`. */
export interface Finding {
  readonly segment: string;
  readonly offset: number;
  readonly bytes: number;
  readonly problem: string;
  /** null: it cannot be read, or there is more than one record in it. */
  readonly head: RecordHeader | null;
  /** No record is missing for it. */
  readonly losesNothing?: true;
  /** Behind all that is known to have been promised: most likely it never was. */
  readonly isUncertain?: true;
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
  /** null: it is damaged. */
  readonly header: LogHeader | null;
  readonly found: Found[];
}

/**
 * Packs heads for the index: for each u32 place in the segment, then the head; at the end a CRC.
 */
export function packHeads(
  heads: readonly { readonly at: number; readonly head: Buffer }[],
): Buffer {
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
  const heads: { at: number; head: RecordHeader }[] = [];
  return eachHead(packed, (at, head) => heads.push({ at, head })) ? heads : null;
}

/**
 * The same one by one, false when it is damaged: `take` may have been given some by then. Heads of
 * a segment weigh a hundred megabytes when all are kept.
 */
function eachHead(packed: Buffer, take: (at: number, head: RecordHeader) => void): boolean {
  const end = packed.length - 4;
  if (end < 0 || crc32c(packed.subarray(0, end)) !== packed.readUInt32LE(end)) return false;
  for (let at = 0; at < end;) {
    const head = decodeHead(packed, at + 4);
    if (typeof head === 'string') return false;
    take(packed.readUInt32LE(at), head);
    at += 4 + headBytes(head);
  }
  return true;
}

export function recover(directory: string, rows: readonly SegmentRow[], nowMs: number): Recovered {
  return new Recovery(directory, rows, nowMs).run();
}

class Recovery {
  readonly #segmentsDirectory: string;
  readonly #quarantine: string;
  readonly #rows: ReadonlyMap<number, SegmentRow>;
  /** Of all rows together: a record that was moved may still lie in its old segment too. */
  readonly #released = new RangeSet();
  readonly #nowMs: number;
  /** A record that was moved may be there twice: the later one counts. */
  readonly #entries: Entry[] = [];
  readonly #findings: Finding[] = [];
  #highestSeq = 0;
  #spoolId: string | null = null;

  constructor(directory: string, rows: readonly SegmentRow[], nowMs: number) {
    this.#segmentsDirectory = join(directory, 'segments');
    this.#quarantine = join(directory, 'quarantine');
    this.#rows = new Map(rows.map((row) => [row.number, row]));
    for (const { released } of rows) this.#released.addAll(released);
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
      walked.push(this.#walk(number));
    }
    this.#reportMissing(new Set(logs));
    segments.push(...this.#adopt(walked));
    segments.sort((a, b) => a.number - b.number);
    const entries = lastOfEach(this.#entries);
    this.#assign(entries, segments);
    return {
      spoolId: this.#spoolId,
      segments,
      entries,
      dataSegments: files
        .filter(({ kind }) => kind === 'data')
        .map(({ number }) => ({
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
    const records = row?.records ?? null;
    if (row === undefined || records === null) return null;
    const file = join(this.#segmentsDirectory, logName(number));
    this.#meetSpool(file, readStart(file));
    const segment = new LogSegment(number);
    segment.sealed = true;
    segment.released = row.released.clone();
    segment.end = statSync(file).size;
    const before = { count: this.#entries.length, highestSeq: this.#highestSeq };
    const isSound = eachHead(records, (at, head) => {
      this.#taken(segment, head);
      this.#live(head, number, at);
    });
    if (isSound) return segment;
    this.#entries.length = before.count;
    this.#highestSeq = before.highestSeq;
    return null;
  }

  #walk(number: number): Walked {
    const file = join(this.#segmentsDirectory, logName(number));
    const bytes = readFileSync(file);
    const header = this.#meetSpool(file, bytes);
    const segment = new LogSegment(number);
    segment.end = bytes.length;
    segment.released = this.#rows.get(number)?.released.clone() ?? segment.released;
    return { segment, file, bytes, header, found: [...walkLog(bytes, header?.floor)] };
  }

  /** The header of a segment of this spool, null when it is damaged. @throws KangarooError */
  #meetSpool(file: string, bytes: Buffer): LogHeader | null {
    const header = decodeLogHeader(bytes);
    if (typeof header === 'string') {
      if (!isForeign(header)) return null;
      throw new KangarooError('VERSION', `${file}: ${header}`, {
        hint: 'use the release that wrote it, or move the file away',
      });
    }
    if (this.#spoolId !== null && this.#spoolId !== header.spoolId) {
      throw new KangarooError('CORRUPT', `${file} belongs to another spool (${header.spoolId})`, {
        hint: 'move that file out of the spool directory',
      });
    }
    this.#spoolId = header.spoolId;
    this.#highestSeq = Math.max(this.#highestSeq, header.floor);
    return header;
  }

  /** Takes the walked segments over, in order; returns those that stay. */
  #adopt(walked: readonly Walked[]): LogSegment[] {
    const marks = walked.flatMap(({ found }) => found.filter((f) => f.what === 'mark'));
    const durable = marks.at(-1)?.durable ?? NOWHERE;
    const kept: LogSegment[] = [];
    const gone: number[] = [];
    let cut: string | null = null;
    for (const [i, one] of walked.entries()) {
      const { number } = one.segment;
      cut ??= this.#gapBefore(one, kept, durable);
      if (cut !== null) {
        if (one.bytes.length > LOG_HEADER_BYTES) this.#setAside(one, LOG_HEADER_BYTES, cut);
        gone.push(number);
        continue;
      }
      const promisedUpTo =
        number < durable.segment ? Infinity : number === durable.segment ? durable.offset : 0;
      this.#reportLostEnd(one, promisedUpTo, walked[i + 1]?.header?.previous ?? NOWHERE);
      if (one.bytes.length < LOG_HEADER_BYTES) {
        gone.push(number);
        continue;
      }
      if (one.header === null) this.#reportHeader(one);
      cut = this.#adoptOne(one, promisedUpTo);
      this.#makeDurable(one, promisedUpTo);
      kept.push(one.segment);
    }
    this.#remove(gone);
    return kept;
  }

  /** The last one first, durably: one that is there without those before it seems to follow. */
  #remove(logs: number[]): void {
    for (const number of logs.sort((a, b) => b - a)) {
      unlinkSync(join(this.#segmentsDirectory, logName(number)));
      syncDirectory(this.#segmentsDirectory);
    }
  }

  /** Why the log cannot go on with this segment: order counts, and what came before it is lost. */
  #gapBefore(one: Walked, kept: readonly LogSegment[], durable: Place): string | null {
    if (one.segment.number <= durable.segment) return null;
    if (one.header === null) return 'segment header';
    const { previous } = one.header;
    const before = kept.find(({ number }) => number === previous.segment);
    // One that is not there was removed when all of it had arrived: names come to be in order.
    if (before === undefined || before.end >= previous.offset) return null;
    return `${logName(previous.segment)} has lost its end`;
  }

  /** Returns why the log is cut in this segment, when it is. */
  #adoptOne(one: Walked, promisedUpTo: number): string | null {
    for (const found of one.found) {
      if (found.what === 'mark') continue;
      const problem = this.#problem(found, found.at >= promisedUpTo);
      if (problem === null) {
        if (found.what !== 'record') continue;
        this.#taken(one.segment, found.head);
        this.#live(found.head, one.segment.number, found.at);
        continue;
      }
      if (found.at < promisedUpTo) {
        this.#report(one, found, problem);
        continue;
      }
      one.segment.end = found.at;
      const torn = found.what === 'damage' && found.toEnd && isTorn(one.bytes, found.at, problem);
      if (torn) return null;
      this.#setAside(one, found.at, problem);
      return problem;
    }
    return null;
  }

  /** The end of a segment that had been durable is not there. */
  #reportLostEnd(one: Walked, promisedUpTo: number, next: Place): void {
    const { number } = one.segment;
    const endThen = next.segment === number ? next.offset : 0;
    const wanted = Number.isFinite(promisedUpTo) ? promisedUpTo : endThen;
    if (one.bytes.length >= wanted) return;
    this.#findings.push({
      segment: logName(number),
      offset: one.bytes.length,
      bytes: wanted - one.bytes.length,
      problem: 'the segment has lost its end',
      head: null,
    });
  }

  #reportHeader(one: Walked): void {
    const finding: Finding = {
      segment: logName(one.segment.number),
      offset: 0,
      bytes: LOG_HEADER_BYTES,
      problem: 'segment header',
      head: null,
      losesNothing: true,
    };
    this.#keep(finding, one.bytes.subarray(0, LOG_HEADER_BYTES), []);
    this.#findings.push(finding);
  }

  #problem(found: Exclude<Found, { what: 'mark' }>, checkExternal: boolean): string | null {
    if (found.what === 'damage') return found.losesNothing ? null : found.problem;
    // It has arrived, and its payload may be gone for that reason.
    if (this.#released.has(found.head.seq)) return null;
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

  #taken(segment: LogSegment, head: RecordHeader): void {
    segment.noteTaken(head.senderId, head.senderSeq);
    // Numbered here first, so it came from a client and not from another hop.
    if (head.originId === this.#spoolId) segment.sessions.add(head.senderId);
  }

  #live(head: RecordHeader, segment: number, at: number): void {
    this.#highestSeq = Math.max(this.#highestSeq, head.seq);
    if (this.#released.has(head.seq)) return;
    this.#entries.push(new Entry(head, segment, at, this.#nowMs));
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
    const bytes = one.bytes.subarray(found.at, found.at + found.bytes);
    this.#keep(finding, bytes, payloadSegments([found]));
    this.#findings.push(finding);
  }

  /** Segments that the index has live heads of, and that are not there. */
  #reportMissing(present: ReadonlySet<number>): void {
    for (const [number, row] of this.#rows) {
      const heads = present.has(number) || row.records === null ? null : unpackHeads(row.records);
      for (const { at, head } of heads ?? []) {
        if (this.#released.has(head.seq)) continue;
        const problem = 'the segment is missing';
        this.#findings.push({ segment: logName(number), offset: at, bytes: 0, problem, head });
      }
    }
  }

  /** Puts everything from `at` on aside. */
  #setAside(one: Walked, at: number, problem: string): void {
    const [record, ...others] = one.found.filter((f) => f.at >= at && f.what !== 'mark');
    const isAlone = record?.what === 'record' && others.length === 0;
    const finding = {
      segment: logName(one.segment.number),
      offset: at,
      bytes: one.bytes.length - at,
      problem: `${problem}; it is not known whether it was committed`,
      head: isAlone ? record.head : null,
      isUncertain: true as const,
    };
    this.#keep(finding, one.bytes.subarray(at), payloadSegments([record, ...others]));
    this.#findings.push(finding);
  }

  /** Durable, names included, when it returns: what was kept may be cut out of the log then. */
  #keep(finding: Finding, bytes: Buffer, dataSegments: readonly number[]): void {
    mkdirSync(this.#quarantine, { recursive: true, mode: 0o700 });
    const file = join(this.#quarantine, `${finding.segment}.${finding.offset}`);
    for (const number of dataSegments) {
      const copy = `${file}.${dataName(number)}`;
      try {
        copyFileSync(join(this.#segmentsDirectory, dataName(number)), copy);
      } catch (error) {
        // Without room for it nothing may be cut yet. Otherwise it is what is missing or cannot be
        // read, and there is nothing to keep.
        if (saysFull(error)) throw error;
        continue;
      }
      syncFile(copy);
    }
    writeFileSync(file, bytes, { mode: 0o600, flush: true });
    syncDirectory(this.#quarantine);
    syncDirectory(dirname(this.#quarantine));
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

/** By number, ascending; of those with the same number the last one. Sorts `entries`. */
function lastOfEach(entries: Entry[]): Entry[] {
  entries.sort((a, b) => a.seq - b.seq);
  return entries.filter((entry, i) => entries[i + 1]?.seq !== entry.seq);
}

/** The data segments that payload of these lies in. */
function payloadSegments(found: readonly (Found | undefined)[]): number[] {
  const numbers = new Set<number>();
  for (const one of found) {
    if (one?.what !== 'record' || (one.head.flags & FLAGS.EXTERNAL) === 0) continue;
    numbers.add(one.head.payloadSegment);
  }
  return [...numbers];
}

function syncFile(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Does the end of a log look like a write that was cut short, and not like damage? */
export function isTorn(bytes: Buffer, at: number, problem: string): boolean {
  const rest = bytes.subarray(at);
  return problem.endsWith('cut short') || rest.length < HEADER_BYTES || isZero(rest);
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

function readStart(file: string): Buffer {
  const fd = openSync(file, constants.O_RDONLY);
  try {
    const header = Buffer.alloc(LOG_HEADER_BYTES);
    return header.subarray(0, readSync(fd, header, 0, LOG_HEADER_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}

function rewrite(fd: number, bytes: Buffer, at: number): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}
