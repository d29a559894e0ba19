/**
 * Files and trees from a server to the local disk or into a stream, by cp(1)'s rules.
 *
 * A file appears under its name when it is whole (local-target.ts). A tree is fetched directory by
 * directory; small files several at a time, large ones one after the other, so that memory stays
 * bounded; modes and times are restored, a directory's after everything in it. A single file's
 * permission bits come along, less the umask, its times do not. Names come from a stranger and are
 * checked before they touch the disk; set-user-ID bits are never taken over. A file that fails is
 * named in the result and the others go on, unless the server, the deadline or the signal ends all.
 */
import { mkdir, stat as statLocalAsync } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { hasPassed, nowMs, within } from '../base/deadline.ts';
import { asKangarooError, type ErrorCode, errnoOf, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import {
  type Address,
  formatAddress,
  fromArgument,
  splitPath,
  toDisplay,
} from '../route/address.ts';
import { assertSize, restOf, waitOf } from './call-options.ts';
import type { Entry, FileFacts, Kangaroo, ReadRange } from './client.ts';
import { type AddressLike, addressOf } from './entry.ts';
import { joinLocal, localBytes, localError } from './local-file.ts';
import { finishDirectory, LocalTarget, writeSmallFile } from './local-target.ts';
import { getPiece } from './read-stream.ts';
import type { Wait } from './session.ts';
import { type Progress, Tally, type TreeResult } from './tally.ts';

export type GetProgress = Progress;
export type GetResult = TreeResult;

/** `offset` and `length` are for a single file. `timeoutMs` bounds the whole; default: no bound. */
export interface GetOptions extends ReadRange {
  /** Directories too, with what is in them; modes and times are restored. Default false. */
  readonly recursive?: boolean | undefined;
  readonly onProgress?: ((progress: GetProgress) => void) | undefined;
}

/**
 * Gets a file, or with `recursive` a tree: into `localPath` when it ends with '/' or is a
 * directory, else under that name.
 * @throws KangarooError NOT_FOUND, IS_DIRECTORY, LOCAL_FILE for a single file; NOT_YET, INTERRUPTED
 */
export async function getFiles(
  client: Kangaroo,
  source: AddressLike,
  localPath: string,
  options: GetOptions = {},
): Promise<GetResult> {
  const address = addressOf(source);
  const get = new TreeGet(client, options);
  await get.source(address, fromArgument(localPath));
  return get.tally.result();
}

/**
 * A file, or a range of it, into a stream, which is left open. Resolves with the bytes written.
 * @throws KangarooError NOT_FOUND, LOCAL_FILE when the stream fails, NOT_YET, INTERRUPTED
 */
export async function getStream(
  client: Kangaroo,
  source: AddressLike,
  target: Writable,
  options: GetOptions = {},
): Promise<number> {
  const address = addressOf(source);
  const get = new TreeGet(client, options);
  // The write's callback tells of an error; without a listener the event would end the process.
  const heard = (): void => {};
  target.on('error', heard);
  try {
    await get.bytesOf(address, async (bytes) => {
      await new Promise<void>((resolve, reject) => {
        target.write(bytes, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(localError('-', error));
        });
      });
    });
  } finally {
    setImmediate(() => target.off('error', heard));
  }
  get.tally.files = 1;
  return get.tally.result().bytes;
}

/** Files up to this size are fetched several at a time. */
const SMALL_BYTES = limits.payloadBytesMax;

class TreeGet {
  readonly tally: Tally;
  readonly #client: Kangaroo;
  readonly #options: GetOptions;
  readonly #wait: Wait;
  /** Small files under way. */
  readonly #running = new Set<Promise<void>>();
  /** What ended the whole, met by a file that nobody awaits. */
  #fatal: KangarooError | null = null;

  constructor(client: Kangaroo, options: GetOptions) {
    this.#client = client;
    this.#options = options;
    this.#wait = waitOf(options, Infinity);
    this.tally = new Tally(options.onProgress, nowMs);
    assertSize('offset', options.offset ?? 0);
    assertSize('length', options.length ?? 0);
  }

  async source(address: Address, local: string): Promise<void> {
    const facts = await this.#client.stat(address, this.#lookup());
    const into = local.endsWith('/') || (await isLocalDirectory(local));
    const name = address.path === '' ? address.name : splitPath(address.path)[1];
    const target = into ? joinLocal(local, name) : local;
    if (facts.kind !== 'directory') {
      this.tally.totalFiles = 1;
      this.tally.totalBytes = this.#rangeBytes(facts.size);
      await this.#file(address, target, facts);
      return;
    }
    if (this.#options.recursive !== true) {
      const where = formatAddress(address.name, address.path);
      throw new KangarooError('IS_DIRECTORY', `${where}: it is a directory`, { hint: 'use -r' });
    }
    try {
      await this.#directory(address, target, facts);
    } finally {
      await Promise.allSettled(this.#running);
    }
    this.#assertGoesOn();
  }

  /** Hands the range's bytes to `write`, one piece after the other. */
  async bytesOf(address: Address, write: (bytes: Buffer) => Promise<void>): Promise<void> {
    const { deadline, signal } = this.#wait;
    const { offset, length } = this.#options;
    const chunks = this.#client.readChunks(address, { ...this.#lookup(), offset, length });
    for await (const bytes of chunks) {
      this.#assertGoesOn();
      await within(write(bytes), deadline, 'get', signal);
      this.tally.bytes += bytes.length;
      this.tally.at(address.path);
    }
  }

  async #file(
    address: Address,
    local: string,
    facts: Pick<FileFacts, 'mode' | 'mtimeNs' | 'size'>,
  ): Promise<void> {
    const isSmall = this.#options.recursive === true && facts.size <= SMALL_BYTES;
    if (isSmall && (await this.#smallFile(address, local, facts))) return;
    const target = await this.#open(local, facts.mode);
    try {
      await this.bytesOf(address, (bytes) => target.write(bytes));
      this.#assertGoesOn();
    } catch (error) {
      await target.abandon();
      throw error;
    }
    await target.finish(this.#options.recursive === true ? facts : null);
    this.tally.files += 1;
  }

  /** In one question and one go; false when it is no small file any more, or no plain place. */
  async #smallFile(
    address: Address,
    local: string,
    facts: Pick<FileFacts, 'mode' | 'mtimeNs' | 'size'>,
  ): Promise<boolean> {
    const wait = waitOf(this.#lookup(), Infinity);
    // One byte more than there should be: a full answer means that the file has grown.
    const range = { offset: 0, length: facts.size + 1 };
    const { chunks, bytes } = await getPiece(this.#client.session, address, range, wait);
    if (bytes === range.length) return false;
    this.#assertGoesOn();
    const [only] = chunks;
    const whole = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks);
    if (!writeSmallFile(local, whole, facts)) return false;
    this.tally.files += 1;
    this.tally.bytes += bytes;
    this.tally.at(address.path);
    return true;
  }

  async #open(local: string, mode: number): Promise<LocalTarget> {
    const { deadline, signal } = this.#wait;
    const opening = LocalTarget.open(local, mode);
    try {
      return await within(opening, deadline, 'get', signal);
    } catch (error) {
      // A FIFO may find its reader later than we can wait.
      opening.then(
        (target) => void target.abandon(),
        () => {},
      );
      throw error;
    }
  }

  async #directory(
    address: Address,
    local: string,
    facts: Pick<FileFacts, 'mode' | 'mtimeNs'>,
  ): Promise<void> {
    this.#assertGoesOn();
    await makeDirectory(local);
    const below: Entry[] = [];
    const mine = new Set<Promise<void>>();
    for await (const entry of this.#client.list(address, this.#lookup())) {
      const to = joinLocal(local, splitPath(entry.address.path)[1]);
      if (entry.kind === 'directory') below.push(entry);
      else if (entry.kind === 'file') await this.#entry(entry.address, to, entry, mine);
      else if (entry.kind === 'symlink') await this.#link(entry.address, to, mine);
      else this.#skip(entry.address, 'it is a special file');
    }
    for (const entry of below) {
      const to = joinLocal(local, splitPath(entry.address.path)[1]);
      await this.#orFail(to, () => this.#directory(entry.address, to, entry));
    }
    await Promise.all(mine);
    this.tally.directories += 1;
    // Last, because every file that was made in it has changed its time.
    await this.#orFail(local, () => finishDirectory(local, facts));
  }

  async #entry(
    address: Address,
    local: string,
    facts: Pick<FileFacts, 'mode' | 'mtimeNs' | 'size'>,
    mine: Set<Promise<void>>,
  ): Promise<void> {
    this.#assertGoesOn();
    const work = (): Promise<void> => this.#orFail(local, () => this.#file(address, local, facts));
    if (facts.size > SMALL_BYTES) {
      await work();
      return;
    }
    while (this.#running.size >= limits.treeGetsMax) await Promise.race(this.#running);
    const running = work().catch((error: unknown) => {
      this.#fatal ??= asKangarooError(error);
    });
    this.#running.add(running);
    mine.add(running);
    void running.finally(() => {
      this.#running.delete(running);
      mine.delete(running);
    });
  }

  /** A link is got as the file it leads to, if it leads to one within that server's export. */
  async #link(address: Address, local: string, mine: Set<Promise<void>>): Promise<void> {
    try {
      const facts = await this.#client.stat(address, this.#lookup());
      if (facts.kind === 'file') await this.#entry(address, local, facts, mine);
      else this.#skip(address, 'it is a symbolic link, and not to a file');
    } catch (error) {
      if (!ofOneFile(error)) throw error;
      this.#skip(address, 'it is a symbolic link that leads nowhere');
    }
  }

  async #orFail(local: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!ofOneFile(error)) throw error;
      this.tally.fail(toDisplay(local), error);
    }
  }

  #skip(address: Address, reason: string): void {
    this.tally.skip(formatAddress(address.name, address.path), reason);
  }

  /** Each question may take the usual time, and no longer than the whole. */
  #lookup(): ReturnType<typeof restOf> {
    return restOf(this.#wait, limits.defaultCallTimeoutMs);
  }

  #rangeBytes(size: number): number {
    const { offset = 0, length = Infinity } = this.#options;
    return Math.max(0, Math.min(length, size - offset));
  }

  #assertGoesOn(): void {
    if (this.#fatal !== null) throw this.#fatal;
    if (this.#wait.signal?.aborted === true) {
      throw new KangarooError('INTERRUPTED', 'get: interrupted');
    }
    if (hasPassed(this.#wait.deadline)) {
      throw new KangarooError('NOT_YET', 'get: the time ran out');
    }
  }
}

const ONE_FILE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'LOCAL_FILE',
  'NOT_FOUND',
  'IS_DIRECTORY',
  'NOT_DIRECTORY',
  'CORRUPT',
  'DENIED',
]);

/** Does the error concern one file or directory of a tree, so that the others go on? */
function ofOneFile(error: unknown): boolean {
  return error instanceof KangarooError && ONE_FILE.has(error.code);
}

async function isLocalDirectory(local: string): Promise<boolean> {
  const facts = await statLocalAsync(localBytes(local)).catch(() => null);
  return facts?.isDirectory() === true;
}

async function makeDirectory(local: string): Promise<void> {
  try {
    // Ours to fill, whatever mode it gets in the end.
    await mkdir(localBytes(local), { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST' && (await isLocalDirectory(local))) return;
    throw localError(local, error);
  }
}
