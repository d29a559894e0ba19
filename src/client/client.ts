/**
 * Kangaroo for programs: connect() gives a client, its methods are the paper's calls (3.2, 4.1)
 * and their kin.
 *
 *   write, truncate, setAttributes, mkdir, rename, remove   taken at once, delivered later
 *   commit                                                  what was put is safe at the first hop
 *   push                                                    what was put has arrived
 *   stat, list, read, createReadStream                      the spool's view over the destination's
 *   status, messages, retry, discard                        what is on its way, and what is held
 *
 * A call that changes something resolves when the session has taken it; its success says nothing
 * about the destination. Calls take effect in the order in which they are made, awaited or not.
 * Offsets, sizes and lengths are bytes, times on files nanoseconds since 1970, time-outs
 * milliseconds. All errors are KangarooErrors. The connection keeps the process alive until it is
 * closed.
 */
import { Readable, type Writable } from 'node:stream';
import { toWireMs, within } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { decodeMessage, FOUND_KIND, type Message, MESSAGES } from '../protocol/messages.ts';
import { FLAGS, KIND, NO_ID, type Operation, operation } from '../protocol/operation.ts';
import { formatServerAddress } from '../protocol/server-address.ts';
import {
  type Address,
  formatAddress,
  formatTarget,
  joinPath,
  parseTarget,
  toDisplay,
} from '../route/address.ts';
import { assertSize, callOf, type CallOptions, timeoutOf, waitOf } from './call-options.ts';
import {
  type AddressLike,
  addressOf,
  type Entry,
  entryKind,
  type FileFacts,
  invalidEntryName,
} from './entry.ts';
import { LocalPath } from './grant.ts';
import { noServerError, serverCandidates } from './locate.ts';
import { getPiece, readRange } from './read-stream.ts';
import { type MessagesReport, parseDocument, type StatusReport } from './report.ts';
import { Session, type SessionOptions } from './session.ts';
import { attributeFlags, PutStream } from './write-stream.ts';

export type { CallOptions } from './call-options.ts';
export type { AddressLike, Entry, EntryKind, FileFacts } from './entry.ts';

export interface ConnectOptions extends CallOptions, SessionOptions {
  /** `unix:/path`, a path, or `host:port`. Default: KANGAROO_SERVER, else the usual places. */
  readonly server?: string | undefined;
}

export interface Attributes {
  /** Permission bits. */
  readonly mode?: number | undefined;
  readonly mtimeNs?: bigint | undefined;
  readonly atimeNs?: bigint | undefined;
}

/** A part of a file. Of a stream, `timeoutMs` bounds the wait for each piece, not the whole. */
export interface ReadRange extends CallOptions {
  /** Default 0. */
  readonly offset?: number | undefined;
  /** Default: up to the end. */
  readonly length?: number | undefined;
}

export interface WriteStreamOptions extends CallOptions, Attributes {
  /** Where the first byte goes. Default 0. */
  readonly offset?: number | undefined;
  /** Cut the file at `offset` first. Default: true when no offset is given. */
  readonly truncate?: boolean | undefined;
  /** Make missing directories on the way. Default false. */
  readonly parents?: boolean | undefined;
}

export interface MkdirOptions extends CallOptions {
  /** Make missing directories on the way, and be content when it is there. */
  readonly parents?: boolean | undefined;
  readonly mode?: number | undefined;
}

export interface RemoveOptions extends CallOptions {
  /** It is a directory, which must be empty. */
  readonly directory?: boolean | undefined;
}

/** What is still to arrive, and what keeps it. */
export interface PushProgress {
  readonly operations: number;
  readonly bytes: number;
  /** The server it waits at; '' where nothing waits. */
  readonly where: string;
  readonly reason: string;
}

export interface PushOptions extends CallOptions {
  readonly onProgress?: ((progress: PushProgress) => void) | undefined;
}

export interface MessagesOptions extends CallOptions {
  /** Only what is newer than this id. Default 0: all there is. */
  readonly after?: number | undefined;
}

export interface ServerIdentity {
  /** Where it was found: `unix:/path` or `host:port`. */
  readonly address: string;
  readonly name: string;
  readonly spoolId: string;
  readonly software: string;
}

/**
 * Finds a server and greets it.
 * @throws KangarooError UNREACHABLE with all that was tried, USAGE, DENIED, VERSION, BUSY
 */
export async function connect(options: ConnectOptions = {}): Promise<Kangaroo> {
  const wait = waitOf(options, limits.defaultCallTimeoutMs);
  const candidates = serverCandidates(options.server, process.env);
  const failures: KangarooError[] = [];
  for (const address of candidates) {
    const opening = Session.open(address, options, wait.deadline);
    try {
      return new Kangaroo(await within(opening, wait.deadline, 'connect', wait.signal));
    } catch (error) {
      // Nobody is left to use the one that may still come.
      opening.then(
        (session) => void session.close(),
        () => {},
      );
      const known = asKangarooError(error);
      if (known.code !== 'UNREACHABLE') throw known;
      failures.push(known);
    }
  }
  throw noServerError(failures);
}

/** A client; see the head of this file. Get one from connect(). */
export class Kangaroo {
  /** The session below, for the other parts of this package. */
  readonly session: Session;
  /** The way for payload that need not cross the socket, for the other parts of this package. */
  readonly local: LocalPath;

  constructor(session: Session) {
    this.session = session;
    this.local = new LocalPath(session);
  }

  /** The first hop, as it introduced itself. */
  get server(): ServerIdentity {
    const { serverName, spoolId, software } = this.session.welcome;
    const address = formatServerAddress(this.session.address);
    return { address, name: serverName, spoolId, software };
  }

  /**
   * Puts bytes at an offset of a file, which is made if it is not there (the paper's put). More
   * than 1 MiB goes in several operations. `data` must not change before this resolves.
   */
  async write(
    address: AddressLike,
    offset: number,
    data: Uint8Array,
    options: CallOptions = {},
  ): Promise<void> {
    const { name, path } = addressOf(address);
    assertSize('offset', offset);
    const wait = waitOf(options, Infinity);
    const puts: (Promise<void> | undefined)[] = [];
    let at = 0;
    // All are lined up at once: what is put after this call comes after all of it.
    do {
      const bytes = data.subarray(at, at + limits.payloadBytesMax);
      const put = { kind: KIND.write, flags: FLAGS.CREATE, name, path, offset: offset + at };
      puts.push(this.session.put(operation(put), { bytes }, wait));
      at += limits.payloadBytesMax;
    } while (at < data.length);
    await Promise.all(puts);
  }

  /** Cuts or extends an existing file to `size` bytes. */
  async truncate(address: AddressLike, size: number, options: CallOptions = {}): Promise<void> {
    assertSize('size', size);
    await this.#put(options, { ...this.#write(address), flags: FLAGS.TRUNCATE, size });
  }

  /** Sets what is given of mode and times, of a file or a directory. */
  async setAttributes(
    address: AddressLike,
    attributes: Attributes,
    options: CallOptions = {},
  ): Promise<void> {
    const { mode = 0, mtimeNs = 0n, atimeNs = 0n } = attributes;
    const flags = attributeFlags(attributes);
    await this.#put(options, { ...this.#write(address), flags, mode, mtimeNs, atimeNs });
  }

  async mkdir(address: AddressLike, options: MkdirOptions = {}): Promise<void> {
    const { name, path } = addressOf(address);
    const { mode, parents } = options;
    const flags = attributeFlags({ mode }) | (parents === true ? FLAGS.PARENTS : 0);
    await this.#put(options, operation({ kind: KIND.mkdir, name, path, flags, mode: mode ?? 0 }));
  }

  /** As rename(2), on one server. @throws KangarooError USAGE for two */
  async rename(from: AddressLike, to: AddressLike, options: CallOptions = {}): Promise<void> {
    const source = addressOf(from);
    const target = addressOf(to);
    if (source.name !== target.name) {
      throw new KangarooError('USAGE', 'a rename cannot lead to another server', {
        hint: 'get it and put it there',
      });
    }
    const { name, path } = source;
    await this.#put(options, operation({ kind: KIND.rename, name, path, path2: target.path }));
  }

  /** Removes a file, or an empty directory. */
  async remove(address: AddressLike, options: RemoveOptions = {}): Promise<void> {
    const { name, path } = addressOf(address);
    const flags = options.directory === true ? FLAGS.DIRECTORY : 0;
    await this.#put(options, operation({ kind: KIND.remove, name, path, flags }));
  }

  /** @throws KangarooError NOT_FOUND; NOT_YET when nobody can tell now */
  async stat(address: AddressLike, options: CallOptions = {}): Promise<FileFacts> {
    const { name, path } = addressOf(address);
    const wait = waitOf(options, limits.defaultCallTimeoutMs);
    const what = `stat ${formatAddress(name, path)}`;
    const found = await this.session.call(wait, async (connection) => {
      const stat = { name, path, timeoutMs: toWireMs(wait.deadline), hops: 0 };
      return await connection.ask('STAT', stat, 'FOUND', callOf(wait, what));
    });
    if (found.kind === FOUND_KIND.absent) throw new KangarooError('NOT_FOUND', `${what}: absent`);
    const { size, mode, mtimeNs, pendingBytes } = found;
    return { kind: entryKind(found.kind), size, mode, mtimeNs, pendingBytes };
  }

  /**
   * A directory's entries in byte order, read page by page. `timeoutMs` is for each page.
   * @throws KangarooError NOT_FOUND, NOT_DIRECTORY, NOT_YET
   */
  async *list(
    address: AddressLike,
    options: CallOptions = {},
  ): AsyncGenerator<Entry, void, undefined> {
    const directory = addressOf(address);
    let after = '';
    for (let more = true; more;) {
      const page = await this.#page(directory, after, options);
      const where = `list ${formatAddress(directory.name, directory.path)}`;
      for (const { name, kind, size, mode, mtimeNs } of page.entries) {
        // Names of a stranger: in order, or the list might never end; plain, or they lead away.
        if (invalidEntryName(name) || name <= after) {
          throw new KangarooError('PROTOCOL', `${where}: the server sent a name that cannot be`);
        }
        after = name;
        const path = joinPath(directory.path, name);
        const entry = { name: directory.name, path, directory: kind === FOUND_KIND.directory };
        const shown = toDisplay(name);
        yield { name: shown, address: entry, kind: entryKind(kind), size, mode, mtimeNs };
      }
      more = page.more;
      if (more && page.entries.length === 0) {
        throw new KangarooError('PROTOCOL', `${where}: an empty page that is not the last`);
      }
    }
  }

  /** Up to `length` bytes from `offset`; fewer only at the end of the file. */
  async read(
    address: AddressLike,
    offset: number,
    length: number,
    options: CallOptions = {},
  ): Promise<Buffer> {
    assertSize('offset', offset);
    assertSize('length', length);
    const from = addressOf(address);
    const wait = waitOf(options, limits.defaultCallTimeoutMs);
    const chunks: Buffer[] = [];
    let bytes = 0;
    while (bytes < length) {
      const range = {
        offset: offset + bytes,
        length: Math.min(limits.getBytesMax, length - bytes),
      };
      const piece = await getPiece(this.session, from, range, wait);
      chunks.push(...piece.chunks);
      bytes += piece.bytes;
      if (piece.bytes < range.length) break;
    }
    return Buffer.concat(chunks, bytes);
  }

  /** A file, or a part of it, as a stream; see ReadRange. Its errors are KangarooErrors. */
  createReadStream(address: AddressLike, options: ReadRange = {}): Readable {
    return Readable.from(this.readChunks(address, options), { objectMode: false });
  }

  /** As createReadStream, for `for await`. */
  readChunks(
    address: AddressLike,
    options: ReadRange = {},
  ): AsyncGenerator<Buffer, void, undefined> {
    const { offset = 0, length = Number.MAX_SAFE_INTEGER - offset, signal } = options;
    assertSize('offset', offset);
    assertSize('length', length);
    const timeoutMs = timeoutOf(options, limits.defaultCallTimeoutMs);
    return readRange(this.session, addressOf(address), { offset, length }, { timeoutMs, signal });
  }

  /** A file to write into; see write-stream.ts. `timeoutMs` is for each block. */
  createWriteStream(address: AddressLike, options: WriteStreamOptions = {}): Writable {
    const { offset = 0, truncate = options.offset === undefined, parents = false } = options;
    assertSize('offset', offset);
    const { mode, mtimeNs, atimeNs, signal } = options;
    const attributes = { mode, mtimeNs, atimeNs };
    const timeoutMs = timeoutOf(options, Infinity);
    const rest = { offset, truncate, parents, timeoutMs, signal };
    return new PutStream(this.session, this.local, addressOf(address), { ...attributes, ...rest });
  }

  /** Resolves when everything put so far is on stable storage at the first hop. */
  async commit(options: CallOptions = {}): Promise<void> {
    await this.session.commit(waitOf(options, Infinity));
  }

  /**
   * Resolves when everything that the first hop holds for `target` has arrived: '' is everything,
   * else a server name or the address of a directory or a file.
   * @throws KangarooError HELD when the destination refuses some of it; NOT_YET with the reason
   */
  async push(target = '', options: PushOptions = {}): Promise<void> {
    const wait = waitOf(options, Infinity);
    const text = formatTarget(parseTarget(target));
    const { onProgress } = options;
    await this.session.settle(wait);
    await this.session.call(wait, async (connection) => {
      this.session.flush();
      const timeoutMs = toWireMs(wait.deadline);
      const push = { target: text, originId: NO_ID, timeoutMs, hops: 0 };
      await connection.ask('PUSH', push, 'DONE', {
        ...callOf(wait, 'push'),
        onPart: (frame) => {
          if (frame.type === MESSAGES.PROGRESS.type) onProgress?.(decodeMessage('PROGRESS', frame));
        },
      });
    });
  }

  /** What is on its way; with a target, file by file. */
  async status(target = '', options: CallOptions = {}): Promise<StatusReport> {
    const text = formatTarget(parseTarget(target));
    const question = { target: text, files: text !== '' };
    const fields = ['server', 'spool', 'destinations'];
    return (await this.#ask('status', question, fields, options)) as StatusReport;
  }

  /** What was held, mended, given up or found damaged. */
  async messages(options: MessagesOptions = {}): Promise<MessagesReport> {
    const question = { after: options.after ?? 0 };
    const fields = ['messages', 'last'];
    return (await this.#ask('messages', question, fields, options)) as MessagesReport;
  }

  /** Has held operations tried again, now. Resolves with their number. */
  async retry(target = '', options: CallOptions = {}): Promise<number> {
    const question = { target: formatTarget(parseTarget(target)) };
    const answer = await this.#ask('retry', question, ['retried'], options);
    return Number((answer as { readonly retried: unknown }).retried);
  }

  /** Gives held operations up, for good. Resolves with their number. */
  async discard(target: string, options: CallOptions = {}): Promise<number> {
    const question = { target: formatTarget(parseTarget(target)) };
    const answer = await this.#ask('discard', question, ['discarded'], options);
    return Number((answer as { readonly discarded: unknown }).discarded);
  }

  /** Ends the session. What was not committed is promised by nobody. Safe to repeat. */
  async close(): Promise<void> {
    await this.session.close();
    await this.local.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #write(address: AddressLike): Operation {
    const { name, path } = addressOf(address);
    return operation({ kind: KIND.write, name, path });
  }

  async #put(options: CallOptions, put: Operation): Promise<void> {
    await this.session.put(put, NO_PAYLOAD, waitOf(options, Infinity));
  }

  async #page(directory: Address, after: string, options: CallOptions): Promise<Message<'LISTED'>> {
    const { name, path } = directory;
    const wait = waitOf(options, limits.defaultCallTimeoutMs);
    const what = `list ${formatAddress(name, path)}`;
    return await this.session.call(wait, async (connection) => {
      const max = limits.listEntriesMax;
      const list = { name, path, after, max, timeoutMs: toWireMs(wait.deadline), hops: 0 };
      return await connection.ask('LIST', list, 'LISTED', callOf(wait, what));
    });
  }

  async #ask(
    verb: string,
    question: object,
    fields: readonly string[],
    options: CallOptions,
  ): Promise<unknown> {
    const wait = waitOf(options, limits.defaultCallTimeoutMs);
    const { json } = await this.session.call(wait, async (connection) => {
      const timeoutMs = toWireMs(wait.deadline);
      const ask = { verb, timeoutMs, hops: 0, arguments: JSON.stringify(question) };
      return await connection.ask('ASK', ask, 'DOCUMENT', callOf(wait, verb));
    });
    return parseDocument(verb, json, fields);
  }
}

const NO_PAYLOAD = { bytes: undefined } as const;
