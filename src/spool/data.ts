/**
 * Data segments: files of payload bytes that need no header of their own (SPOOL.md, decision 8).
 *
 * Room is handed out as extents: to a local client that writes its payload itself, or to a
 * connection whose large blocks the addon puts there. What an extent's owner did not use comes back
 * with `giveBack`. A segment goes when no live operation has bytes in it and nobody holds room.
 * Accounting is by bytes that may occupy the disk: used and handed out, less what was punched.
 */
import { closeSync, constants, fdatasync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { native } from '../base/addon.ts';
import { dataName } from './segment.ts';

const syncData = promisify(fdatasync);
const PUNCH_KEEPING_SIZE = 3;

export interface Extent {
  readonly segment: number;
  readonly offset: number;
  readonly bytes: number;
}

class DataSegment {
  readonly number: number;
  readonly fd: number;
  /** Bytes handed out so far: the next extent starts here. */
  end = 0;
  /** Bytes that may take up disk: handed out, not given back, not punched. */
  occupiedBytes = 0;
  liveBytes = 0;
  heldExtents = 0;
  dirty = false;
  /** A sync is at its descriptor. */
  syncing = 0;
  /** Programs may be reading what lies here until then, by the clock of nowMs. */
  readUntilMs = 0;
  /** Released ranges that still occupy the disk, each with the flush that makes it known. */
  dead: { start: number; end: number; readonly flush: number }[] = [];

  constructor(number: number, fd: number) {
    this.number = number;
    this.fd = fd;
  }
}

export class DataSegments {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #nextNumber: () => number;
  readonly #segments = new Map<number, DataSegment>();
  #current: DataSegment | null = null;
  #flush = 1;
  #flushed = 0;

  constructor(directory: string, segmentBytes: number, nextNumber: () => number) {
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#nextNumber = nextNumber;
  }

  /**
   * A segment that was there at start, of which `end` bytes exist. `untilMs`: a server before this
   * one may have lent it.
   */
  adopt(number: number, end: number, untilMs = 0): void {
    const segment = new DataSegment(number, this.#openFile(number, constants.O_RDWR));
    segment.readUntilMs = untilMs;
    segment.end = end;
    segment.occupiedBytes = end;
    this.#segments.set(number, segment);
  }

  has(number: number): boolean {
    return this.#segments.has(number);
  }

  fd(number: number): number | undefined {
    return this.#segments.get(number)?.fd;
  }

  /** Room for `bytes` (at most a segment), in one piece. @throws errno errors of open(2) */
  reserve(bytes: number): Extent {
    let segment = this.#current;
    if (segment === null || segment.end + bytes > Math.max(this.#segmentBytes, bytes)) {
      const number = this.#nextNumber();
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
      segment = new DataSegment(number, this.#openFile(number, flags));
      this.#segments.set(number, segment);
      this.#current = segment;
    }
    const extent = { segment: segment.number, offset: segment.end, bytes };
    segment.end += bytes;
    segment.occupiedBytes += bytes;
    segment.heldExtents += 1;
    return extent;
  }

  /** The holder of `extent` is done with it, having used its first `usedBytes`. */
  giveBack(extent: Extent, usedBytes: number): void {
    const segment = this.#segments.get(extent.segment);
    if (segment === undefined) return;
    segment.heldExtents -= 1;
    segment.occupiedBytes -= extent.bytes - usedBytes;
    if (segment === this.#current && segment.end === extent.offset + extent.bytes) {
      segment.end = extent.offset + usedBytes;
    }
  }

  /** Keeps a segment that nothing refers to yet; how long it is now, null when it is gone. */
  hold(number: number): number | null {
    const segment = this.#segments.get(number);
    if (segment === undefined) return null;
    const { size } = fstatSync(segment.fd);
    // It may have grown since it was adopted.
    segment.occupiedBytes += Math.max(0, size - segment.end);
    segment.end = Math.max(segment.end, size);
    segment.heldExtents += 1;
    return size;
  }

  /** It is not kept any more but by what refers to it. */
  letGo(number: number): void {
    const segment = this.#segments.get(number);
    if (segment !== undefined) segment.heldExtents -= 1;
  }

  /**
   * Somebody reads from its file what lies there now: until then nothing is punched out of it. A
   * removal takes nothing away from a reader who has it open, and one who has not finds no file.
   */
  lend(number: number, untilMs: number): void {
    const segment = this.#segments.get(number);
    if (segment !== undefined) segment.readUntilMs = Math.max(segment.readUntilMs, untilMs);
  }

  /** An operation now has its payload there. */
  addLive(number: number, bytes: number): void {
    const segment = this.#segments.get(number);
    if (segment === undefined) return;
    segment.liveBytes += bytes;
    segment.dirty = true;
  }

  /** It has been released. */
  removeLive(number: number, offset: number, bytes: number): void {
    const segment = this.#segments.get(number);
    if (segment === undefined) return;
    segment.liveBytes -= bytes;
    const last = segment.dead.at(-1);
    if (last?.end === offset && last.flush === this.#flush) last.end = offset + bytes;
    else segment.dead.push({ start: offset, end: offset + bytes, flush: this.#flush });
  }

  /** A flush of the index begins: it will say all that was released before. Returns its number. */
  beginFlush(): number {
    return this.#flush++;
  }

  /** It is durable: what was released before it may be punched. */
  endFlush(flush: number): void {
    this.#flushed = flush;
  }

  get isDirty(): boolean {
    for (const segment of this.#segments.values()) if (segment.dirty) return true;
    return false;
  }

  get occupiedBytes(): number {
    let bytes = 0;
    for (const segment of this.#segments.values()) bytes += segment.occupiedBytes;
    return bytes;
  }

  /** Makes the payload of every operation added before the call durable. */
  async sync(): Promise<void> {
    const dirty = [...this.#segments.values()].filter((segment) => segment.dirty);
    await Promise.all(
      dirty.map(async (segment) => {
        segment.dirty = false;
        segment.syncing += 1;
        await syncData(segment.fd);
        segment.syncing -= 1;
      }),
    );
  }

  /** Segments that nothing needs any more. Their removal must wait for a flush of the index. */
  dead(): number[] {
    const numbers: number[] = [];
    for (const segment of this.#segments.values()) {
      if (segment.liveBytes > 0 || segment.heldExtents > 0) continue;
      // The current one, if nothing of it was used, is as good as a new one.
      if (segment !== this.#current || segment.end > 0) numbers.push(segment.number);
    }
    return numbers;
  }

  /** Forgets a dead segment; true if it was still dead, so that its file may be unlinked. */
  remove(number: number): boolean {
    const segment = this.#segments.get(number);
    if (segment === undefined || segment.liveBytes > 0 || segment.heldExtents > 0) return false;
    if (segment.syncing > 0) return false;
    if (segment === this.#current) this.#current = null;
    this.#segments.delete(number);
    closeSync(segment.fd);
    return true;
  }

  /** Gives the disk back what released operations occupied in segments that live on. */
  punchDead(minBytes: number, nowMs: number): void {
    if (native === null) return;
    for (const segment of this.#segments.values()) {
      if (segment.readUntilMs > nowMs) continue;
      // What a kill would bring back must still have its bytes.
      const dead = segment.dead.filter(({ flush }) => flush <= this.#flushed);
      const deadBytes = dead.reduce((sum, { start, end }) => sum + end - start, 0);
      // What nobody needs goes as a whole.
      const goes = segment.liveBytes === 0 && segment.heldExtents === 0;
      if (deadBytes < minBytes || goes) continue;
      for (const { start, end } of dead) {
        try {
          native.fallocate(segment.fd, PUNCH_KEEPING_SIZE, start, end - start);
          segment.occupiedBytes -= end - start;
        } catch {
          // A file system that cannot punch keeps the bytes until the whole segment goes.
        }
      }
      segment.dead = segment.dead.filter(({ flush }) => flush > this.#flushed);
    }
  }

  closeAll(): void {
    for (const segment of this.#segments.values()) closeSync(segment.fd);
    this.#segments.clear();
  }

  #openFile(number: number, flags: number): number {
    return openSync(join(this.#directory, dataName(number)), flags, 0o600);
  }
}
