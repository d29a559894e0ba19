/**
 * Entries of the board's ring as records for the spool: checked, and put together where that is
 * cheap. Neighbours in the ring that are about one file become one record as long as it fits the
 * log: it is made, written to from one place on, and has its mode and times set. Its number is that
 * of the last one, since those before it need no record of their own.
 *
 * What cannot become a record is a complaint. A write to a file whose name was taken away meanwhile
 * is neither: nobody could ever read it.
 */
import { crc32c } from '../base/crc32c.ts';
import { nowMs } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import {
  encodeHead,
  FLAGS,
  headOf,
  invalid,
  KIND,
  type OperationParts,
} from '../protocol/operation.ts';
import type { Incoming } from '../spool/spool.ts';
import { CUT_FIRST, ENTRY, ENTRY_KIND, type RingEntry } from './board-layout.ts';
import type { DamagedRecord } from './damage.ts';
import type { OpenSlot, Slots } from './slots.ts';

export interface Complaint {
  readonly record: DamagedRecord | null;
  readonly problem: string;
  readonly seq: number;
  readonly bytes: number;
}

interface Sources {
  readonly senderId: string;
  readonly ring: Buffer;
  readonly spoolId: string;
  readonly slots: Slots;
  readonly isGranted: (segment: number, offset: number, bytes: number) => boolean;
}

/** Entries that are to be one record. */
interface Growing {
  readonly slot: OpenSlot;
  seq: number;
  flags: number;
  mode: number;
  mtimeNs: bigint;
  atimeNs: bigint;
  /** Where the payload goes, and where the next one has to continue. */
  offset: number;
  end: number;
  /** Of inline writes. */
  readonly parts: Buffer[];
  /** Of all of it; null: to be made. */
  crc: number | null;
  /** The payload of a write that lies in a segment. */
  place: Incoming['place'];
}

const TIME_FLAGS = FLAGS.MTIME | FLAGS.ATIME;
const SET_FLAGS = FLAGS.MODE | TIME_FLAGS;

export class BoardBatch {
  readonly complaints: Complaint[] = [];
  /** Number of the last entry; 0: none that is new. */
  lastSeq = 0;
  /** The position behind what it has. */
  next = 0;
  readonly #sources: Sources;
  readonly #records: Incoming[] = [];
  #growing: Growing | null = null;

  constructor(sources: Sources) {
    this.#sources = sources;
  }

  /** The records of all that was added. */
  get records(): readonly Incoming[] {
    this.#finish();
    return this.#records;
  }

  add(entry: RingEntry): void {
    this.lastSeq = entry.seq;
    const { slots } = this.#sources;
    const slot =
      entry.kind === ENTRY_KIND.create
        ? slots.adopt(entry.slot, entry.generation, nowMs())
        : slots.live(entry.slot, entry.generation);
    if (slot === null) {
      this.complain(null, 'a write to a file that nobody has open', entry.payloadBytes, entry.seq);
    } else if (!slot.removed) {
      this.#addTo(slot, entry);
    }
  }

  complain(slot: OpenSlot | null, problem: string, bytes: number, seq: number): void {
    const { spoolId } = this.#sources;
    const record = slot && { name: slot.name, path: slot.path, path2: '', originId: spoolId };
    this.complaints.push({ record, problem, seq, bytes });
  }

  #addTo(slot: OpenSlot, entry: RingEntry): void {
    switch (entry.kind) {
      case ENTRY_KIND.create: {
        const growing = this.#begin(slot, entry.seq);
        growing.flags = FLAGS.CREATE | FLAGS.MODE;
        if ((entry.flags & CUT_FIRST) !== 0) growing.flags |= FLAGS.TRUNCATE;
        growing.mode = entry.mode & 0o777;
        return;
      }
      case ENTRY_KIND.inline:
        this.#addInline(slot, entry);
        return;
      case ENTRY_KIND.segment:
        this.#addSegment(slot, entry);
        return;
      case ENTRY_KIND.truncate: {
        this.#finish();
        const { name, path } = slot;
        const size = entry.offset;
        const said = { kind: KIND.write, name, path, flags: FLAGS.TRUNCATE, size };
        this.#push(slot, entry.seq, said);
        return;
      }
      case ENTRY_KIND.attributes:
        this.#addAttributes(slot, entry);
    }
  }

  #addAttributes(slot: OpenSlot, { flags, mode, mtimeNs, atimeNs, seq }: RingEntry): void {
    const set = flags & SET_FLAGS;
    if (set === 0) return;
    const growing = this.#growing?.slot === slot ? this.#growing : this.#begin(slot, seq);
    growing.seq = seq;
    growing.flags |= set;
    if ((set & FLAGS.MODE) !== 0) growing.mode = mode & 0o7777;
    if ((set & FLAGS.MTIME) !== 0) growing.mtimeNs = mtimeNs;
    if ((set & FLAGS.ATIME) !== 0) growing.atimeNs = atimeNs;
  }

  #addSegment(slot: OpenSlot, entry: RingEntry): void {
    const { offset, seq, payloadBytes, payloadCrc, segment, segmentOffset } = entry;
    if (payloadBytes > limits.payloadBytesMax) {
      this.complain(slot, `a write of ${payloadBytes} bytes`, payloadBytes, seq);
    } else if (!this.#sources.isGranted(segment, segmentOffset, payloadBytes)) {
      this.complain(slot, 'its bytes lie outside of any grant', payloadBytes, seq);
    } else if (payloadBytes > 0) {
      const growing = this.#toWrite(slot, offset, payloadBytes, 0, seq);
      growing.crc = payloadCrc;
      growing.place = [segment, segmentOffset];
    }
  }

  #addInline(slot: OpenSlot, { at, offset, payloadBytes, payloadCrc, seq }: RingEntry): void {
    const begin = at + ENTRY.end;
    const bytes = this.#sources.ring.subarray(begin, begin + payloadBytes);
    if (crc32c(bytes) !== payloadCrc) {
      this.complain(slot, 'checksum of a write', payloadBytes, seq);
      return;
    }
    if (payloadBytes === 0) return;
    const growing = this.#toWrite(slot, offset, payloadBytes, limits.inlinePayloadBytesMax, seq);
    growing.crc = growing.parts.length === 0 ? payloadCrc : null;
    growing.parts.push(bytes);
  }

  /** The record that a write belongs to. `bytesMax`: what one with several writes may have. */
  #toWrite(slot: OpenSlot, offset: number, bytes: number, bytesMax: number, seq: number): Growing {
    let growing = this.#growing;
    const has = growing === null ? 0 : growing.end - growing.offset;
    const continues =
      growing !== null &&
      growing.slot === slot &&
      // A write changes the time that was set before it.
      (growing.flags & TIME_FLAGS) === 0 &&
      growing.place === null &&
      (has === 0 || (growing.end === offset && has + bytes <= bytesMax));
    if (growing === null || !continues) growing = this.#begin(slot, seq);
    if (growing.end === growing.offset) growing.offset = offset;
    growing.end = offset + bytes;
    growing.seq = seq;
    return growing;
  }

  #begin(slot: OpenSlot, seq: number): Growing {
    this.#finish();
    this.#growing = {
      slot,
      seq,
      flags: 0,
      mode: 0,
      mtimeNs: 0n,
      atimeNs: 0n,
      offset: 0,
      end: 0,
      parts: [],
      crc: null,
      place: null,
    };
    return this.#growing;
  }

  #finish(): void {
    const growing = this.#growing;
    this.#growing = null;
    if (growing === null) return;
    const { slot, seq, offset, mode, mtimeNs, atimeNs, parts, place } = growing;
    const { name, path } = slot;
    const flags = growing.flags | (place === null ? 0 : FLAGS.EXTERNAL);
    const payloadBytes = growing.end - offset;
    const payloadCrc = growing.crc ?? crcOf(parts);
    const said = {
      kind: KIND.write,
      name,
      path,
      flags,
      offset,
      mode,
      mtimeNs,
      atimeNs,
      payloadBytes,
      payloadCrc,
    };
    this.#push(slot, seq, said, parts, place);
  }

  #push(
    slot: OpenSlot,
    seq: number,
    said: OperationParts,
    payload: readonly Buffer[] = [],
    place: Incoming['place'] = null,
  ): void {
    const head = headOf(said, seq);
    const problem = invalid(head);
    if (problem !== null) {
      this.complain(slot, problem, head.payloadBytes, seq);
      return;
    }
    // The payload goes from the ring into the log: it stands there until `head` moves on.
    const { senderId } = this.#sources;
    this.#records.push({ bytes: encodeHead(head), payload, head, senderId, place });
  }
}

/** Of the bytes one behind the other. */
function crcOf(parts: readonly Buffer[]): number {
  let crc = 0;
  for (const part of parts) crc = crc32c(part, crc);
  return crc;
}
