/**
 * A file as a Writable: bytes of any length, in constant memory, as blocks of 1 MiB.
 *
 * Creating and truncating ride on the first block, mode and times on the last, so that a short
 * stream is one operation, and a file whose mode forbids writing can still be filled. A stream
 * that pauses for a second has what it wrote so far put, for others to see. 'finish' means that the
 * session has taken everything; only commit() means that it is safe. Destroying the stream stops
 * it; what was put before stays put.
 */
import { Writable } from 'node:stream';
import { deadlineIn } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { FLAGS, KIND, operation } from '../protocol/operation.ts';
import type { Address } from '../route/address.ts';
import type { LocalPath } from './grant.ts';
import type { Payload, Session, Wait } from './session.ts';

/** What a stream's last block sets: permission bits, and nanoseconds since 1970. */
export interface FinalAttributes {
  readonly mode?: number | undefined;
  readonly mtimeNs?: bigint | undefined;
  readonly atimeNs?: bigint | undefined;
}

export interface PutStreamOptions extends FinalAttributes {
  /** Where the first byte goes. */
  readonly offset: number;
  /** Cut the file at `offset` first. */
  readonly truncate: boolean;
  /** Make missing directories on the way. */
  readonly parents: boolean;
  /** How long one block may wait for room, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

const BLOCK_BYTES = limits.payloadBytesMax;
const IDLE_MS = 1_000;

export class PutStream extends Writable {
  readonly #session: Session;
  readonly #local: LocalPath;
  readonly #address: Address;
  readonly #options: PutStreamOptions;
  #block: Buffer | null = null;
  #filled = 0;
  #offset: number;
  #isFirst = true;
  /** One block after the other: the first creates the file, the last sets its attributes. */
  #tail: Promise<void> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;

  constructor(session: Session, local: LocalPath, address: Address, options: PutStreamOptions) {
    super({ highWaterMark: BLOCK_BYTES, decodeStrings: true, signal: options.signal });
    this.#session = session;
    this.#local = local;
    this.#address = address;
    this.#options = options;
    this.#offset = options.offset;
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error) => void): void {
    clearTimeout(this.#idle);
    if (this.#filled + chunk.length < BLOCK_BYTES) {
      this.#gather(chunk);
      this.#idle = setTimeout(() => this.#putWhatIsThere(), IDLE_MS).unref();
      callback();
      return;
    }
    this.#take(chunk).then(() => callback(), callback);
  }

  override _final(callback: (error?: Error) => void): void {
    clearTimeout(this.#idle);
    const { mode, mtimeNs, atimeNs } = this.#options;
    const hasAttributes = mode !== undefined || mtimeNs !== undefined || atimeNs !== undefined;
    const last = this.#filled > 0 || this.#isFirst || hasAttributes ? this.#put(true) : this.#tail;
    last.then(() => {
      this.#session.flush();
      callback();
    }, callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearTimeout(this.#idle);
    this.#block = null;
    const aborted = error !== null && error.name === 'AbortError';
    callback(aborted ? new KangarooError('INTERRUPTED', 'put: interrupted') : error);
  }

  #gather(chunk: Uint8Array): void {
    this.#block ??= Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#block.set(chunk, this.#filled);
    this.#filled += chunk.length;
  }

  async #take(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + BLOCK_BYTES - this.#filled);
      this.#gather(part);
      at += part.length;
      if (this.#filled === BLOCK_BYTES) await this.#put(false);
    }
  }

  #putWhatIsThere(): void {
    if (this.#filled === 0 || this.destroyed) return;
    this.#put(false).then(
      () => this.#session.flush(),
      (error: unknown) => this.destroy(asKangarooError(error)),
    );
  }

  /** Puts the block that was gathered, in its turn. */
  #put(isLast: boolean): Promise<void> {
    const bytes = this.#block?.subarray(0, this.#filled) ?? Buffer.alloc(0);
    this.#block = null;
    this.#filled = 0;
    const work = this.#tail.then(() => this.#putBlock(bytes, isLast));
    this.#tail = work;
    // The tail is also awaited by whoever comes next; alone it must not count as unhandled.
    work.catch(() => {});
    return work;
  }

  async #putBlock(bytes: Buffer, isLast: boolean): Promise<void> {
    const { timeoutMs, signal } = this.#options;
    const wait = { deadline: deadlineIn(timeoutMs), signal };
    let rest = bytes;
    while (rest.length > limits.inlinePayloadBytesMax && this.#local.isOpen) {
      const whole = rest.length;
      const written = await this.#local.write(
        rest,
        async (_at, part, crc, place) => {
          await this.#putPart(part, crc, { place }, wait, isLast && part === whole);
        },
        wait,
      );
      if (written === 0) break;
      rest = rest.subarray(written);
    }
    if (rest.length === 0 && bytes.length > 0) return;
    // A small rest is copied, so that it does not keep its whole buffer until the commit.
    const owned = rest.length * 2 > BLOCK_BYTES;
    await this.#putPart(rest.length, 0, { bytes: rest, owned }, wait, isLast);
  }

  async #putPart(
    payloadBytes: number,
    payloadCrc: number,
    payload: Payload,
    wait: Wait,
    isLast: boolean,
  ): Promise<void> {
    const { truncate, parents, mode, mtimeNs, atimeNs, offset } = this.#options;
    let flags = 0;
    if (this.#isFirst) {
      flags |= FLAGS.CREATE | (truncate ? FLAGS.TRUNCATE : 0) | (parents ? FLAGS.PARENTS : 0);
    }
    if (isLast) flags |= attributeFlags({ mode, mtimeNs, atimeNs });
    const { name, path } = this.#address;
    const put = operation({
      kind: KIND.write,
      name,
      path,
      flags,
      offset: this.#offset,
      size: this.#isFirst && truncate ? offset : 0,
      mode: isLast ? (mode ?? 0) : 0,
      mtimeNs: isLast ? (mtimeNs ?? 0n) : 0n,
      atimeNs: isLast ? (atimeNs ?? 0n) : 0n,
      payloadBytes,
      payloadCrc,
    });
    await this.#session.put(put, payload, wait);
    this.#isFirst = false;
    this.#offset += payloadBytes;
  }
}

/** The flags that say which of the attributes are there. */
export function attributeFlags(attributes: FinalAttributes): number {
  return (
    (attributes.mode === undefined ? 0 : FLAGS.MODE) |
    (attributes.mtimeNs === undefined ? 0 : FLAGS.MTIME) |
    (attributes.atimeNs === undefined ? 0 : FLAGS.ATIME)
  );
}
