/**
 * The pending bytes of one file: which of its bytes lie in the spool, newest first, and what shows
 * between them.
 *
 * Kept are the newest extents (a write covers what it overwrites, a truncation cuts what is beyond
 * it) and the truncations that still keep bytes of the next hop from showing. Promise: laid over
 * the file as the next hop has it, the result is the file with all operations applied, whichever of
 * the operations kept here the next hop has already applied. That holds because the operations of
 * one file reach the next hop in order, so what is released is always its oldest ones; and because
 * the overlay is asked first and the next hop afterwards. An operation given up in the middle needs
 * a new overlay without it.
 *
 * Pure. Only a reference to an operation is kept: its payload's place may change under it.
 */
import { FLAGS, type Operation } from '../protocol/operation.ts';

/** What a view reads of a spooled operation. */
export interface LiveOperation extends Pick<
  Operation,
  'kind' | 'flags' | 'path' | 'path2' | 'offset' | 'size' | 'mode' | 'mtimeNs' | 'payloadBytes'
> {
  readonly seq: number;
  /** Where the payload lies; compaction moves it. */
  payloadSegment: number;
  payloadOffset: number;
}

/** Bytes start..end (exclusive) of the file; `at` is where they begin in the payload of `op`. */
export type Piece =
  | {
      readonly from: 'operation';
      readonly start: number;
      readonly end: number;
      readonly op: LiveOperation;
      readonly at: number;
    }
  | { readonly from: 'base'; readonly start: number; readonly end: number }
  | { readonly from: 'hole'; readonly start: number; readonly end: number };

interface Cut {
  readonly seq: number;
  readonly size: number;
}

export class FileOverlay {
  /** start, end of each extent: ascending, disjoint, none empty. Plain numbers stay unboxed. */
  #bounds: number[] = [];
  /** The operation of each extent. */
  #ops: LiveOperation[] = [];
  /**
   * Pending truncations, oldest first and strictly growing: one with a later one at or below it
   * has nothing to say, because it is released before that one is.
   */
  #cuts: Cut[] = [];
  #pendingBytes = 0;
  /** Operations up to this one are released but not yet swept out. */
  #releasedSeq = 0;

  /** Bytes of the next hop's file at or beyond this do not show. Infinity: all of them do. */
  get baseLimit(): number {
    return this.#cuts[0]?.size ?? Infinity;
  }

  /** Payload bytes of the pending writes, overwritten ones too: what is still to be moved. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get extentCount(): number {
    return this.#ops.length;
  }

  get isEmpty(): boolean {
    return this.#ops.length === 0 && this.#cuts.length === 0;
  }

  /** Length of the file when the next hop's has `baseSize` bytes (0: it has none). */
  size(baseSize: number): number {
    const cut = this.#cuts.at(-1);
    return Math.max(cut === undefined ? baseSize : cut.size, this.#bounds.at(-1) ?? 0);
  }

  /**
   * A write, in the order of `seq`. `isNew`: there was no file before it, so whatever the next hop
   * has at its path is not this file as long as the write is pending.
   */
  apply(op: LiveOperation, isNew: boolean): void {
    if (isNew) this.#cut(0, op.seq);
    if ((op.flags & FLAGS.TRUNCATE) !== 0) this.#cut(op.size, op.seq);
    if (op.payloadBytes > 0) this.#write(op.offset, op.offset + op.payloadBytes, op);
    this.#pendingBytes += op.payloadBytes;
  }

  /** The next hop has committed `op`, which was applied here. Takes effect with `sweep`. */
  release(op: LiveOperation): void {
    this.#pendingBytes -= op.payloadBytes;
    if (op.seq > this.#releasedSeq) this.#releasedSeq = op.seq;
  }

  /** Drops what released operations hold, all of them in one pass. */
  sweep(): void {
    const upTo = this.#releasedSeq;
    if (upTo === 0) return;
    this.#releasedSeq = 0;
    const bounds = this.#bounds;
    const ops = this.#ops;
    let kept = 0;
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as LiveOperation;
      if (op.seq <= upTo) continue;
      ops[kept] = op;
      bounds[kept * 2] = bounds[i * 2] as number;
      bounds[kept * 2 + 1] = bounds[i * 2 + 1] as number;
      kept++;
    }
    ops.length = kept;
    bounds.length = kept * 2;
    if (this.#cuts.length > 0) this.#cuts = this.#cuts.filter((cut) => cut.seq > upTo);
  }

  /**
   * Where the bytes offset..offset+length come from, in order and without a gap. The range is not
   * clipped to the file's size. With `baseSize`, what the next hop's file does not have is a hole.
   */
  plan(offset: number, length: number, baseSize = Infinity): Piece[] {
    const pieces: Piece[] = [];
    const end = offset + length;
    const baseEnd = Math.min(this.baseLimit, baseSize);
    let at = offset;
    for (let i = this.#firstEndingAfter(offset); at < end && i < this.#ops.length; i++) {
      const start = this.#bounds[i * 2] as number;
      if (start >= end) break;
      pushBeneath(pieces, at, start, baseEnd);
      at = Math.max(at, start);
      const op = this.#ops[i] as LiveOperation;
      const stop = Math.min(end, this.#bounds[i * 2 + 1] as number);
      pieces.push({ from: 'operation', start: at, end: stop, op, at: at - op.offset });
      at = stop;
    }
    pushBeneath(pieces, at, end, baseEnd);
    return pieces;
  }

  #cut(size: number, seq: number): void {
    const keep = this.#firstEndingAfter(size);
    if (keep < this.#ops.length) {
      const split = (this.#bounds[keep * 2] as number) < size;
      this.#ops.length = split ? keep + 1 : keep;
      this.#bounds.length = this.#ops.length * 2;
      if (split) this.#bounds[keep * 2 + 1] = size;
    }
    const cuts = this.#cuts;
    while (cuts.length > 0 && (cuts.at(-1) as Cut).size >= size) cuts.pop();
    cuts.push({ seq, size });
  }

  #write(start: number, end: number, op: LiveOperation): void {
    const bounds = this.#bounds;
    const first = this.#firstEndingAfter(start);
    // Sequential writing: behind everything there is.
    if (first === this.#ops.length) {
      bounds.push(start, end);
      this.#ops.push(op);
      return;
    }
    let next = first;
    while (next < this.#ops.length && (bounds[next * 2] as number) < end) next++;
    const newBounds: number[] = [];
    const newOps: LiveOperation[] = [];
    if (next > first && (bounds[first * 2] as number) < start) {
      newBounds.push(bounds[first * 2] as number, start);
      newOps.push(this.#ops[first] as LiveOperation);
    }
    newBounds.push(start, end);
    newOps.push(op);
    if (next > first && (bounds[next * 2 - 1] as number) > end) {
      newBounds.push(end, bounds[next * 2 - 1] as number);
      newOps.push(this.#ops[next - 1] as LiveOperation);
    }
    bounds.splice(first * 2, (next - first) * 2, ...newBounds);
    this.#ops.splice(first, next - first, ...newOps);
  }

  /** Index of the first extent with a byte at or behind `offset`; the count when there is none. */
  #firstEndingAfter(offset: number): number {
    const bounds = this.#bounds;
    let low = 0;
    let high = this.#ops.length;
    // Files are mostly written in order: look at the end first.
    if (high === 0 || (bounds[high * 2 - 1] as number) <= offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((bounds[middle * 2 + 1] as number) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** start..end between two extents: the next hop's bytes below `baseEnd`, zeros from there on. */
function pushBeneath(pieces: Piece[], start: number, end: number, baseEnd: number): void {
  const split = Math.min(end, Math.max(start, baseEnd));
  if (start < split) pieces.push({ from: 'base', start, end: split });
  if (split < end) pieces.push({ from: 'hole', start: split, end });
}
