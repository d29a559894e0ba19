/**
 * Local files and trees into the spool, by cp(1)'s rules for the destination.
 *
 *   one file        to the address; into it, if it ends with '/' or is a directory
 *   several files   into the address, which is made a directory where it is none
 *   a tree          (recursive) directory by directory; modes and times are kept
 *
 * A single file keeps its permission bits, as with cp, and no times; a tree keeps both, a directory
 * getting its own after everything in it. A symbolic link to a file is put as that file; links to
 * directories, dangling links and special files are left out and named in the result. A file that
 * cannot be read, or shrinks, is a failure in the result; the others go on. What ends the whole is
 * the server, the deadline or the signal. Nothing is committed here. Holes are put as zeros.
 */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { hasPassed, nowMs, remainingMs } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { FLAGS, invalidPath, KIND, operation } from '../protocol/operation.ts';
import { type Address, fromArgument, joinPath, toDisplay } from '../route/address.ts';
import { type CallOptions, restOf, waitOf } from './call-options.ts';
import type { Kangaroo } from './client.ts';
import { type AddressLike, addressOf } from './entry.ts';
import {
  bytesByReading,
  closeLocal,
  factsOf,
  joinLocal,
  type LocalFacts,
  localError,
  openLocal,
  statLocal,
} from './local-file.ts';
import { packDirectory, type PackedStep } from './pack-directory.ts';
import { FilePut, type FilePutOptions } from './put-file.ts';
import type { Wait } from './session.ts';
import { concernsOneFile, type Progress, Tally, type TreeResult } from './tally.ts';
import { attributeFlags, PutStream } from './write-stream.ts';

export type { Failure, Skipped } from './tally.ts';
export type PutProgress = Progress;
export type PutResult = TreeResult;

export interface PutOptions extends CallOptions {
  /** Directories too, with what is in them; modes and times are kept. Default false. */
  readonly recursive?: boolean | undefined;
  /** Will commit() follow? Then the bytes start for the disk early. Default true. */
  readonly willCommit?: boolean | undefined;
  readonly onProgress?: ((progress: PutProgress) => void) | undefined;
}

/**
 * Puts local files, and with `recursive` trees. Rejects only for what ends the whole.
 * @throws KangarooError USAGE, NO_ROUTE, NOT_YET, INTERRUPTED, DISCONNECTED
 */
export async function putFiles(
  client: Kangaroo,
  sources: readonly string[],
  destination: AddressLike,
  options: PutOptions = {},
): Promise<PutResult> {
  const target = addressOf(destination);
  const wait = waitOf(options, Infinity);
  const into = sources.length > 1 || (await isDirectory(client, target, wait));
  const put = new TreePut(client, options, wait);
  if (options.onProgress !== undefined) put.count(sources);
  for (const source of sources) await put.source(source, target, into);
  return put.tally.result();
}

/**
 * One local file to exactly this address. Resolves with its bytes.
 * @throws KangarooError LOCAL_FILE, IS_DIRECTORY, and as putFiles
 */
export async function putFile(
  client: Kangaroo,
  localPath: string,
  address: AddressLike,
  options: PutOptions = {},
): Promise<number> {
  const put = new TreePut(client, options, waitOf(options, Infinity));
  await put.file(fromArgument(localPath), addressOf(address));
  return put.tally.result().bytes;
}

/**
 * A stream of any length, such as standard input, to exactly this address. Resolves with its bytes.
 * A stream that fails leaves what came before it at the destination.
 */
export async function putStream(
  client: Kangaroo,
  source: Readable,
  address: AddressLike,
  options: PutOptions = {},
): Promise<number> {
  const { deadline, signal } = waitOf(options, Infinity);
  const tally = new Tally(options.onProgress, nowMs);
  const count = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      tally.bytes += chunk.length;
      tally.at('-');
      yield chunk;
    }
  };
  const ends = signalAt(deadline, signal);
  const target = new PutStream(client.session, client.local, addressOf(address), {
    offset: 0,
    truncate: true,
    parents: true,
    timeoutMs: Infinity,
    signal: ends,
  });
  try {
    await pipeline(source, count, target, ends === undefined ? {} : { signal: ends });
  } catch (error) {
    if (error instanceof KangarooError && error.code !== 'INTERRUPTED') throw error;
    if (signal?.aborted === true) throw new KangarooError('INTERRUPTED', 'put: interrupted');
    if (ends?.aborted === true) throw new KangarooError('NOT_YET', 'put: the time ran out');
    throw localError('-', error);
  }
  tally.files = 1;
  return tally.result().bytes;
}

/** Is the address meant as a directory, as far as can be told now? */
async function isDirectory(client: Kangaroo, target: Address, wait: Wait): Promise<boolean> {
  if (target.directory) return true;
  try {
    // A destination that is away must not hold up a put: what is not known is taken for a file.
    const facts = await client.stat(target, restOf(wait, 2 * limits.awayLookupMs));
    return facts.kind === 'directory';
  } catch (error) {
    const { code } = asKangarooError(error);
    if (hasPassed(wait.deadline)) throw error;
    if (code === 'NOT_FOUND' || code === 'NOT_YET' || code === 'BUSY' || code === 'HELD') {
      return false;
    }
    throw error;
  }
}

/** Of how many small files, or bytes, one turn of the event loop is made. */
const TURN_FILES = 128;
const TURN_BYTES = 2 * limits.payloadBytesMax;

class TreePut {
  readonly tally: Tally;
  readonly #client: Kangaroo;
  readonly #options: PutOptions;
  readonly #wait: Wait;
  /** The same for every file; `#current` says which one it is about. */
  readonly #fileOptions: FilePutOptions;
  #current = '';
  #turnFiles = 0;
  #turnBytes = 0;

  constructor(client: Kangaroo, options: PutOptions, wait: Wait) {
    this.#client = client;
    this.#options = options;
    this.#wait = wait;
    this.tally = new Tally(options.onProgress, nowMs);
    this.#fileOptions = {
      deadline: wait.deadline,
      signal: wait.signal,
      willCommit: options.willCommit !== false,
      onBytes: (bytes) => {
        this.tally.bytes += bytes;
        this.#turnBytes += bytes;
        this.tally.at(this.#current);
      },
    };
  }

  /** Totals for the progress, when all sources are files. */
  count(sources: readonly string[]): void {
    let bytes = 0;
    for (const source of sources) {
      try {
        const facts = statLocal(fromArgument(source));
        if (facts.kind !== 'file') return;
        bytes += facts.bytes;
      } catch {
        return;
      }
    }
    this.tally.totalFiles = sources.length;
    this.tally.totalBytes = bytes;
  }

  /** One source of the command line. */
  async source(localPath: string, target: Address, into: boolean): Promise<void> {
    const local = fromArgument(localPath);
    const name = lastName(local);
    const to = into && name !== '' ? childOf(target, name) : target;
    try {
      const facts = statLocal(local);
      if (facts.kind === 'directory') {
        if (this.#options.recursive !== true) {
          throw new KangarooError('IS_DIRECTORY', `${localPath}: it is a directory`, {
            hint: 'use -r',
          });
        }
        await this.#directory(local, to);
      } else if (facts.kind === 'other') {
        this.tally.skip(localPath, 'it is no file and no directory');
      } else {
        await this.file(local, to);
      }
    } catch (error) {
      const isOne = error instanceof KangarooError && error.code === 'IS_DIRECTORY';
      if (!isOne && !concernsOneFile(error)) throw error;
      this.tally.fail(localPath, error);
    }
  }

  /** @throws KangarooError LOCAL_FILE, IS_DIRECTORY, or what ends the whole */
  async file(local: string, target: Address): Promise<void> {
    const fd = openLocal(local);
    try {
      const facts = trueFactsOf(fd, local, this.#options.recursive === true);
      if (facts.kind === 'directory') {
        throw new KangarooError('IS_DIRECTORY', `${toDisplay(local)}: it is a directory`);
      }
      if (facts.kind !== 'file') {
        throw new KangarooError('LOCAL_FILE', `${toDisplay(local)}: it is no plain file`);
      }
      assertPath(local, target);
      const put = new FilePut(
        this.#client.session,
        this.#client.local,
        { fd, path: local, facts },
        target,
        this.#fileOptions,
      );
      this.#current = local;
      const isSmall = facts.bytes <= limits.inlinePayloadBytesMax;
      const work = isSmall ? put.small() : put.run();
      if (work !== undefined) await work;
      this.tally.files += 1;
    } finally {
      closeLocal(fd);
    }
    this.#turnFiles += 1;
    if (this.#turnFiles >= TURN_FILES || this.#turnBytes >= TURN_BYTES) await this.#turn();
  }

  async #directory(local: string, target: Address): Promise<void> {
    this.#assertGoesOn();
    const { name, path } = target;
    // The export directory itself is there, and has attributes of its own that are not ours.
    if (path !== '') {
      assertPath(local, target);
      const mkdir = operation({ kind: KIND.mkdir, name, path, flags: FLAGS.PARENTS });
      await this.#client.session.put(mkdir, {}, this.#wait);
    }
    const below: string[] = [];
    await this.#orFail(local, async () => {
      for (const entry of packDirectory(this.#client.session, local, target)) {
        if ('files' in entry) {
          await this.#packed(local, entry);
          continue;
        }
        const from = joinLocal(local, entry.name);
        if (entry.kind === 'directory') below.push(entry.name);
        else if (entry.kind === 'file') await this.#entry(from, childOf(target, entry.name));
        else if (entry.kind === 'symlink') await this.#link(from, childOf(target, entry.name));
        else this.tally.skip(toDisplay(from), 'it is a special file');
      }
    });
    for (const child of below) {
      const from = joinLocal(local, child);
      await this.#orFail(from, () => this.#directory(from, childOf(target, child)));
    }
    this.tally.directories += 1;
    if (path !== '') await this.#orFail(local, () => this.#directoryAttributes(local, target));
  }

  async #packed(local: string, { files, bytes, last }: PackedStep): Promise<void> {
    this.tally.files += files;
    this.tally.bytes += bytes;
    this.tally.at(joinLocal(local, last));
    await this.#turn();
  }

  async #directoryAttributes(local: string, { name, path }: Address): Promise<void> {
    const fd = openLocal(local);
    try {
      const { mode, mtimeNs } = factsOf(fd, local, true);
      const attributes = { mode, mtimeNs: mtimeNs ?? 0n };
      const flags = attributeFlags(attributes);
      const write = operation({ kind: KIND.write, name, path, flags, ...attributes });
      await this.#client.session.put(write, {}, this.#wait);
    } finally {
      closeLocal(fd);
    }
  }

  async #link(local: string, target: Address): Promise<void> {
    try {
      const { kind } = statLocal(local);
      if (kind === 'file') await this.#entry(local, target);
      else this.tally.skip(toDisplay(local), 'it is a symbolic link, and not to a file');
    } catch (error) {
      if (!concernsOneFile(error)) throw error;
      this.tally.skip(toDisplay(local), 'it is a symbolic link that leads nowhere');
    }
  }

  // Not through #orFail: ten thousand small files should not make ten thousand closures.
  async #entry(local: string, target: Address): Promise<void> {
    try {
      await this.file(local, target);
    } catch (error) {
      if (!concernsOneFile(error)) throw error;
      this.tally.fail(toDisplay(local), error);
    }
  }

  async #orFail(local: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!concernsOneFile(error)) throw error;
      this.tally.fail(toDisplay(local), error);
    }
  }

  /** Lets the sockets have a turn: small files are read without one. */
  async #turn(): Promise<void> {
    this.#turnFiles = 0;
    this.#turnBytes = 0;
    this.#assertGoesOn();
    await new Promise((resolve) => setImmediate(resolve));
  }

  #assertGoesOn(): void {
    if (this.#wait.signal?.aborted === true) {
      throw new KangarooError('INTERRUPTED', 'put: interrupted');
    }
    if (hasPassed(this.#wait.deadline)) {
      throw new KangarooError('NOT_YET', 'put: the time ran out');
    }
  }
}

/** As factsOf; files of /proc and the like say that they are empty when they are not. */
function trueFactsOf(fd: number, local: string, withTimes: boolean): LocalFacts {
  const facts = factsOf(fd, local, withTimes);
  if (facts.kind !== 'file' || facts.bytes > 0) return facts;
  return { ...facts, bytes: bytesByReading(fd, local) };
}

/** The last name of a local path; '' when it has none of its own, as '.', '..' and '/'. */
function lastName(local: string): string {
  const name = local.replace(/\/+$/, '').split('/').at(-1) ?? '';
  return name === '.' || name === '..' ? '' : name;
}

function childOf(directory: Address, name: string): Address {
  return { name: directory.name, path: joinPath(directory.path, name), directory: false };
}

/** A tree may be deeper than an address can be long: that is one file's trouble, not the tree's. */
function assertPath(local: string, target: Address): void {
  if (target.path !== '' && !invalidPath(target.path)) return;
  throw new KangarooError('LOCAL_FILE', `${toDisplay(local)}: there is no such address`, {
    hint: `a path has at most ${limits.pathBytesMax} bytes`,
  });
}

function signalAt(deadline: number, signal: AbortSignal | undefined): AbortSignal | undefined {
  if (!Number.isFinite(deadline)) return signal;
  const time = AbortSignal.timeout(Math.ceil(Math.min(remainingMs(deadline), 0x7fff_ffff)));
  return signal === undefined ? time : AbortSignal.any([time, signal]);
}
