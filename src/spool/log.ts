/**
 * The log: the segment that records are appended to now, and those before it.
 *
 * An append is one write to the page cache; it is durable after `sync`. A write that fails leaves
 * nothing behind (the file is cut back), so a full disk costs a record nothing but time. After a
 * sync the next append is led by a mark, which tells recovery how much of the log had been durable:
 * what was there when the sync began, since what came while it ran it need not have covered.
 * Callers order: append, then sync, then the answer to a commit.
 */
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  ftruncateSync,
  openSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RangeSet } from '../base/ranges.ts';
import type { Entry } from './entry.ts';
import {
  encodeLogHeader,
  encodeMark,
  LOG_HEADER_BYTES,
  logName,
  NOWHERE,
  type Place,
} from './segment.ts';
import type { Numbers } from './taken.ts';

const syncData = promisify(fdatasync);

/** What is known of one log segment. */
export class LogSegment {
  readonly number: number;
  /** Entries of its records, in order; released ones among them. */
  entries: Entry[] = [];
  liveCount = 0;
  liveBytes = 0;
  /** Where the next record goes; the file's length. */
  end = 0;
  /** Are its heads in the index, and all of it on stable storage? */
  sealed = false;
  /** Numbers of its operations that have left: all of them, not only those of this run. */
  released = new RangeSet();
  /** Some of them are not yet flushed to the index. */
  releasedDirty = false;
  /** The senders' numbers of the operations whose records were taken into this segment. */
  readonly taken: Numbers = new Map();
  /** Those of the senders that are clients' sessions, as far as recovery can tell. */
  readonly sessions = new Set<string>();

  constructor(number: number) {
    this.number = number;
  }

  noteTaken(sender: string, seq: number): void {
    const known = this.taken.get(sender);
    if (known !== undefined) known.add(seq);
    else this.taken.set(sender, new RangeSet(0, [seq, seq]));
  }
}

export class Log {
  readonly #directory: string;
  readonly #spoolId: string;
  #current: LogSegment;
  #fd: number;
  /** Descriptors of segments with bytes that no sync has covered, the current one's included. */
  readonly #unsynced = new Map<LogSegment, number>();
  /** Those that a sync is at: it closes them, if need be, when it is done. */
  readonly #syncing = new Set<LogSegment>();
  /** What the last sync covered, until a mark says so. */
  #markDue: Place | null = null;
  /** Were records appended since the last sync began? A mark alone needs no other one. */
  #hasRecords = false;
  #highestSeq: number;

  /** Begins segment `number`; its records will have numbers above `floor`. */
  constructor(directory: string, spoolId: string, number: number, floor: number) {
    this.#directory = directory;
    this.#spoolId = spoolId;
    this.#highestSeq = floor;
    this.#current = new LogSegment(number);
    this.#fd = this.#create(this.#current, floor, NOWHERE);
  }

  get current(): LogSegment {
    return this.#current;
  }

  get isDirty(): boolean {
    return this.#unsynced.size > 0;
  }

  get isMarkDue(): boolean {
    return this.#markDue !== null;
  }

  /**
   * Appends `pieces` as they are, all or nothing, and returns where the first one starts.
   * @throws the errno error of write(2); the log is then as before
   */
  append(pieces: readonly Buffer[], highestSeq: number): number {
    const segment = this.#current;
    const lead = this.#markDue === null ? [] : [encodeMark(this.#markDue)];
    const all = [...lead, ...pieces];
    try {
      writeFully(this.#fd, all, segment.end);
    } catch (error) {
      ftruncateSync(this.#fd, segment.end);
      throw error;
    }
    this.#markDue = null;
    this.#highestSeq = highestSeq;
    if (pieces.length > 0) this.#hasRecords = true;
    const at = segment.end + (lead[0]?.length ?? 0);
    for (const piece of all) segment.end += piece.length;
    this.#unsynced.set(segment, this.#fd);
    return at;
  }

  /**
   * Starts a new segment, for records with numbers above `floor`, and returns the full one.
   * @throws errno errors of open and write; the log is then as before
   */
  roll(number: number, floor = this.#highestSeq): LogSegment {
    const full = this.#current;
    const fullFd = this.#fd;
    const next = new LogSegment(number);
    this.#fd = this.#create(next, floor, { segment: full.number, offset: full.end });
    this.#current = next;
    if (!this.#unsynced.has(full) && !this.#syncing.has(full)) closeSync(fullFd);
    return full;
  }

  /**
   * Makes everything appended before the call durable. Rejects with the errno error; then nothing
   * of it may be acknowledged, and no later success of the same descriptor means anything. One call
   * at a time. No mark claims the records before `payload`, that of theirs which lies elsewhere, is
   * durable too.
   */
  async sync(blocking: boolean, payload: Promise<void> = Promise.resolve()): Promise<void> {
    const covered = [...this.#unsynced];
    const place = { segment: this.#current.number, offset: this.#current.end };
    const hasRecords = this.#hasRecords;
    this.#hasRecords = false;
    this.#unsynced.clear();
    for (const [segment] of covered) this.#syncing.add(segment);
    for (const [segment, fd] of covered) {
      if (blocking) fdatasyncSync(fd);
      else await syncData(fd);
      this.#syncing.delete(segment);
      if (segment !== this.#current && !this.#unsynced.has(segment)) closeSync(fd);
    }
    await payload;
    if (hasRecords) this.#markDue = place;
  }

  /** A mark of its own, when no record is coming that it could lead. */
  mark(): void {
    if (this.#markDue !== null) this.append([], this.#highestSeq);
  }

  close(): void {
    for (const [segment, fd] of this.#unsynced) if (segment !== this.#current) closeSync(fd);
    closeSync(this.#fd);
  }

  #create(segment: LogSegment, floor: number, previous: Place): number {
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;
    const file = join(this.#directory, logName(segment.number));
    const fd = openSync(file, flags, 0o600);
    try {
      const { number } = segment;
      writeFully(fd, [encodeLogHeader({ spoolId: this.#spoolId, number, floor, previous })], 0);
    } catch (error) {
      // A full disk: this is tried again and again, so nothing may be left behind.
      closeSync(fd);
      unlinkSync(file);
      throw error;
    }
    segment.end = LOG_HEADER_BYTES;
    return fd;
  }
}

/** pwritev(2) until all is written. */
function writeFully(fd: number, pieces: readonly Buffer[], at: number): void {
  let left = pieces.filter((piece) => piece.length > 0);
  while (left.length > 0) {
    const batch = left.slice(0, 512);
    let written = writevSync(fd, batch, at);
    at += written;
    const rest: Buffer[] = [];
    for (const piece of batch) {
      if (written >= piece.length) {
        written -= piece.length;
      } else {
        rest.push(written > 0 ? piece.subarray(written) : piece);
        written = 0;
      }
    }
    left = [...rest, ...left.slice(512)];
  }
}
