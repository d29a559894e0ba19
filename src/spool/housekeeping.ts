/**
 * Housekeeping of a spool: what may lag behind the log and is done every second, in this order.
 *
 *   1. sync what was appended and has not been asked for by a commit for a while
 *   2. flush the index: released and taken numbers, heads of segments that are full and synced
 *   3. unlink segments that nothing lives in, only now that the index durably says so
 *   4. compact log segments that are mostly dead; punch holes into such data segments
 *
 * Killed between any two steps, recovery finds operations that were delivered already (they are
 * sent again and dropped as repeats) or files that nothing needs (found dead and unlinked).
 * A full disk must not keep the index from recording what was released, since only that frees
 * room: the headroom file is given up first and made again when there is room.
 */
import { existsSync, unlinkSync, writeFileSync } from 'node:fs';
import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { nowMs } from '../base/deadline.ts';
import type { RangeSet } from '../base/ranges.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { syncDirectory } from './directory.ts';
import type { Entry } from './entry.ts';
import type { Log, LogSegment } from './log.ts';
import { packHeads } from './recover.ts';
import { diskFreeBytes } from './room.ts';
import type { Spool } from './spool.ts';

/** Unasked-for data is synced after this long; what was delivered by then never costs a sync. */
const SYNC_AFTER_MS = 10_000;
/** A full segment that still lives after this long gets its heads into the index. */
const SEAL_AFTER_MS = 5_000;
/** A log segment with at most this share of live bytes is compacted. */
const COMPACT_LIVE_SHARE = 0.25;
const PUNCH_BYTES_MIN = 4 * 1024 * 1024;

interface Parts {
  readonly directory: string;
  readonly spool: Spool;
  readonly segments: Map<number, LogSegment>;
  readonly log: Log;
  readonly logger: Logger;
  readonly roll: (floor?: number) => void;
}

export class Housekeeping {
  readonly #parts: Parts;
  readonly #fullSinceMs = new WeakMap<LogSegment, number>();
  readonly #headroomFile: string;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | null = null;
  #isWanted = false;
  #lastSyncMs = nowMs();
  #stopped = false;
  /** Segments whose files are gone: their rows go with the next flush, never before the file. */
  readonly #unlinked: number[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
    for (const { number } of parts.spool.index.segments()) {
      if (!parts.segments.has(number)) this.#unlinked.push(number);
    }
    this.#headroomFile = join(parts.directory, 'headroom');
  }

  start(): void {
    this.#keepHeadroom();
    this.#timer = setInterval(() => void this.run(), limits.indexFlushEveryMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  /** One round from its beginning; calls during a round share the one after it. */
  async run(): Promise<void> {
    if (this.#stopped) return;
    this.#isWanted = true;
    this.#running ??= this.#rounds().finally(() => {
      this.#running = null;
    });
    await this.#running;
  }

  async #rounds(): Promise<void> {
    while (this.#isWanted && !this.#stopped) {
      this.#isWanted = false;
      await this.#round();
    }
  }

  async #round(): Promise<void> {
    const { spool, logger } = this.#parts;
    if (spool.state === 'failed') return;
    try {
      if (nowMs() - this.#lastSyncMs > SYNC_AFTER_MS) {
        this.#lastSyncMs = nowMs();
        await spool.sync();
      }
      // First what frees room: everything else needs some.
      await this.flush();
      this.#markIdle();
      this.#retireCurrent();
      await this.#compactOne();
      spool.data.punchDead(PUNCH_BYTES_MIN, nowMs());
      this.#keepHeadroom();
    } catch (error) {
      logger.error({ err: error }, 'housekeeping of the spool');
    }
    try {
      // So that the spool is not called full any longer than it is.
      spool.hasRoom(Math.min(limits.frameBytesMax, Math.ceil(spool.limitBytes / 8)));
    } catch (error) {
      logger.debug({ err: error }, 'the spool has failed, which ends the server');
    }
    spool.emit('room');
  }

  /** Makes the index say what is so, then removes the files that it no longer needs. */
  async flush(): Promise<void> {
    const { spool, segments, log } = this.#parts;
    const dataFlush = spool.data.beginFlush();
    const deadLogs = [...segments.values()].filter((s) => s !== log.current && s.liveCount === 0);
    const deadData = spool.data.dead();
    const sealed = await this.#sealable();
    const released = new Map<number, RangeSet>();
    const dirty: LogSegment[] = [];
    for (const segment of segments.values()) {
      if (!segment.releasedDirty) continue;
      dirty.push(segment);
      released.set(segment.number, segment.released);
    }
    const lowWater = this.#lowWater();
    // Their records go, so the index has to remember from now on what came in them.
    for (const segment of deadLogs) spool.taken.promote(segment.taken);
    // Of these only the live heads are kept.
    for (const number of sealed.keys()) {
      const taken = segments.get(number)?.taken;
      if (taken !== undefined) spool.taken.promote(taken);
    }
    const takenChanges = spool.taken.changes();
    const removed = this.#unlinked.splice(0);
    // A file that a power cut brings back needs its row.
    if (removed.length > 0) syncDirectory(spool.files.directory);
    const nothing =
      dirty.length + deadLogs.length + deadData.length + sealed.size + removed.length === 0 &&
      takenChanges.taken.length + takenChanges.forgottenSenders.length === 0;
    if (nothing) return;
    try {
      this.#flushIndex({ released, sealed, removed, ...takenChanges });
    } catch (error) {
      spool.taken.restore(takenChanges);
      this.#unlinked.push(...removed);
      throw error;
    }
    spool.data.endFlush(dataFlush);
    for (const segment of dirty) segment.releasedDirty = false;
    for (const number of sealed.keys()) {
      const segment = segments.get(number);
      if (segment !== undefined) segment.sealed = true;
    }
    spool.emit('lowWater', lowWater);
    await this.#unlink(deadLogs, deadData);
  }

  /**
   * The lowest number that may still be sent, less one. A released number counts only once the
   * flush that follows has made its release durable.
   */
  #lowWater(): number {
    const first = this.#parts.spool.live.keys().next();
    if (first.done !== true) return first.value - 1;
    return this.#parts.spool.highestSeq;
  }

  #flushIndex(changes: Parameters<Spool['index']['flush']>[0]): void {
    const { spool } = this.#parts;
    try {
      spool.index.flush(changes);
    } catch (error) {
      if (spool.index.isFailed) throw spool.fail(error);
      if (!existsSync(this.#headroomFile)) throw error;
      unlinkSync(this.#headroomFile);
      spool.index.flush(changes);
    }
  }

  async #unlink(deadLogs: readonly LogSegment[], deadData: readonly number[]): Promise<void> {
    const { spool, segments } = this.#parts;
    for (const { number } of deadLogs) {
      segments.delete(number);
      const path = spool.files.path(number);
      spool.files.drop(number);
      await unlink(path);
      this.#unlinked.push(number);
    }
    for (const number of deadData) {
      const path = spool.files.path(number);
      if (!spool.data.remove(number)) continue;
      spool.files.drop(number);
      await unlink(path);
    }
  }

  /** Nothing has come for a while: then no record is going to carry the mark of the last sync. */
  #markIdle(): void {
    const { log } = this.#parts;
    if (!log.isMarkDue || log.isDirty) return;
    try {
      log.mark();
    } catch {
      // The disk is full: the next record brings it along.
    }
  }

  /** A current segment with nothing alive in it need not wait until it is full. */
  #retireCurrent(): void {
    const { log, spool, roll } = this.#parts;
    const { current } = log;
    const worthIt = current.end > PUNCH_BYTES_MIN || spool.state === 'full';
    if (current.liveCount > 0 || current.entries.length === 0 || !worthIt) return;
    try {
      roll();
    } catch (error) {
      // A full disk can only be emptied with a little room for the next segment.
      if (!existsSync(this.#headroomFile)) throw error;
      unlinkSync(this.#headroomFile);
      roll();
    }
  }

  /** The heads of segments that are full, durable and not just passing through. */
  async #sealable(): Promise<Map<number, Buffer>> {
    const { segments, log, spool } = this.#parts;
    const sealed = new Map<number, Buffer>();
    for (const segment of segments.values()) {
      if (segment === log.current || segment.sealed || segment.liveCount === 0) continue;
      const sinceMs = this.#fullSinceMs.get(segment);
      if (sinceMs === undefined) this.#fullSinceMs.set(segment, nowMs());
      else if (nowMs() - sinceMs > SEAL_AFTER_MS) {
        await spool.sync();
        const bytes = await readFile(spool.files.path(segment.number));
        const live = segment.entries.filter((entry) => !entry.released);
        const heads = live.map((entry) => {
          const end = entry.at + entry.bytes - (entry.isExternal ? 0 : entry.payloadBytes);
          return { at: entry.at, head: bytes.subarray(entry.at, end) };
        });
        sealed.set(segment.number, packHeads(heads));
        return sealed;
      }
    }
    return sealed;
  }

  /** Moves the few live records of a mostly dead log segment to the current one. */
  async #compactOne(): Promise<void> {
    const { segments, log, spool, roll } = this.#parts;
    for (const segment of segments.values()) {
      if (segment === log.current || segment.liveCount === 0) continue;
      if (segment.liveBytes > segment.end * COMPACT_LIVE_SHARE) continue;
      if (segment.end < PUNCH_BYTES_MIN && spool.state !== 'full') continue;
      const live = segment.entries.filter((entry) => !entry.released);
      const records: Buffer[] = [];
      for (const entry of live) {
        records.push(await spool.files.read(segment.number, entry.at, entry.bytes));
      }
      // In a segment of their own at first: numbers must ascend within a segment (segment.ts).
      roll((live[0] as Entry).seq - 1);
      let at = log.append(records, spool.highestSeq);
      for (const [i, entry] of live.entries()) {
        this.#move(entry, segment, log.current, at);
        at += records[i]?.length ?? 0;
      }
      segment.entries = [];
      await spool.sync();
      spool.emit('moved', live);
      return;
    }
  }

  #move(entry: Entry, from: LogSegment, to: LogSegment, at: number): void {
    entry.segment = to.number;
    entry.at = at;
    to.entries.push(entry);
    if (entry.released) {
      to.released.add(entry.seq);
      to.releasedDirty = true;
      return;
    }
    from.liveCount -= 1;
    from.liveBytes -= entry.bytes;
    to.liveCount += 1;
    to.liveBytes += entry.bytes;
  }

  #keepHeadroom(): void {
    const { directory } = this.#parts;
    if (existsSync(this.#headroomFile)) return;
    if (diskFreeBytes(directory) < 4 * limits.headroomBytes) return;
    writeFileSync(this.#headroomFile, Buffer.alloc(limits.headroomBytes), { mode: 0o600 });
  }
}
