/**
 * What a session has put and the server has not committed: records, numbered and framed, kept for
 * a resend (paper, 4.1: the client holds a block until it is safe elsewhere).
 *
 *   append ──▶ batch ──closeBatch──▶ frames: unsent ──next──▶ sent ──commit──▶ gone
 *                                              ▲───────rewind──────┘
 *
 * Small records share a frame of up to limits.batchBytes; a larger payload has a frame of its own.
 * A record whose payload lies in a data segment is kept as its head alone. Numbers are given in the
 * order of append, which is the order on the wire. No socket and no clock here; how much may be
 * kept is the session's decision.
 */
import type { PackedFiles } from '../base/addon.ts';
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { encodePrefix, FRAME_FLAGS, PREFIX_BYTES, PUTS_TYPE } from '../protocol/frame.ts';
import {
  encodeHead,
  FLAGS,
  headBytes,
  invalid,
  NO_ID,
  type Operation,
  type RecordHeader,
  writeHead,
} from '../protocol/operation.ts';

/** Where a payload lies that does not travel: a range of a data segment granted to this client. */
export interface Place {
  readonly segment: number;
  /** Bytes from the start of the segment's file. */
  readonly offset: number;
  readonly file: string;
}

/** One PUTS frame, whole. */
export interface WindowFrame {
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** The frame's bytes, in one piece or two. */
  readonly parts: readonly Buffer[];
  /** By number, the files of the data segments that its records name; null when none does. */
  readonly segmentFiles: ReadonlyMap<number, string> | null;
  /** Was it handed to a connection before? */
  sentBefore: boolean;
}

/** What a frame costs beside its bytes: objects, and buffers that are larger than their use. */
const FRAME_OVERHEAD_BYTES = 512;

export class PutWindow {
  #lastSeq: number;
  #committedSeq: number;
  #heldBytes = 0;
  /** Frames not committed; the first `#sent` of them are on the current connection. */
  #frames: WindowFrame[] = [];
  #sent = 0;
  #batch: Buffer = Buffer.alloc(0);
  #batchEnd = PREFIX_BYTES;
  #batchFirstSeq = 0;
  #batchSegmentFiles: Map<number, string> | null = null;

  /** `lastSeq`: what this session's earlier life had used up. */
  constructor(lastSeq = 0) {
    this.#lastSeq = lastSeq;
    this.#committedSeq = lastSeq;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  get committedSeq(): number {
    return this.#committedSeq;
  }

  /** Bytes kept, the open batch included. */
  get heldBytes(): number {
    return this.#heldBytes + this.#batchEnd - PREFIX_BYTES;
  }

  get isEmpty(): boolean {
    return this.#frames.length === 0 && !this.hasBatch;
  }

  get hasBatch(): boolean {
    return this.#batchEnd > PREFIX_BYTES;
  }

  get hasUnsent(): boolean {
    return this.#sent < this.#frames.length;
  }

  /** Has anything that is not committed been handed to a connection? */
  get hasSent(): boolean {
    return this.#frames.some((frame) => frame.sentBefore);
  }

  /**
   * Numbers an operation and keeps its record. `payload` is copied, unless it is `owned`: then it
   * must never change again. With `place`, payloadBytes and payloadCrc of `operation` count.
   * @throws KangarooError USAGE, TOO_LARGE when it is no sound operation; nothing has changed then
   */
  append(
    operation: Operation,
    payload: Uint8Array | null,
    place: Place | null,
    owned = false,
  ): number {
    const seq = this.#lastSeq + 1;
    const head = numbered(operation, payload, place, seq);
    const size = headBytes(head);
    if (payload !== null && payload.length > limits.inlinePayloadBytesMax) {
      this.closeBatch();
      this.#frameOf(head, payload, owned);
    } else {
      const total = size + (payload?.length ?? 0);
      if (this.#batchEnd + total > PREFIX_BYTES + limits.batchBytes) this.closeBatch();
      this.#openBatch();
      let end = writeHead(head, this.#batch, this.#batchEnd);
      if (payload !== null) {
        this.#batch.set(payload, end);
        end += payload.length;
      }
      this.#batchEnd = end;
      if (place !== null) {
        this.#batchSegmentFiles ??= new Map<number, string>();
        this.#batchSegmentFiles.set(place.segment, place.file);
      }
    }
    this.#lastSeq = seq;
    return seq;
  }

  /**
   * Has `pack` put whole, sound records behind those gathered so far, numbered from the one that it
   * is told on. What goes into one frame, and the frame is closed when it is full.
   */
  fill(pack: (out: Buffer, at: number, firstSeq: number) => PackedFiles): PackedFiles {
    this.#openBatch();
    const packed = pack(this.#batch, this.#batchEnd, this.#lastSeq + 1);
    this.#batchEnd = packed.end;
    this.#lastSeq += packed.files;
    if (packed.isFull) this.closeBatch();
    return packed;
  }

  /** Makes a frame of the records gathered so far. */
  closeBatch(): void {
    if (!this.hasBatch) return;
    const used = this.#batchEnd;
    encodePrefix(PUTS_TYPE, 0, used - PREFIX_BYTES, 0).copy(this.#batch);
    let bytes: Buffer;
    if (used * 2 > this.#batch.length) {
      bytes = this.#batch.subarray(0, used);
      this.#batch = Buffer.alloc(0);
    } else {
      // A nearly empty batch must not keep a whole buffer alive until the commit.
      bytes = Buffer.from(this.#batch.subarray(0, used));
    }
    const segmentFiles = this.#batchSegmentFiles;
    this.#batchEnd = PREFIX_BYTES;
    this.#batchSegmentFiles = null;
    this.#keep(this.#batchFirstSeq, this.#lastSeq, [bytes], segmentFiles);
  }

  /** The next frame to send on the current connection; it counts as sent from now on. */
  next(): WindowFrame | null {
    const frame = this.#frames[this.#sent];
    if (frame === undefined) return null;
    this.#sent += 1;
    // The reader of a repeated frame looks twice: every record of it may be known already.
    if (frame.sentBefore) (frame.parts[0] as Buffer)[5] = FRAME_FLAGS.REPEATED;
    frame.sentBefore = true;
    return frame;
  }

  /** A new connection: everything is to be sent again but what the server says it has taken. */
  rewind(takenFloor: number): void {
    const first = this.#frames.findIndex((frame) => frame.lastSeq > takenFloor);
    this.#sent = first < 0 ? this.#frames.length : first;
  }

  /** All numbers up to `seq` are committed: forgets them. */
  commit(seq: number): void {
    if (seq <= this.#committedSeq) return;
    this.#committedSeq = Math.min(seq, this.#lastSeq);
    let done = 0;
    for (const frame of this.#frames) {
      if (frame.lastSeq > seq) break;
      this.#heldBytes -= frameCost(frame);
      done += 1;
    }
    this.#frames.splice(0, done);
    this.#sent = Math.max(0, this.#sent - done);
  }

  #openBatch(): void {
    if (!this.hasBatch) this.#batchFirstSeq = this.#lastSeq + 1;
    if (this.#batch.length === 0) {
      this.#batch = Buffer.allocUnsafeSlow(PREFIX_BYTES + limits.batchBytes);
    }
  }

  #frameOf(head: RecordHeader, payload: Uint8Array, owned: boolean): void {
    const encoded = encodeHead(head);
    const prefix = encodePrefix(PUTS_TYPE, 0, encoded.length + payload.length, 0);
    const parts = owned
      ? [Buffer.concat([prefix, encoded]), asBuffer(payload)]
      : [Buffer.concat([prefix, encoded, payload])];
    this.#keep(head.seq, head.seq, parts, null);
  }

  #keep(
    firstSeq: number,
    lastSeq: number,
    parts: readonly Buffer[],
    segmentFiles: ReadonlyMap<number, string> | null,
  ): void {
    const frame = { firstSeq, lastSeq, parts, segmentFiles, sentBefore: false };
    this.#frames.push(frame);
    this.#heldBytes += frameCost(frame);
  }
}

function frameCost(frame: WindowFrame): number {
  let bytes = FRAME_OVERHEAD_BYTES;
  for (const part of frame.parts) bytes += part.length;
  return bytes;
}

function numbered(
  operation: Operation,
  payload: Uint8Array | null,
  place: Place | null,
  seq: number,
): RecordHeader {
  // Field by field, because this is the path of every small file.
  const head: RecordHeader = {
    kind: operation.kind,
    flags: place === null ? operation.flags : operation.flags | FLAGS.EXTERNAL,
    name: operation.name,
    path: operation.path,
    path2: operation.path2,
    offset: operation.offset,
    size: operation.size,
    mode: operation.mode,
    mtimeNs: operation.mtimeNs,
    atimeNs: operation.atimeNs,
    extension: operation.extension,
    payloadBytes: payload === null ? operation.payloadBytes : payload.length,
    payloadCrc: payload === null ? operation.payloadCrc : crc32c(payload),
    hops: 0,
    seq,
    originId: NO_ID,
    originSeq: 0,
    senderId: NO_ID,
    senderSeq: 0,
    payloadSegment: place?.segment ?? 0,
    payloadOffset: place?.offset ?? 0,
  };
  if (
    head.payloadBytes > limits.payloadBytesMax ||
    head.extension.length > limits.extensionBytesMax
  ) {
    throw new KangarooError('TOO_LARGE', `a block has at most ${limits.payloadBytesMax} bytes`);
  }
  if (payload === null && place === null && head.payloadBytes > 0) {
    throw new KangarooError('USAGE', 'payload bytes without a payload');
  }
  const broken = invalid(head);
  if (broken !== null) {
    const path = head.path.slice(0, 200);
    throw new KangarooError('USAGE', `kangaroo://${head.name}/${path}: not allowed: ${broken}`);
  }
  return head;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
