/**
 * The local path: payload of a client on the server's own machine and account goes straight into a
 * data segment of the spool, and only heads cross the socket (decision 8 of the design).
 *
 *   source file ──copyIn, 8 MiB a call──▶ granted range of a segment ──heads──▶ PUTS
 *
 * For a push the heads of one copy are sent while the next copy runs, so that the mover can start
 * while the file is still arriving. Where a commit follows they are sent when the file is copied,
 * or limits.unnamedMs after its bytes: delivery would compete with the job that waits. Ranges are
 * filled without holes, in order. A grant ends with its connection: what was copied under an old
 * one and not yet named is copied again. A server gives the oldest of limits.grantsPerConnectionMax
 * up for a new one, so what lies in many is named before.
 *
 * It is a faster way, never the only one: where no grant can be had or used, `copy` stops short and
 * the caller sends the rest inline. One file is copied at a time; others wait in line.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';
import { type CopyInResult, native } from '../base/addon.ts';
import { crc32c } from '../base/crc32c.ts';
import { nowMs, remainingMs, within } from '../base/deadline.ts';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Connection } from '../protocol/connection.ts';
import type { Session, Wait } from './session.ts';
import type { Place } from './window.ts';

/** An open file of which a part is to be copied. */
export interface CopySource {
  readonly fd: number;
  readonly offset: number;
  readonly bytes: number;
  /** A commit follows: write-back starts at once, delivery need not. */
  readonly willCommit: boolean;
}

/** One block that lies in the spool now: `at` bytes behind the source's offset. */
export type OnBlock = (
  at: number,
  bytes: number,
  crc: number,
  place: Place,
) => Promise<void> | undefined;

interface Grant {
  readonly connection: Connection;
  readonly segment: number;
  readonly file: string;
  readonly handle: FileHandle;
  next: number;
  readonly end: number;
}

interface Copied {
  readonly grant: Grant;
  /** Bytes behind the source's offset. */
  readonly at: number;
  /** Where they lie now. */
  readonly from: number;
  readonly result: CopyInResult;
}

/** What has been copied and not named yet, in order. */
interface Unnamed {
  readonly pieces: Copied[];
  /** When the first of them came. */
  sinceMs: number;
}

/** Asked for at least, so that a tree of middling files does not ask for each of them. */
const GRANT_BYTES_MIN = 8 * limits.payloadBytesMax;
/** Of a stream nobody knows the length. */
const STREAM_GRANT_BYTES = 16 * limits.payloadBytesMax;
/** So many grants with unnamed bytes are named: the server keeps them beside the one in use. */
const UNNAMED_GRANTS_MAX = limits.grantsPerConnectionMax - 1;

export class LocalPath {
  readonly #session: Session;
  #grant: Grant | null = null;
  /** Set once grants turn out to be of no use here. */
  #given = true;
  /** The end of the line of those who copy. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(session: Session) {
    this.#session = session;
  }

  /** Is it worth trying? */
  get isOpen(): boolean {
    return native !== null && this.#given && isAbsolute(this.#session.welcome.spoolDirectory);
  }

  /**
   * Copies a part of a file and hands over each block. Returns how many bytes were handed over:
   * fewer when the source ends early, or when the rest has to go inline.
   * @throws KangarooError LOCAL_FILE when the source cannot be read; NOT_YET, INTERRUPTED
   */
  async copy(source: CopySource, onBlock: OnBlock, wait: Wait): Promise<number> {
    return await this.#inLine(wait, () => this.#copyInPieces(source, onBlock, wait));
  }

  /**
   * Writes the beginning of a block of memory, all of it where the grant has the room, and hands it
   * over. Returns how many bytes; 0: it has to go inline.
   */
  async write(block: Uint8Array, onBlock: OnBlock, wait: Wait): Promise<number> {
    return await this.#inLine(wait, async () => {
      const grant = await this.#grantFor(STREAM_GRANT_BYTES, wait);
      if (grant === null) return 0;
      const offset = grant.next;
      const part = block.subarray(0, grant.end - offset);
      try {
        await writeFully(grant.handle, part, offset);
      } catch {
        this.#given = false;
        return 0;
      }
      if (grant.connection !== this.#session.connection) return 0;
      grant.next = offset + part.length;
      const place = { segment: grant.segment, offset, file: grant.file };
      await onBlock(0, part.length, crc32c(part), place);
      return part.length;
    });
  }

  async close(): Promise<void> {
    this.#given = false;
    await this.#last;
    await this.#drop();
  }

  async #inLine<T>(wait: Wait, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    let leave: () => void = () => {};
    this.#last = new Promise<void>((resolve) => {
      leave = resolve;
    });
    try {
      await within(before, wait.deadline, 'put: other files are copied first', wait.signal);
    } catch (error) {
      // Who came later still waits for those before.
      void before.then(leave);
      throw error;
    }
    try {
      return await work();
    } finally {
      leave();
    }
  }

  async #copyInPieces(source: CopySource, onBlock: OnBlock, wait: Wait): Promise<number> {
    const unnamed: Unnamed = { pieces: [], sinceMs: 0 };
    let named = 0;
    const name = async (): Promise<void> => {
      for (const copied of unnamed.pieces.splice(0)) {
        if (!this.#isValid(copied)) break;
        named += copied.result.bytes;
        await handOver(copied, onBlock);
      }
      this.#session.flush();
    };
    for (let running = this.#copyPiece(source, 0, wait); ;) {
      const copied = await this.#next(running, unnamed, name);
      if (copied === null) return named;
      const copiedTo = named + unnamed.pieces.reduce((sum, piece) => sum + piece.result.bytes, 0);
      // A copy under a grant that has ended is in nobody's spool: once more.
      if (copied.at !== copiedTo || !this.#isValid(copied)) {
        unnamed.pieces.length = 0;
        running = this.#copyPiece(source, named, wait);
        continue;
      }
      const { bytes, stop } = copied.result;
      const end = copiedTo + bytes;
      if (unnamed.pieces.push(copied) === 1) unnamed.sinceMs = nowMs();
      const over = end >= source.bytes || stop !== 'length';
      if (!over) running = this.#copyPiece(source, end, wait);
      // Its failure is met above, unless the heads fail first.
      running.catch(() => {});
      if (over || !source.willCommit || isMuch(unnamed)) await name();
      if (!over) continue;
      if (stop === 'deadline') throw new KangarooError('NOT_YET', 'put: the time ran out');
      if (named === end) return named;
      running = this.#copyPiece(source, named, wait);
    }
  }

  /** The next piece; what has waited for its name long enough is named meanwhile. */
  async #next(
    running: Promise<Copied | null>,
    unnamed: Unnamed,
    name: () => Promise<void>,
  ): Promise<Copied | null> {
    let timer: NodeJS.Timeout | undefined;
    try {
      if (unnamed.pieces.length > 0) {
        const late = new Promise<'late'>((resolve) => {
          timer = setTimeout(resolve, unnamed.sinceMs + limits.unnamedMs - nowMs(), 'late');
        });
        if ((await Promise.race([running, late])) === 'late') await name();
      }
      const copied = await running;
      // No more of it comes here: what came is named before the rest is sent in another way.
      if (copied === null) await name();
      return copied;
    } catch (error) {
      await name();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Does it lie in a grant that holds? */
  #isValid({ grant }: Copied): boolean {
    return grant.connection === this.#session.connection;
  }

  /** Copies the next piece; null when that is not possible here. */
  async #copyPiece(source: CopySource, done: number, wait: Wait): Promise<Copied | null> {
    const left = source.bytes - done;
    // What is pushed leaves as it comes, and its segments with it; what waits lies in few of them.
    const most = source.willCommit ? limits.grantBytesMax : limits.dataSegmentBytes;
    const grant = await this.#grantFor(Math.min(left, most), wait);
    if (grant === null || native === null) return null;
    const from = grant.next;
    const length = Math.min(left, limits.copyInBytes, grant.end - from);
    const { deadline, signal } = wait;
    try {
      const copy = native.copyIn({
        source: source.fd,
        sourceOffset: source.offset + done,
        target: grant.handle.fd,
        targetOffset: from,
        length,
        blockBytes: limits.payloadBytesMax,
        earlyWriteback: source.willCommit,
        ...(Number.isFinite(deadline) ? { deadlineMs: Math.ceil(remainingMs(deadline)) } : {}),
      });
      const result = await within(copy, deadline, 'put', signal);
      grant.next = from + result.bytes;
      return { grant, at: done, from, result };
    } catch (error) {
      if (error instanceof KangarooError) {
        // The copy still runs and writes where this grant would be filled next.
        await this.#drop();
        throw error;
      }
      if (!wroteBadly(error)) throw localReadError(error);
      // The segment cannot be written from here, or its disk is full: the server waits for room.
      this.#given = false;
      await this.#drop();
      return null;
    }
  }

  /** A grant of this connection with room in it; null when there is none to be had. */
  async #grantFor(bytes: number, wait: Wait): Promise<Grant | null> {
    const current = this.#grant;
    const { connection } = this.#session;
    if (current !== null) {
      if (current.connection === connection && current.next < current.end) return current;
      await this.#drop();
    }
    if (!this.isOpen) return null;
    this.#session.flush();
    const want = Math.min(Math.max(bytes, GRANT_BYTES_MIN), limits.grantBytesMax);
    return await this.#session.call(wait, async (granting) => {
      if (!this.isOpen || !isSameAccount(granting)) return null;
      const { deadline, signal } = wait;
      const options = { deadline, signal, what: 'put: room in the spool' };
      const { segment, file, offset, bytes: got } = await this.#ask(granting, want, options);
      if (got === 0) return null;
      const handle = await openSegment(file, this.#session.welcome.spoolDirectory);
      if (handle === null) {
        this.#given = false;
        return null;
      }
      const end = offset + got;
      const path = resolve(this.#session.welcome.spoolDirectory, file);
      this.#grant = { connection: granting, segment, file: path, handle, next: offset, end };
      return this.#grant;
    });
  }

  async #ask(
    connection: Connection,
    bytes: number,
    options: Wait & { readonly what: string },
  ): Promise<{ segment: number; file: string; offset: number; bytes: number }> {
    try {
      return await connection.ask('GRANT', { bytes }, 'GRANTED', options);
    } catch (error) {
      // A server that gives no grants to us takes frames; one whose disk has failed is about to
      // end, and the frames are for the next one.
      const known = error instanceof KangarooError ? error.code : null;
      const isNow = known === 'BUSY' || known === 'SPOOL_FAILED';
      if (known !== 'DENIED' && known !== 'NOT_SUPPORTED' && !isNow) throw error;
      this.#given = isNow;
      return { segment: 0, file: '', offset: 0, bytes: 0 };
    }
  }

  async #drop(): Promise<void> {
    const grant = this.#grant;
    this.#grant = null;
    await grant?.handle.close().catch(() => {});
  }
}

async function handOver({ grant, at, from, result }: Copied, onBlock: OnBlock): Promise<void> {
  const { segment, file } = grant;
  for (const [index, crc] of result.crcs.entries()) {
    const begin = index * limits.payloadBytesMax;
    const bytes = Math.min(limits.payloadBytesMax, result.bytes - begin);
    await onBlock(at + begin, bytes, crc, { segment, offset: from + begin, file });
  }
}

/** Are there too many grants, or too much time, to wait any longer with the names? */
function isMuch({ pieces, sinceMs }: Unnamed): boolean {
  const grants = new Set(pieces.map(({ grant }) => grant));
  return grants.size >= UNNAMED_GRANTS_MAX || nowMs() - sinceMs >= limits.unnamedMs;
}

/**
 * A server tells us where to write. That is only believed of one that runs under our own account,
 * which could write there itself: asked of the kernel, not of the server.
 */
function isSameAccount(connection: Connection): boolean {
  const handle = (connection.socket as unknown as { _handle?: { fd?: number } | null })._handle;
  const fd = handle?.fd;
  if (native === null || fd === undefined || fd < 0) return false;
  try {
    return native.peerCredentials(fd).uid === process.geteuid?.();
  } catch {
    return false;
  }
}

/** Null when it is not there, or not a plain file below the spool's directory. */
async function openSegment(file: string, spoolDirectory: string): Promise<FileHandle | null> {
  const path = resolve(spoolDirectory, file);
  if (!path.startsWith(`${resolve(spoolDirectory)}/`)) return null;
  const flags = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path, flags).catch(() => null);
  if (handle === null) return null;
  const facts = await handle.stat().catch(() => null);
  if (facts?.isFile() === true) return handle;
  await handle.close();
  return null;
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

/** copyIn names the system call that failed: the target's is pwrite. */
function wroteBadly(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'syscall' in error
    ? error.syscall === 'pwrite'
    : true;
}

function localReadError(error: unknown): KangarooError {
  const why = errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
  return new KangarooError('LOCAL_FILE', `cannot be read: ${why}`, { cause: error });
}
