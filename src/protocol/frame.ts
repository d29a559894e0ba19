/**
 * One frame: the unit of everything that crosses a socket.
 *
 *   offset size field (little endian)
 *   0      4    bodyBytes   at most 1 MiB + 64 KiB; at most 4 KiB before the peer is known
 *   4      1    type        a row of messages.ts
 *   5      1    flags       REPEATED on PUTS that may have been sent before
 *   6      2    zero
 *   8      4    callId      0: belongs to no call; else a reply carries the number of its request
 *   12     4    bodyCrc     CRC32C of the body; zero on PUTS, whose records carry their own
 *   16     ..   body
 *
 * FrameReader turns a stream of chunks, cut anywhere, into whole frames. It checks a length before
 * it makes room for it, keeps at most one frame, and names the broken rule of bad input. Pure: no
 * socket, no clock.
 */
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';

export const PREFIX_BYTES = 16;

export const FRAME_FLAGS = { REPEATED: 1 } as const;

/** The type of the frame whose body is records, named here because the codec treats it apart. */
export const PUTS_TYPE = 3;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly callId: number;
  readonly body: Buffer;
}

/** The 16 bytes in front of a body. */
export function encodePrefix(
  type: number,
  callId: number,
  bodyBytes: number,
  bodyCrc: number,
  flags = 0,
): Buffer {
  const prefix = Buffer.allocUnsafe(PREFIX_BYTES);
  prefix.writeUInt32LE(bodyBytes, 0);
  prefix[4] = type;
  prefix[5] = flags;
  prefix.writeUInt16LE(0, 6);
  prefix.writeUInt32LE(callId, 8);
  prefix.writeUInt32LE(bodyCrc, 12);
  return prefix;
}

/** Writes the prefix of a control frame whose body is in place already. */
export function sealFrame(frame: Buffer, type: number, callId: number, behind?: Buffer): void {
  const body = frame.subarray(PREFIX_BYTES);
  const crc = crc32c(body);
  frame.writeUInt32LE(body.length + (behind?.length ?? 0), 0);
  frame.writeUInt32LE(type, 4);
  frame.writeUInt32LE(callId, 8);
  frame.writeUInt32LE(behind === undefined ? crc : crc32c(behind, crc), 12);
}

export class FrameReader {
  /** Raised once the peer has said who it is. */
  bodyBytesMax: number = limits.greetingBytesMax;
  #kept: Buffer = Buffer.alloc(0);
  /** A frame too large for one chunk is gathered here, in a buffer of its exact size. */
  #gathering: Buffer | null = null;
  #gathered = 0;
  /** Where batches of records are gathered, one after the other; null: each in its own buffer. */
  #shared: Buffer | null = null;

  /**
   * The body of a PUTS frame is good only until the next call of `next` from now on: for a reader
   * that is done with one before it asks for another. Saves the making of a buffer for each.
   */
  sharePuts(): void {
    this.#shared = Buffer.allocUnsafeSlow(PREFIX_BYTES + limits.batchBytes);
  }

  /** Takes a chunk; the frames it completes come from `next`. The chunk must not change later. */
  push(chunk: Buffer): void {
    if (this.#gathering !== null) {
      const copied = chunk.copy(this.#gathering, this.#gathered);
      this.#gathered += copied;
      chunk = chunk.subarray(copied);
    }
    if (chunk.length > 0) {
      this.#kept = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk]);
    }
  }

  /** Bytes taken that belong to no finished frame yet. */
  get pendingBytes(): number {
    return this.#kept.length + this.#gathered;
  }

  /**
   * The next whole frame, or null when more bytes are needed.
   * @throws KangarooError PROTOCOL when the stream cannot be frames of a known peer
   */
  next(): Frame | null {
    if (this.#gathering !== null) {
      if (this.#gathered < this.#gathering.length) return null;
      const whole = this.#gathering;
      this.#gathering = null;
      this.#gathered = 0;
      return this.#frame(whole, whole.length - PREFIX_BYTES);
    }
    const kept = this.#kept;
    if (kept.length < PREFIX_BYTES) return null;
    const bodyBytes = this.#checkedBodyBytes(kept);
    const frameBytes = PREFIX_BYTES + bodyBytes;
    if (kept.length >= frameBytes) {
      this.#kept = kept.subarray(frameBytes);
      return this.#frame(kept.subarray(0, frameBytes), bodyBytes);
    }
    // Larger than a chunk of a socket: joining chunk by chunk would copy it several times over.
    if (frameBytes > limits.inlinePayloadBytesMax) {
      this.#gathering = this.#roomFor(kept[4] as number, frameBytes);
      this.#gathered = kept.copy(this.#gathering);
      this.#kept = Buffer.alloc(0);
    }
    return null;
  }

  /**
   * The bytes at hand if a frame starts with them and none is being gathered: for the native bulk
   * path, which takes over from there and gives back what it did not use through `push`.
   */
  peek(): Buffer | null {
    return this.#gathering === null ? this.#kept : null;
  }

  /** Gives up the bytes that `peek` showed. */
  take(): Buffer {
    const kept = this.#kept;
    this.#kept = Buffer.alloc(0);
    return kept;
  }

  #roomFor(type: number, frameBytes: number): Buffer {
    const shared = type === PUTS_TYPE ? this.#shared : null;
    if (shared === null || shared.length < frameBytes) return Buffer.allocUnsafe(frameBytes);
    return shared.subarray(0, frameBytes);
  }

  #checkedBodyBytes(kept: Buffer): number {
    const bodyBytes = kept.readUInt32LE(0);
    if (bodyBytes > this.bodyBytesMax) {
      throw new KangarooError(
        'PROTOCOL',
        `a frame of ${bodyBytes} bytes was announced, ${this.bodyBytesMax} are allowed`,
      );
    }
    if (kept.readUInt16LE(6) !== 0) throw new KangarooError('PROTOCOL', 'not a Kangaroo frame');
    return bodyBytes;
  }

  #frame(whole: Buffer, bodyBytes: number): Frame {
    const type = whole[4] as number;
    const body = whole.subarray(PREFIX_BYTES, PREFIX_BYTES + bodyBytes);
    if (type !== PUTS_TYPE && crc32c(body) !== whole.readUInt32LE(12)) {
      throw new KangarooError('PROTOCOL', `frame type ${type}: checksum`);
    }
    return { type, flags: whole[5] as number, callId: whole.readUInt32LE(8), body };
  }
}
