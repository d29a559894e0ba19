/**
 * The spool: the one door to the operations that a server has and has not yet passed on.
 *
 * It promises: what `append` took and a later `sync` covered survives kill and power cut; a number
 * is never given twice; what was taken is taken once; an operation stays until `release` says that
 * the next hop has committed it. It never fails an append for want of room: callers wait at `room`
 * first. After a failed sync it is `failed` for good and acknowledges nothing more (invariant I10).
 * It does not know sockets, routes or destinations.
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '../base/crc32c.ts';
import { type Deadline, nowMs, within } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { HeapGrowth } from '../base/heap.ts';
import { limits } from '../base/limits.ts';
import { RangeSet } from '../base/ranges.ts';
import type { Logger } from '../base/log.ts';
import {
  decodeHead,
  headBytes,
  NO_ID,
  type RecordHeader,
  renumber,
} from '../protocol/operation.ts';
import { formatAddress } from '../route/address.ts';
import { DataSegments, type Extent } from './data.ts';
import { prepareDirectory, syncDirectory } from './directory.ts';
import { Entry } from './entry.ts';
import { SegmentFiles } from './files.ts';
import { Housekeeping } from './housekeeping.ts';
import { SpoolIndex } from './index.ts';
import { Log, type LogSegment } from './log.ts';
import { type Finding, recover } from './recover.ts';
import { diskFreeBytes, saysFull } from './room.ts';
import { Taken } from './taken.ts';
import { View } from './view.ts';

/** Numbers are reserved durably in steps of this many, so that none is given twice. */
const SEQ_STEP = 2 ** 20;
/** How far numbers jump when the index was lost and with it the reservation. */
const SEQ_JUMP = 2 ** 32;
/**
 * fdatasync is called on the event loop while it is quicker than this; waking a thread is not free.
 */
const QUICK_SYNC_MS = 0.6;

/** One record to append: its bytes (renumbered in place) and what they say. */
export interface Incoming {
  /** Head, and behind it the payload if that is inline and not in `payload`. */
  readonly bytes: Buffer;
  readonly payload?: readonly Buffer[];
  readonly head: RecordHeader;
  readonly senderId: string;
  /** Where the payload lies, when it is not behind the head. */
  readonly place: readonly [segment: number, offset: number] | null;
}

export interface SpoolOptions {
  readonly directory: string;
  readonly limitBytes: number;
  readonly logger: Logger;
}

interface SpoolEvents {
  /** Operations were appended, in this order. */
  append: [Entry[]];
  /** The next hop has committed these, or they were given up. */
  release: [readonly Entry[]];
  /** There may be room again. */
  room: [];
  /** A record was moved to another segment. */
  moved: [Entry[]];
  /** Everything below is durably released. */
  lowWater: [number];
  failed: [Error];
}

export class Spool extends EventEmitter<SpoolEvents> {
  readonly directory: string;
  readonly spoolId: string;
  /** Different at every start: a commit is bound to the incarnation that gives it. */
  readonly incarnation = randomBytes(6).readUIntBE(0, 6);
  readonly limitBytes: number;
  readonly index: SpoolIndex;
  readonly taken: Taken;
  readonly files: SegmentFiles;
  readonly data: DataSegments;
  /** Damage that recovery met. */
  readonly findings: readonly Finding[];
  /** Live entries by number, ascending. */
  readonly live: Map<number, Entry>;
  readonly #log: Log;
  readonly #logger: Logger;
  readonly #segments = new Map<number, LogSegment>();
  readonly #views = new Map<string, View>();
  readonly #housekeeping: Housekeeping;
  readonly #heap = new HeapGrowth();
  #liveBytes = 0;
  #nextSeq: number;
  #seqLimit: number;
  #nextSegment: number;
  #newFiles = true;
  #running: Promise<void> | null = null;
  #following: Promise<void> | null = null;
  #lastSyncMs = 0;
  #failure: Error | null = null;
  #fullReason: string | null = null;
  #diskFull = false;

  private constructor(options: SpoolOptions, index: SpoolIndex) {
    super();
    // As many wait for room, or for releases, as there are connections.
    this.setMaxListeners(0);
    const { directory } = options;
    this.directory = directory;
    this.limitBytes = options.limitBytes;
    this.#logger = options.logger;
    this.index = index;
    this.#heap.tighten();
    const recovered = recover(directory, this.index.segments(), nowMs());
    const known = this.index.meta('spoolId');
    assertSameSpool(directory, known, recovered.spoolId);
    this.spoolId = String(known ?? recovered.spoolId ?? randomBytes(16).toString('hex'));
    this.findings = recovered.findings;
    this.taken = new Taken(this.index.taken());
    for (const { taken, sessions } of recovered.segments) this.taken.takeIn(taken, sessions);
    this.#nextSeq = this.#firstSeq(recovered.highestSeq, recovered.spoolId === null);
    this.#seqLimit = this.#nextSeq + SEQ_STEP;
    this.index.setMeta('spoolId', this.spoolId);
    this.index.setMeta('seqLimit', this.#seqLimit);
    this.#nextSegment = recovered.highestSegment + 1;
    const segmentBytes = Math.min(limits.dataSegmentBytes, Math.ceil(options.limitBytes / 8));
    const segmentsDirectory = join(directory, 'segments');
    this.data = new DataSegments(segmentsDirectory, segmentBytes, () => this.#nextSegment++);
    const lentUntilMs = nowMs() + limits.placesLeaseMs;
    for (const { number, bytes } of recovered.dataSegments) {
      this.data.adopt(number, bytes, lentUntilMs);
    }
    this.files = new SegmentFiles(segmentsDirectory, (number) => this.data.has(number));
    const floor = this.#nextSeq - 1;
    this.#log = new Log(segmentsDirectory, this.spoolId, this.#nextSegment++, floor);
    for (const segment of recovered.segments) this.#segments.set(segment.number, segment);
    this.#segments.set(this.#log.current.number, this.#log.current);
    this.live = new Map();
    for (const entry of recovered.entries) {
      this.#register(entry);
      if (entry.isExternal) this.data.addLive(entry.payloadSegment, entry.payloadBytes);
    }
    this.#heap.note(this.live.size);
    syncDirectory(segmentsDirectory);
    this.#housekeeping = new Housekeeping({
      directory,
      spool: this,
      segments: this.#segments,
      log: this.#log,
      logger: this.#logger,
      roll: (floor) => this.#roll(floor),
    });
  }

  /**
   * Opens the spool, recovers it, takes the lock. @throws KangarooError SPOOL_IN_USE, VERSION ...
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    prepareDirectory(options.directory);
    const index = new SpoolIndex(join(options.directory, 'index.db'));
    try {
      const spool = new Spool(options, index);
      // What recovery adopted was written again and synced, external payload included.
      await spool.data.sync();
      spool.#housekeeping.start();
      return spool;
    } catch (error) {
      index.close();
      throw error;
    }
  }

  /**
   * Appends all of `batch` in order, or nothing. @throws errno errors of write(2), ENOSPC among
   * them
   */
  append(batch: readonly Incoming[]): Entry[] {
    this.#assertWorking();
    this.#makeWay(batch.length);
    const firstSeq = this.#nextSeq;
    const pieces: Buffer[] = [];
    let seq = firstSeq;
    for (const { bytes, payload, head, senderId, place } of batch) {
      const fresh = head.originId === NO_ID;
      renumber(bytes, 0, headBytes(head), {
        seq,
        hops: head.hops + 1,
        sender: [senderId, head.seq],
        payload: place,
        ...(fresh ? { origin: [this.spoolId, seq] } : {}),
      });
      pieces.push(bytes);
      if (payload !== undefined) pieces.push(...payload);
      seq += 1;
    }
    let at = this.#log.append(pieces, seq - 1);
    this.#nextSeq = seq;
    const segment = this.#log.current;
    const arrivedMs = nowMs();
    const entries = batch.map(({ head, senderId, place }, i) => {
      const entry = new Entry(head, segment.number, at, arrivedMs, {
        seq: firstSeq + i,
        hops: head.hops + 1,
        originId: head.originId === NO_ID ? this.spoolId : head.originId,
        place,
      });
      at += entry.bytes;
      segment.entries.push(entry);
      segment.liveCount += 1;
      segment.liveBytes += entry.bytes;
      this.#register(entry);
      if (place !== null) this.data.addLive(place[0], head.payloadBytes);
      this.taken.add(senderId, head.seq);
      segment.noteTaken(senderId, head.seq);
      return entry;
    });
    this.#heap.note(this.live.size);
    this.emit('append', entries);
    return entries;
  }

  /**
   * Resolves when everything appended before the call is on stable storage. Calls at the same time
   * share one sync. @throws KangarooError SPOOL_FAILED
   */
  async sync(): Promise<void> {
    this.#assertWorking();
    if (this.#running === null) {
      if (!this.#log.isDirty && !this.data.isDirty) return;
      this.#running = this.#syncOnce().finally(() => {
        this.#running = null;
      });
      await this.#running;
      return;
    }
    // The running sync may have started before the caller's last append: it needs the one after.
    this.#following ??= this.#running
      .catch(() => {})
      .then(async () => {
        this.#following = null;
        await this.sync();
      });
    await this.#following;
  }

  /** The next hop has committed these (or they were given up): they leave the spool. */
  release(entries: readonly Entry[]): void {
    const byName = new Map<string, Entry[]>();
    for (const entry of entries) {
      if (entry.released) continue;
      entry.released = true;
      this.live.delete(entry.seq);
      this.#liveBytes -= entry.payloadBytes;
      const segment = this.#segments.get(entry.segment);
      if (segment !== undefined) {
        segment.liveCount -= 1;
        segment.liveBytes -= entry.bytes;
        segment.released.add(entry.seq);
        segment.releasedDirty = true;
      }
      if (entry.isExternal) {
        this.data.removeLive(entry.payloadSegment, entry.payloadOffset, entry.payloadBytes);
      }
      const same = byName.get(entry.name);
      if (same === undefined) byName.set(entry.name, [entry]);
      else same.push(entry);
    }
    this.#heap.note(this.live.size);
    for (const [name, released] of byName) this.#views.get(name)?.release(released);
    this.emit('release', entries);
    if (this.#fullReason !== null) void this.tidy();
  }

  /** The export directory's disk failed: see Taken.distrustDirect. */
  distrustDirect(): void {
    const spooled = new Map<string, RangeSet>();
    for (const segment of this.#segments.values()) {
      for (const [sender, ranges] of segment.taken) {
        const known = spooled.get(sender) ?? new RangeSet();
        known.addAll(ranges);
        spooled.set(sender, known);
      }
    }
    this.taken.distrustDirect(spooled);
  }

  /** An operation was given up: names it made or moved must not show any more. */
  rebuildView(name: string): void {
    const view = new View();
    for (const entry of this.live.values()) if (entry.name === name) view.apply(entry);
    this.#views.set(name, view);
  }

  view(name: string): View {
    let view = this.#views.get(name);
    if (view === undefined) {
      view = new View();
      this.#views.set(name, view);
    }
    return view;
  }

  /** The payload bytes [from, from + length) of an entry. @throws KangarooError CORRUPT */
  async readPayload(entry: Entry, from = 0, length = entry.payloadBytes): Promise<Buffer> {
    const { payloadSegment, payloadOffset, payloadBytes } = entry;
    // Whole, because only the whole can be checked.
    const payload = await this.files.read(payloadSegment, payloadOffset, payloadBytes);
    if (crc32c(payload) !== entry.payloadCrc) {
      const where = `${formatAddress(entry.name, entry.path)}: payload checksum`;
      throw new KangarooError('CORRUPT', `${where} in ${this.files.path(payloadSegment)}`);
    }
    return payload.subarray(from, from + length);
  }

  /** The record head as it lies in the log. */
  async readHead(entry: Entry): Promise<Buffer> {
    const bytes = entry.bytes - (entry.isExternal ? 0 : entry.payloadBytes);
    return await this.files.read(entry.segment, entry.at, bytes);
  }

  /**
   * What is wrong with a record or its payload; null when they are as they were taken.
   * @throws errno errors that say nothing about the record, SPOOL_FAILED
   */
  async problemOf(entry: Entry): Promise<string | null> {
    try {
      const head = decodeHead(await this.readHead(entry));
      if (typeof head === 'string') return head;
      if (head.seq !== entry.seq) return 'another record lies there';
      if (entry.payloadBytes > 0) await this.readPayload(entry);
      return null;
    } catch (error) {
      if (!(error instanceof KangarooError) || error.code !== 'CORRUPT') throw error;
      // All of the spool is gone, not this record: a disk that was taken away is no damage.
      if (!existsSync(this.files.path(this.#log.current.number))) throw this.fail(error);
      return error.message;
    }
  }

  /** Keeps what can still be read of a damaged record for a person to look at, durably. */
  putAside(entry: Entry, problem: string): void {
    const directory = join(this.directory, 'quarantine');
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = join(directory, `${entry.seq}`);
    const { seq, name, path, offset, payloadBytes, segment, at, bytes } = entry;
    const about = { seq, name, path, offset, payloadBytes, segment, at, bytes, problem };
    try {
      writeFileSync(`${file}.json`, JSON.stringify(about), { mode: 0o600, flush: true });
      copyRange(this.files.path(segment), at, bytes, `${file}.record`);
      if (entry.isExternal) {
        const from = this.files.path(entry.payloadSegment);
        copyRange(from, entry.payloadOffset, payloadBytes, `${file}.payload`);
      }
      syncDirectory(directory);
      syncDirectory(this.directory);
    } catch (error) {
      this.#logger.warn({ err: error, op: seq }, 'nothing of the damaged record could be kept');
    }
  }

  /**
   * Room for payload in a data segment; wait at `room` first.
   * @throws ENOSPC or EDQUOT of open(2), which pass; KangarooError SPOOL_FAILED
   */
  reserve(bytes: number): Extent {
    this.#assertWorking();
    this.#newFiles = true;
    try {
      return this.data.reserve(Math.min(bytes, limits.grantBytesMax));
    } catch (error) {
      throw saysFull(error) ? error : this.fail(error);
    }
  }

  /**
   * Waits until `bytes` more may come in.
   * @throws KangarooError NOT_YET at the deadline, SPOOL_FAILED
   */
  async room(bytes: number, deadline: Deadline, signal?: AbortSignal): Promise<void> {
    if (this.hasRoom(bytes)) return;
    void this.tidy();
    // Woken by every round of housekeeping; each looks for itself whether it is enough.
    while (!this.hasRoom(bytes)) {
      this.#assertWorking();
      let wake = (): void => {};
      const roomAgain = new Promise<void>((resolve) => {
        wake = resolve;
        this.on('room', wake);
      });
      try {
        await within(roomAgain, deadline, `the spool is full (${this.#fullReason})`, signal);
      } finally {
        this.off('room', wake);
      }
    }
  }

  /** @throws KangarooError SPOOL_FAILED when the disk does not even say how much room it has */
  hasRoom(bytes: number): boolean {
    const used = this.occupiedBytes;
    if (used + bytes > this.limitBytes) {
      this.#fullReason = 'its limit is reached';
    } else if (this.#diskFull || this.#freeBytes() < bytes + limits.headroomBytes) {
      this.#fullReason = 'its disk is full';
      this.#diskFull = false;
    } else {
      this.#fullReason = null;
    }
    return this.#fullReason === null;
  }

  /** A write met a full disk although there seemed to be room. */
  noteDiskFull(): void {
    this.#diskFull = true;
  }

  get occupiedBytes(): number {
    let bytes = this.data.occupiedBytes;
    for (const segment of this.#segments.values()) bytes += segment.end;
    return bytes;
  }

  get highestSeq(): number {
    return this.#nextSeq - 1;
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  get state(): 'ok' | 'full' | 'failed' {
    if (this.#failure !== null) return 'failed';
    return this.#fullReason === null ? 'ok' : 'full';
  }

  get fullReason(): string | null {
    return this.#fullReason;
  }

  /** A round of housekeeping now, which else comes within a second. Never rejects. */
  async tidy(): Promise<void> {
    await this.#housekeeping.run();
  }

  /** Stops housekeeping, syncs, flushes the index and closes everything. */
  async close(): Promise<void> {
    await this.#housekeeping.stop();
    if (this.#failure === null) {
      await this.sync();
      this.#log.mark();
      await this.sync();
      await this.#housekeeping.flush();
    }
    this.files.closeAll();
    this.data.closeAll();
    this.#log.close();
    this.index.close();
  }

  /** Stable storage cannot be trusted any more: nothing is acknowledged from here on. */
  fail(error: unknown): KangarooError {
    const text = error instanceof Error ? error.message : String(error);
    const failure = new KangarooError('SPOOL_FAILED', `the spool disk failed: ${text}`, {
      cause: error,
    });
    if (this.#failure === null) {
      this.#failure = failure;
      this.#logger.fatal({ err: error }, 'the spool disk failed; nothing more is acknowledged');
      this.emit('failed', failure);
      // Who waits for room would wait for ever.
      this.emit('room');
    }
    return failure;
  }

  async #syncOnce(): Promise<void> {
    const startMs = nowMs();
    try {
      this.#syncNames();
      const quick = this.#lastSyncMs < QUICK_SYNC_MS && !this.data.isDirty;
      const payload = this.data.sync();
      await Promise.all([payload, this.#log.sync(quick, payload)]);
      this.#lastSyncMs = nowMs() - startMs;
    } catch (error) {
      throw this.fail(error);
    }
  }

  /** Makes the names of new segments durable. */
  #syncNames(): void {
    if (!this.#newFiles) return;
    syncDirectory(join(this.directory, 'segments'));
    this.#newFiles = false;
  }

  #freeBytes(): number {
    try {
      return diskFreeBytes(this.directory);
    } catch (error) {
      throw this.fail(error);
    }
  }

  #register(entry: Entry): void {
    this.live.set(entry.seq, entry);
    this.#liveBytes += entry.payloadBytes;
    this.view(entry.name).apply(entry);
  }

  /** New segment when this one is full; new numbers when the reserved ones run out. */
  #makeWay(count: number): void {
    const segment = this.#log.current;
    const segmentBytes = Math.min(limits.logSegmentBytes, Math.ceil(this.limitBytes / 8));
    if (segment.end >= segmentBytes || segment.entries.length >= limits.recordsPerSegmentMax) {
      this.#roll();
    }
    if (this.#nextSeq + count > this.#seqLimit) {
      const seqLimit = this.#nextSeq + count + SEQ_STEP;
      this.index.flush({ seqLimit });
      this.#seqLimit = seqLimit;
    }
  }

  /**
   * The names of those before are made durable first: a power cut that took an older segment away
   * and left a newer one would look like one that was removed because all of it had arrived.
   */
  #roll(floor?: number): void {
    try {
      this.#syncNames();
    } catch (error) {
      throw this.fail(error);
    }
    this.#log.roll(this.#nextSegment++, floor);
    this.#segments.set(this.#log.current.number, this.#log.current);
    this.#newFiles = true;
  }

  #firstSeq(highestSeq: number, isNew: boolean): number {
    const reserved = this.index.meta('seqLimit');
    if (reserved !== null) return Math.max(Number(reserved), highestSeq + 1);
    // An empty log is no sign that no number was ever given under this id.
    return isNew ? 1 : highestSeq + SEQ_JUMP;
  }

  #assertWorking(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}

function copyRange(from: string, offset: number, length: number, to: string): void {
  const fd = openSync(from, 'r');
  try {
    const bytes = Buffer.alloc(length);
    const got = readSync(fd, bytes, 0, length, offset);
    writeFileSync(to, bytes.subarray(0, got), { mode: 0o600, flush: true });
  } finally {
    closeSync(fd);
  }
}

function assertSameSpool(directory: string, inIndex: unknown, inLog: string | null): void {
  if (inIndex === null || inLog === null || inIndex === inLog) return;
  throw new KangarooError('CORRUPT', `${directory}: index.db and segments/ are of two spools`, {
    hint: 'move the files of the other one out of the spool directory',
  });
}
