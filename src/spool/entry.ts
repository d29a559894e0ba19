/**
 * An operation that lies in this spool: what is kept in memory of its record, and where that is.
 *
 * There may be a million of them, so the fields are few and flat, and names that repeat are shared.
 * `segment` and `at` (of the record) and the place of the payload change when compaction moves the
 * record; everything else stays.
 */
import { FLAGS, headBytes, type Kind, type RecordHeader } from '../protocol/operation.ts';

export class Entry {
  readonly seq: number;
  readonly kind: Kind;
  readonly flags: number;
  readonly name: string;
  readonly path: string;
  readonly path2: string;
  readonly offset: number;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly originId: string;
  readonly hops: number;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
  /** Bytes of the record in the log segment. */
  readonly bytes: number;
  readonly arrivedMs: number;
  payloadSegment: number;
  payloadOffset: number;
  segment: number;
  at: number;
  released = false;
  /** It left without having arrived. */
  givenUp = false;

  constructor(head: RecordHeader, segment: number, at: number, arrivedMs: number) {
    const external = (head.flags & FLAGS.EXTERNAL) !== 0;
    const headLength = headBytes(head);
    this.seq = head.seq;
    this.kind = head.kind;
    this.flags = head.flags;
    this.name = intern(head.name);
    this.path = sameAsLast(head.path);
    this.path2 = head.path2;
    this.offset = head.offset;
    this.size = head.size;
    this.mode = head.mode;
    // One zero for all: each decoded head brings a BigInt of its own.
    this.mtimeNs = head.mtimeNs === 0n ? 0n : head.mtimeNs;
    this.originId = intern(head.originId);
    this.hops = head.hops;
    this.payloadBytes = head.payloadBytes;
    this.payloadCrc = head.payloadCrc;
    this.bytes = headLength + (external ? 0 : head.payloadBytes);
    this.arrivedMs = arrivedMs;
    this.payloadSegment = external ? head.payloadSegment : segment;
    this.payloadOffset = external ? head.payloadOffset : at + headLength;
    this.segment = segment;
    this.at = at;
  }

  get isExternal(): boolean {
    return (this.flags & FLAGS.EXTERNAL) !== 0;
  }
}

const interned = new Map<string, string>();

/** One copy of the server names and origins that a million entries share. */
function intern(text: string): string {
  const known = interned.get(text);
  if (known !== undefined) return known;
  if (interned.size > 10_000) interned.clear();
  interned.set(text, text);
  return text;
}

let lastPath = '';

/** Operations on one file mostly follow each other: they share its path. */
function sameAsLast(path: string): string {
  if (path !== lastPath) lastPath = path;
  return lastPath;
}
