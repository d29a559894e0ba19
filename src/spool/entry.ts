/**
 * An operation that lies in this spool: what is kept in memory of its record, and where that is.
 *
 * There may be a million of them, so the fields are few and flat, names that repeat are shared, and
 * what is small shares a number: V8 keeps whole numbers of 32 bits with their sign in the object,
 * and makes a further object for each other one.
 * `segment` and `at` (of the record) and the place of the payload change when compaction moves the
 * record; everything else stays.
 */
import { FLAGS, headBytes, type Kind, NO_ID, type RecordHeader } from '../protocol/operation.ts';

const HOPS_SHIFT = 12;
const KIND_SHIFT = 20;
const RELEASED = 1 << 23;
const GIVEN_UP = 1 << 24;
/** The start of 2020, so that seconds since then stay small. */
const EPOCH_SECONDS = 1_577_836_800;

export class Entry {
  readonly seq: number;
  readonly flags: number;
  readonly name: string;
  readonly path: string;
  readonly path2: string;
  readonly offset: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly originId: string;
  readonly payloadBytes: number;
  /** Bytes of the record in the log segment. */
  readonly bytes: number;
  payloadSegment: number;
  payloadOffset: number;
  segment: number;
  at: number;
  /** Mode, hops, kind, released and givenUp: 12, 8, 3, 1 and 1 bits, from the lowest on. */
  #small: number;
  /** The 32 bits, with their sign. */
  readonly #payloadCrc: number;
  readonly #arrivedSeconds: number;

  constructor(head: RecordHeader, segment: number, at: number, arrivedMs: number) {
    const external = (head.flags & FLAGS.EXTERNAL) !== 0;
    const headLength = headBytes(head);
    this.seq = head.seq;
    this.flags = head.flags;
    this.name = intern(head.name);
    this.path = sameAsLast(head.path);
    this.path2 = head.path2;
    this.offset = head.offset;
    this.size = head.size;
    // One zero for all: each decoded head brings a BigInt of its own.
    this.mtimeNs = head.mtimeNs === 0n ? 0n : head.mtimeNs;
    this.originId = intern(head.originId);
    this.payloadBytes = head.payloadBytes;
    this.bytes = headLength + (external ? 0 : head.payloadBytes);
    this.payloadSegment = external ? head.payloadSegment : segment;
    this.payloadOffset = external ? head.payloadOffset : at + headLength;
    this.segment = segment;
    this.at = at;
    this.#small = head.mode | (head.hops << HOPS_SHIFT) | (head.kind << KIND_SHIFT);
    this.#payloadCrc = head.payloadCrc | 0;
    this.#arrivedSeconds = Math.floor(arrivedMs / 1_000) - EPOCH_SECONDS;
  }

  get mode(): number {
    return this.#small & 0o7777;
  }

  get hops(): number {
    return (this.#small >>> HOPS_SHIFT) & 0xff;
  }

  get kind(): Kind {
    return ((this.#small >>> KIND_SHIFT) & 0x7) as Kind;
  }

  get released(): boolean {
    return (this.#small & RELEASED) !== 0;
  }

  set released(value: boolean) {
    this.#small = value ? this.#small | RELEASED : this.#small & ~RELEASED;
  }

  /** It left without having arrived. */
  get givenUp(): boolean {
    return (this.#small & GIVEN_UP) !== 0;
  }

  set givenUp(value: boolean) {
    this.#small = value ? this.#small | GIVEN_UP : this.#small & ~GIVEN_UP;
  }

  get payloadCrc(): number {
    return this.#payloadCrc >>> 0;
  }

  /** When it came, or was found at start; in whole seconds. */
  get arrivedMs(): number {
    return (this.#arrivedSeconds + EPOCH_SECONDS) * 1_000;
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

/** What an append makes of a head: a number, an origin if it begins here, the payload's place. */
export function numbered(
  head: RecordHeader,
  seq: number,
  spoolId: string,
  place: readonly [number, number] | null,
): RecordHeader {
  // Spelt out, not spread: there is one for each record, and spreading is slow.
  return {
    kind: head.kind,
    flags: place === null ? head.flags & ~FLAGS.EXTERNAL : head.flags | FLAGS.EXTERNAL,
    name: head.name,
    path: head.path,
    path2: head.path2,
    offset: head.offset,
    size: head.size,
    mode: head.mode,
    mtimeNs: head.mtimeNs,
    atimeNs: head.atimeNs,
    extension: head.extension,
    payloadBytes: head.payloadBytes,
    payloadCrc: head.payloadCrc,
    hops: head.hops + 1,
    seq,
    originId: head.originId === NO_ID ? spoolId : head.originId,
    originSeq: head.originSeq,
    senderId: head.senderId,
    senderSeq: head.senderSeq,
    payloadSegment: place?.[0] ?? 0,
    payloadOffset: place?.[1] ?? 0,
  };
}
