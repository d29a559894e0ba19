/**
 * Entries of the board's ring as records for the spool: checked, and put together where that is
 * cheap. Neighbours in the ring that continue one file become one record as long as it fits the
 * log; its number is that of the last one, since those before it need no record of their own.
 *
 * What cannot become a record is a complaint. A write to a file whose name was taken away meanwhile
 * is neither: nobody could ever read it.
 */
import { crc32c } from '../base/crc32c.ts';
import { limits } from '../base/limits.ts';
import {
  encodeHead,
  FLAGS,
  headOf,
  invalid,
  KIND,
  operation,
  type Operation,
} from '../protocol/operation.ts';
import type { Incoming } from '../spool/spool.ts';
import { ENTRY, ENTRY_KIND, type RingEntry } from './board-layout.ts';
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

/** Inline writes that are to be one record. */
interface Growing {
  readonly slot: OpenSlot;
  readonly offset: number;
  end: number;
  seq: number;
  readonly parts: Buffer[];
}

const SET_FLAGS = FLAGS.MODE | FLAGS.MTIME | FLAGS.ATIME;

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
    const slot = this.#sources.slots.live(entry.slot, entry.generation);
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
    const { kind, flags, offset, seq, payloadBytes, payloadCrc } = entry;
    const { name, path } = slot;
    const base = { kind: KIND.write, name, path };
    switch (kind) {
      case ENTRY_KIND.inline:
        this.#addInline(slot, entry);
        return;
      case ENTRY_KIND.segment: {
        const { segment, segmentOffset } = entry;
        if (payloadBytes > limits.payloadBytesMax) {
          this.complain(slot, `a write of ${payloadBytes} bytes`, payloadBytes, seq);
        } else if (!this.#sources.isGranted(segment, segmentOffset, payloadBytes)) {
          this.complain(slot, 'its bytes lie outside of any grant', payloadBytes, seq);
        } else if (payloadBytes > 0) {
          const op = operation({
            ...base,
            flags: FLAGS.EXTERNAL,
            offset,
            payloadBytes,
            payloadCrc,
          });
          this.#push(slot, seq, op, null, [segment, segmentOffset]);
        }
        return;
      }
      case ENTRY_KIND.truncate:
        this.#push(slot, seq, operation({ ...base, flags: FLAGS.TRUNCATE, size: offset }));
        return;
      case ENTRY_KIND.attributes: {
        const { mode, mtimeNs, atimeNs } = entry;
        const set = flags & SET_FLAGS;
        const attributes = { mode: mode & 0o7777, mtimeNs, atimeNs };
        if (set !== 0) this.#push(slot, seq, operation({ ...base, flags: set, ...attributes }));
      }
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
    const growing = this.#growing;
    const continues =
      growing !== null &&
      growing.slot === slot &&
      growing.end === offset &&
      offset + payloadBytes - growing.offset <= limits.inlinePayloadBytesMax;
    if (!continues) {
      this.#finish();
      this.#growing = { slot, offset, end: offset + payloadBytes, seq, parts: [bytes] };
      return;
    }
    growing.end = offset + payloadBytes;
    growing.seq = seq;
    growing.parts.push(bytes);
  }

  #finish(): void {
    const growing = this.#growing;
    this.#growing = null;
    if (growing === null) return;
    const { slot, offset, seq, parts } = growing;
    const payload = Buffer.concat(parts);
    const { name, path } = slot;
    const sum = { payloadBytes: payload.length, payloadCrc: crc32c(payload) };
    this.#push(slot, seq, operation({ kind: KIND.write, name, path, offset, ...sum }), payload);
  }

  #push(
    slot: OpenSlot,
    seq: number,
    op: Operation,
    payload: Buffer | null = null,
    place: Incoming['place'] = null,
  ): void {
    if (this.#growing !== null) this.#finish();
    const head = headOf(op, seq);
    const problem = invalid(head);
    if (problem !== null) {
      this.complain(slot, problem, op.payloadBytes, seq);
      return;
    }
    const encoded = encodeHead(head);
    const bytes = payload === null ? encoded : Buffer.concat([encoded, payload]);
    this.#records.push({ bytes, head, senderId: this.#sources.senderId, place });
  }
}
