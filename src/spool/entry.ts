/**
 * An operation that lies in this spool: what is kept in memory of its record, and where that is.
 *
 * There may be a million of them, so the fields are few and flat, names that repeat are shared,
 * what few have is in an object of its own, and what is small shares a number: V8 keeps whole
 * numbers of 32 bits with their sign in the object, and makes a further object for each other one.
 * `segment` and `at` (of the record) change when compaction moves the record, and with them the
 * place of a payload that lies behind its head; everything else stays.
 */
import { FLAGS, headBytes, type Kind, type RecordHeader } from '../protocol/operation.ts';

const FLAGS_SHIFT = 12;
const HOPS_SHIFT = 20;
/** More than limits.hopsMax, beyond which it does not matter how many. */
const HOPS_MAX = 63;
const KIND_SHIFT = 26;
const RELEASED = 1 << 29;
const GIVEN_UP = 1 << 30;
/** The start of 2020, so that seconds since then stay small. */
const EPOCH_SECONDS = 1_577_836_800;

/** What the spool that holds a record says of it, whatever the head said that came in. */
export interface Numbers {
  readonly seq: number;
  readonly hops: number;
  readonly originId: string;
  /** Of a payload that lies in a data segment. */
  readonly place: readonly [segment: number, offset: number] | null;
}

/** What most operations do not say. */
interface Rare {
  readonly path2: string;
  readonly size: number;
}

export class Entry {
  readonly seq: number;
  readonly name: string;
  readonly path: string;
  readonly offset: number;
  readonly mtimeNs: bigint;
  readonly originId: string;
  readonly payloadBytes: number;
  /** Bytes of the record in the log segment. */
  readonly bytes: number;
  segment: number;
  at: number;
  readonly #rare: Rare | null;
  /** Of a payload that lies in a data segment: which, and where in it. */
  readonly #place: readonly [number, number] | null;
  /** Mode, flags, hops, kind, released, givenUp: 12, 8, 6, 3, 1 and 1 bits, from the lowest on. */
  #small: number;
  /** The 32 bits, with their sign. */
  readonly #payloadCrc: number;
  readonly #arrivedSeconds: number;

  constructor(
    head: RecordHeader,
    segment: number,
    at: number,
    arrivedMs: number,
    numbers: Numbers = numbersOf(head),
  ) {
    const { place } = numbers;
    const flags = place === null ? head.flags & ~FLAGS.EXTERNAL : head.flags | FLAGS.EXTERNAL;
    this.seq = numbers.seq;
    this.name = intern(head.name);
    this.path = sameAsLast(head.path);
    this.offset = head.offset;
    // One zero for all: each decoded head brings a BigInt of its own.
    this.mtimeNs = head.mtimeNs === 0n ? 0n : head.mtimeNs;
    this.originId = intern(numbers.originId);
    this.payloadBytes = head.payloadBytes;
    this.bytes = headBytes(head) + (place === null ? head.payloadBytes : 0);
    this.segment = segment;
    this.at = at;
    this.#rare = rareOf(head);
    this.#place = place;
    const hops = Math.min(numbers.hops, HOPS_MAX);
    this.#small =
      head.mode | (flags << FLAGS_SHIFT) | (hops << HOPS_SHIFT) | (head.kind << KIND_SHIFT);
    this.#payloadCrc = head.payloadCrc | 0;
    this.#arrivedSeconds = Math.floor(arrivedMs / 1_000) - EPOCH_SECONDS;
  }

  get path2(): string {
    return this.#rare?.path2 ?? '';
  }

  get size(): number {
    return this.#rare?.size ?? 0;
  }

  /** The file that the payload lies in, a data segment or that of the record itself. */
  get payloadSegment(): number {
    return this.#place?.[0] ?? this.segment;
  }

  get payloadOffset(): number {
    return this.#place?.[1] ?? this.at + this.bytes - this.payloadBytes;
  }

  get mode(): number {
    return this.#small & 0o7777;
  }

  get flags(): number {
    return (this.#small >>> FLAGS_SHIFT) & 0xff;
  }

  get hops(): number {
    return (this.#small >>> HOPS_SHIFT) & HOPS_MAX;
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

/** As the head itself has them, of a record that lies here already. */
function numbersOf(head: RecordHeader): Numbers {
  const { seq, hops, originId, payloadSegment, payloadOffset } = head;
  const isExternal = (head.flags & FLAGS.EXTERNAL) !== 0;
  return { seq, hops, originId, place: isExternal ? [payloadSegment, payloadOffset] : null };
}

function rareOf({ path2, size }: RecordHeader): Rare | null {
  return path2 === '' && size === 0 ? null : { path2, size };
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
