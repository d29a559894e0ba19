/**
 * One local file into the spool, at local speed.
 *
 *   up to 64 KiB    one operation: create, truncate, payload, mode, times
 *   larger, local   blocks copied into the spool by the addon, heads sent (grant.ts)
 *   larger, else    blocks of 1 MiB in frames, the next one read while the last is sent
 *
 * Creating and truncating ride on the first block, mode and times on the last, so that a file whose
 * mode forbids writing can still be filled. As many bytes are put as the file had when it was
 * opened. One that shrinks meanwhile is a LOCAL_FILE error; its beginning has been put by then.
 */
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { within } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import { FLAGS, KIND, NO_BYTES, type Operation } from '../protocol/operation.ts';
import type { Address } from '../route/address.ts';
import type { LocalPath } from './grant.ts';
import { type LocalFacts, localError, readWhole, shrunk } from './local-file.ts';
import type { Payload, Session, Wait } from './session.ts';

const readAsync = promisify(read);

/** Where the file is, as it was found when it was opened. */
export interface OpenLocalFile {
  readonly fd: number;
  /** For errors. */
  readonly path: string;
  readonly facts: LocalFacts;
}

export interface FilePutOptions extends Wait {
  /** A commit follows: what is copied is to reach the disk early, and the next hop need not. */
  readonly willCommit: boolean;
  /** Called with the bytes of each block that was put. */
  readonly onBytes: (bytes: number) => void;
}

/** More than any head has. */
const HEAD_BYTES_MAX = 16 * 1024;

/** The payload of small files passes through here when a put takes it at once. */
const scratch = Buffer.allocUnsafeSlow(limits.inlinePayloadBytesMax);

export class FilePut {
  readonly #session: Session;
  readonly #local: LocalPath;
  readonly #source: OpenLocalFile;
  readonly #target: Address;
  readonly #options: FilePutOptions;

  constructor(
    session: Session,
    local: LocalPath,
    source: OpenLocalFile,
    target: Address,
    options: FilePutOptions,
  ) {
    this.#session = session;
    this.#local = local;
    this.#source = source;
    this.#target = target;
    this.#options = options;
  }

  /**
   * A file of at most limits.inlinePayloadBytesMax. Undefined: taken at once.
   */
  small(): Promise<void> | undefined {
    const { fd, facts, path } = this.#source;
    // A put that has to wait keeps its bytes, so they must not lie where the next file's go.
    const atOnce = this.#session.hasRoom(facts.bytes + HEAD_BYTES_MAX);
    const bytes = atOnce ? scratch.subarray(0, facts.bytes) : Buffer.allocUnsafeSlow(facts.bytes);
    readWhole(fd, bytes, path);
    const put = this.#put(0, bytes.length, 0, { bytes });
    this.#options.onBytes(bytes.length);
    return put;
  }

  /** A file of any size. @throws KangarooError LOCAL_FILE, NOT_YET, INTERRUPTED, DISCONNECTED */
  async run(): Promise<void> {
    const { bytes } = this.#source.facts;
    if (bytes <= limits.inlinePayloadBytesMax) return await this.small();
    const copied = this.#local.isOpen ? await this.#copy() : 0;
    if (copied < bytes) await this.#read(copied);
  }

  async #copy(): Promise<number> {
    const { fd, facts, path } = this.#source;
    const { willCommit } = this.#options;
    const source = { fd, offset: 0, bytes: facts.bytes, willCommit };
    const onBlock = (at: number, bytes: number, crc: number, place: Payload['place']) => {
      this.#options.onBytes(bytes);
      return this.#put(at, bytes, crc, { place });
    };
    try {
      return await this.#local.copy(source, onBlock, this.#options);
    } catch (error) {
      throw localError(path, error);
    }
  }

  /** The rest of the file in frames. */
  async #read(from: number): Promise<void> {
    const { bytes } = this.#source.facts;
    let next = this.#block(from);
    for (let at = from; at < bytes;) {
      const block = await within(next, this.#options.deadline, 'put', this.#options.signal);
      const end = at + block.length;
      if (end < bytes) next = this.#block(end);
      // A failure of the block ahead is met by the await above, if this one comes so far.
      next.catch(() => {});
      await this.#put(at, block.length, 0, { bytes: block, owned: true });
      this.#options.onBytes(block.length);
      at = end;
    }
  }

  async #block(at: number): Promise<Buffer> {
    const { fd, path, facts } = this.#source;
    const block = Buffer.allocUnsafeSlow(Math.min(limits.payloadBytesMax, facts.bytes - at));
    let done = 0;
    while (done < block.length) {
      const left = block.length - done;
      const got = await readAsync(fd, block, done, left, at + done).catch((error: unknown) => {
        throw localError(path, error);
      });
      if (got.bytesRead === 0) throw shrunk(path, facts.bytes, at + done);
      done += got.bytesRead;
    }
    return block;
  }

  #put(
    at: number,
    payloadBytes: number,
    payloadCrc: number,
    payload: Payload,
  ): Promise<void> | undefined {
    const { mode, mtimeNs, bytes } = this.#source.facts;
    const isLast = at + payloadBytes === bytes;
    let flags = at === 0 ? FLAGS.CREATE | FLAGS.TRUNCATE | FLAGS.PARENTS : 0;
    if (isLast) flags |= mtimeNs === null ? FLAGS.MODE : FLAGS.MODE | FLAGS.MTIME;
    // Field by field: spreading defaults costs more than all the rest of a small file.
    const put: Operation = {
      kind: KIND.write,
      flags,
      name: this.#target.name,
      path: this.#target.path,
      path2: '',
      offset: at,
      size: 0,
      mode: isLast ? mode : 0,
      mtimeNs: isLast ? (mtimeNs ?? 0n) : 0n,
      atimeNs: 0n,
      extension: NO_BYTES,
      payloadBytes,
      payloadCrc,
    };
    return this.#session.put(put, payload, this.#options);
  }
}
