/**
 * Walking the ring of the board from one position to another, entry by entry.
 *
 * Positions count bytes since the board was made. Writers are programs of this account, perhaps
 * with a fault: what cannot be read ends the walk with a problem, because nothing tells where the
 * next entry begins. Pure, but for `seal`, by which the caller stops the last entry from growing.
 */
import { FLAGS } from '../protocol/operation.ts';
import {
  BOARD,
  decodeEntry,
  ENTRY,
  ENTRY_KIND,
  type RingEntry,
  unreadable,
} from './board-layout.ts';

/** What a slot says of its file. */
export interface SlotFacts {
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
}

/** Something that stands in the ring: an entry, or why nothing behind it can be found. */
export type Standing =
  | { readonly entry: RingEntry; readonly next: number }
  | { readonly entry: null; readonly problem: string };

export function* walkRing(
  ring: Buffer,
  from: number,
  to: number,
  seal: (at: number) => void = () => {},
): Generator<Standing> {
  let position = pastSkipped(ring, from, to);
  while (position !== null && position < to) {
    const at = position % BOARD.ringBytes;
    seal(at);
    const entry = decodeEntry(ring, at);
    const problem = unreadable(entry, leftAt(position, to));
    if (problem !== null) {
      yield { entry: null, problem };
      return;
    }
    const next = position + entry.bytes;
    yield { entry, next };
    position = pastSkipped(ring, next, to);
  }
  if (position === null) yield { entry: null, problem: 'nothing where an entry must be' };
}

/**
 * As walkRing, for who only wants to know what stands there: where an entry is, and where the next
 * one would be. Ends without a word at what cannot be read, or when `visit` says false.
 */
export function lookAlong(
  ring: Buffer,
  from: number,
  to: number,
  visit: (at: number, next: number) => boolean,
): void {
  let position = pastSkipped(ring, from, to);
  while (position !== null && position < to) {
    const at = position % BOARD.ringBytes;
    const bytes = ring.readUInt32LE(at + ENTRY.bytes);
    if (bytes < ENTRY.end || bytes > leftAt(position, to)) return;
    const next = position + bytes;
    if (!visit(at, next)) return;
    position = pastSkipped(ring, next, to);
  }
}

/** What lies in one piece there: up to the end of the ring, or to `to`. */
function leftAt(position: number, to: number): number {
  return Math.min(BOARD.ringBytes - (position % BOARD.ringBytes), to - position);
}

/**
 * The next entry from `position` on: the rest of the ring, with room for no head or said to be
 * empty, is passed over. `to` when there is none, null when there is less than a head.
 */
function pastSkipped(ring: Buffer, position: number, to: number): number | null {
  let next = position;
  while (next < to) {
    const at = next % BOARD.ringBytes;
    const left = leftAt(next, to);
    const hasRoom = left >= ENTRY.end;
    if (hasRoom && ring.readUInt16LE(at + ENTRY.kind) !== ENTRY_KIND.skip) return next;
    if (BOARD.ringBytes - at > left) return null;
    next += left;
  }
  return next;
}

/** Facts of a file after what stands in the ring for its slot has been done to it. */
export function factsAfter(
  ring: Buffer,
  from: number,
  to: number,
  { index, generation }: { readonly index: number; readonly generation: number },
  before: SlotFacts,
): SlotFacts {
  let { size, mode, mtimeNs } = before;
  for (const { entry } of walkRing(ring, from, to)) {
    if (entry === null || entry.slot !== index || entry.generation !== generation) continue;
    if (entry.kind === ENTRY_KIND.attributes) {
      if ((entry.flags & FLAGS.MODE) !== 0) mode = entry.mode & 0o7777;
      if ((entry.flags & FLAGS.MTIME) !== 0) mtimeNs = entry.mtimeNs;
    } else if (entry.kind === ENTRY_KIND.truncate) size = entry.offset;
    else if (entry.payloadBytes > 0) size = Math.max(size, entry.offset + entry.payloadBytes);
  }
  return { size, mode, mtimeNs };
}
