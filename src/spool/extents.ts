/**
 * The pending bytes of one file: which of its bytes lie in the spool, newest first, and what shows
 * between them.
 *
 * Kept are the newest extents (a write covers what it overwrites, a truncation cuts what is beyond
 * it) and the truncations that still keep bytes of the next hop from showing. Promise: laid over
 * the file as the next hop has it, the result is the file with all operations applied, whichever of
 * those kept here the next hop has applied already. That holds because the operations of one file
 * reach the next hop in order, so what is released is always its oldest ones; and because `plan`
 * and `sizeRule` are taken first and the next hop is asked afterwards, so that a release in between
 * does not change what is laid over an answer older than it. An operation given up in the middle
 * needs a new overlay without it.
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
  readonly payloadSegment: number;
  readonly payloadOffset: number;
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

/** The length of a file over one of the next hop that may still be asked for its own. */
export interface SizeRule {
  /** A pending truncation decides: the next hop's length does not matter. */
  readonly isFixed: boolean;
  readonly atLeast: number;
}

export function sizeOver(rule: SizeRule, baseSize: number): number {
  return rule.isFixed ? rule.atLeast : Math.max(rule.atLeast, baseSize);
}

interface Cut {
  readonly seq: number;
  readonly size: number;
}

/** A run is split when it gets longer: inserting moves at most this many extents. */
const RUN_EXTENTS_MAX = 512;

/** Neighbouring extents of one file: ascending, disjoint, none empty. */
class Run {
  /** start, end of each. Plain numbers in an array of their own stay unboxed. */
  readonly bounds: number[];
  readonly ops: LiveOperation[];

  constructor(bounds: number[], ops: LiveOperation[]) {
    this.bounds = bounds;
    this.ops = ops;
  }

  get end(): number {
    return this.bounds.at(-1) as number;
  }

  /** Index of the first extent with a byte at or behind `offset`; the count when there is none. */
  firstEndingAfter(offset: number): number {
    const { bounds } = this;
    let low = 0;
    let high = this.ops.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((bounds[middle * 2 + 1] as number) <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  insert(start: number, end: number, op: LiveOperation): void {
    const index = this.firstEndingAfter(start);
    this.bounds.splice(index * 2, 0, start, end);
    this.ops.splice(index, 0, op);
  }

  /** Takes start..end out; an extent that reaches beyond keeps what is outside. */
  clear(start: number, end: number): void {
    const { bounds, ops } = this;
    const first = this.firstEndingAfter(start);
    let next = first;
    while (next < ops.length && (bounds[next * 2] as number) < end) next++;
    if (next === first) return;
    const keptBounds: number[] = [];
    const keptOps: LiveOperation[] = [];
    if ((bounds[first * 2] as number) < start) {
      keptBounds.push(bounds[first * 2] as number, start);
      keptOps.push(ops[first] as LiveOperation);
    }
    if ((bounds[next * 2 - 1] as number) > end) {
      keptBounds.push(end, bounds[next * 2 - 1] as number);
      keptOps.push(ops[next - 1] as LiveOperation);
    }
    bounds.splice(first * 2, (next - first) * 2, ...keptBounds);
    ops.splice(first, next - first, ...keptOps);
  }

  /** Takes out the extents of the operations up to `seq`. */
  drop(seq: number): void {
    const { bounds, ops } = this;
    let kept = 0;
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i] as LiveOperation;
      if (op.seq <= seq) continue;
      ops[kept] = op;
      bounds[kept * 2] = bounds[i * 2] as number;
      bounds[kept * 2 + 1] = bounds[i * 2 + 1] as number;
      kept++;
    }
    ops.length = kept;
    bounds.length = kept * 2;
  }

  /** Takes off the second half. */
  split(): Run {
    const half = this.ops.length >>> 1;
    return new Run(this.bounds.splice(half * 2), this.ops.splice(half));
  }
}

export class FileOverlay {
  /** Ascending, none empty; a file with few extents has one. */
  #runs: Run[] = [];
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

  get isEmpty(): boolean {
    return this.#runs.length === 0 && this.#cuts.length === 0;
  }

  /**
   * How long the file is, for a caller who asks the next hop now and may hear of releases first.
   */
  get sizeRule(): SizeRule {
    const cut = this.#cuts.at(-1);
    const end = this.#runs.at(-1)?.end ?? 0;
    return { isFixed: cut !== undefined, atLeast: Math.max(cut?.size ?? 0, end) };
  }

  /** Length of the file when the next hop's has `baseSize` bytes (0: it has none). */
  size(baseSize: number): number {
    return sizeOver(this.sizeRule, baseSize);
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
    for (const run of this.#runs) run.drop(upTo);
    this.#runs = this.#runs.filter((run) => run.ops.length > 0);
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
    for (let r = this.#firstRunEndingAfter(offset); r < this.#runs.length; r++) {
      const { bounds, ops } = this.#runs[r] as Run;
      const first = (this.#runs[r] as Run).firstEndingAfter(offset);
      for (let i = first; i < ops.length && (bounds[i * 2] as number) < end; i++) {
        const start = bounds[i * 2] as number;
        pushBeneath(pieces, at, start, baseEnd);
        at = Math.max(at, start);
        const op = ops[i] as LiveOperation;
        const stop = Math.min(end, bounds[i * 2 + 1] as number);
        pieces.push({ from: 'operation', start: at, end: stop, op, at: at - op.offset });
        at = stop;
      }
      if (at >= end || (bounds[0] as number) >= end) break;
    }
    pushBeneath(pieces, at, end, baseEnd);
    return pieces;
  }

  #cut(size: number, seq: number): void {
    this.#clear(size, Infinity);
    const cuts = this.#cuts;
    while (cuts.length > 0 && (cuts.at(-1) as Cut).size >= size) cuts.pop();
    cuts.push({ seq, size });
  }

  #write(start: number, end: number, op: LiveOperation): void {
    this.#clear(start, end);
    const runs = this.#runs;
    const at = this.#firstRunEndingAfter(start);
    if (at < runs.length) {
      const run = runs[at] as Run;
      run.insert(start, end, op);
      if (run.ops.length > RUN_EXTENTS_MAX) runs.splice(at + 1, 0, run.split());
      return;
    }
    // Sequential writing: behind everything there is.
    const last = runs.at(-1);
    if (last === undefined || last.ops.length >= RUN_EXTENTS_MAX) {
      runs.push(new Run([start, end], [op]));
    } else {
      last.bounds.push(start, end);
      last.ops.push(op);
    }
  }

  #clear(start: number, end: number): void {
    const runs = this.#runs;
    let at = this.#firstRunEndingAfter(start);
    while (at < runs.length && ((runs[at] as Run).bounds[0] as number) < end) {
      const run = runs[at] as Run;
      run.clear(start, end);
      if (run.ops.length === 0) runs.splice(at, 1);
      else at++;
    }
  }

  /** Index of the first run with a byte at or behind `offset`; the count when there is none. */
  #firstRunEndingAfter(offset: number): number {
    const runs = this.#runs;
    let low = 0;
    let high = runs.length;
    // Files are mostly written in order: look at the end first.
    if (high === 0 || (runs[high - 1] as Run).end <= offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((runs[middle] as Run).end <= offset) low = middle + 1;
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
