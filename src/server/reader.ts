/**
 * Reads at this hop: the spooled operations laid over what is beneath, which is the export
 * directory for this server's own name and the next hop for every other.
 *
 * A read is answered from the spool alone where that is enough. Where the next hop is needed, it is
 * asked after the spool was looked at; an operation that left the spool in between is seen there,
 * and if its bytes were to be used from here the read starts over, so that nobody sees older bytes
 * after newer ones (invariant I4). A path that a pending rename moved waits for that rename.
 */
import { type Deadline, toWireMs } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Connection } from '../protocol/connection.ts';
import { decodeMessage, FOUND_KIND, type Message, MESSAGES } from '../protocol/messages.ts';
import { formatAddress } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import { type FileOverlay, sizeOver } from '../spool/extents.ts';
import type { Spool } from '../spool/spool.ts';
import type { Known, Sight } from '../spool/view.ts';
import { readError } from './refusal.ts';
import type { Storage } from './storage.ts';

export interface Facts {
  readonly kind: number;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly pendingBytes: number;
}

export interface ListedEntry {
  readonly name: string;
  readonly kind: number;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
}

/** What is beneath the spool. */
export interface Beneath {
  /**
   * `isNeeded` false: who asks can do without, and is told NOT_YET at once while it is known that
   * nobody answers.
   */
  stat(path: string, deadline: Deadline, isNeeded: boolean): Promise<Facts | null>;
  /** Bytes of the range, short at the end of the file, and the file's size. */
  read(path: string, offset: number, length: number, deadline: Deadline): Promise<Buffer | null>;
  list(
    path: string,
    after: string,
    max: number,
    deadline: Deadline,
  ): Promise<{ readonly entries: readonly ListedEntry[]; readonly more: boolean }>;
}

/**
 * The export directory, which is that of server `name`, as what is beneath. What its file system
 * refuses is told as refusal.ts says.
 */
export function beneathStorage(name: string, storage: Storage): Beneath {
  const told = async <T>(path: string, work: () => T | Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw readError(error, formatAddress(name, path));
    }
  };
  return {
    stat: async (path) =>
      await told(path, () => {
        const found = storage.stat(path);
        return found === null ? null : { ...found, pendingBytes: 0 };
      }),
    read: async (path, offset, length) =>
      await told(path, () => {
        return storage.stat(path) === null ? null : storage.read(path, offset, length);
      }),
    list: async (path, after, max) => await told(path, () => storage.list(path, after, max)),
  };
}

type WithConnection = <T>(
  deadline: Deadline,
  work: (connection: Connection) => Promise<T>,
) => Promise<T>;

/**
 * The next hop as what is beneath. `lookup` and `withConnection` find it, and again if the link
 * breaks; a lookup does not wait long for a hop that is away. `isJustAway`: it would wait in vain.
 */
export function beneathHop(
  name: string,
  hops: number,
  lookup: WithConnection,
  withConnection: WithConnection,
  isJustAway: () => boolean,
): Beneath {
  const orNull = async <T>(work: Promise<T>): Promise<T | null> => {
    try {
      return await work;
    } catch (error) {
      if (error instanceof KangarooError && error.code === 'NOT_FOUND') return null;
      throw error;
    }
  };
  return {
    stat: async (path, deadline, isNeeded) => {
      if (!isNeeded && isJustAway()) throw new KangarooError('NOT_YET', `${name} is away`);
      return await orNull(
        lookup(deadline, async (connection) => {
          const timeoutMs = toWireMs(deadline);
          return await connection.ask('STAT', { name, path, timeoutMs, hops }, 'FOUND', {
            deadline,
            what: formatAddress(name, path),
          });
        }),
      );
    },
    read: async (path, offset, length, deadline) =>
      await orNull(
        withConnection(deadline, async (connection) => {
          const parts: Buffer[] = [];
          const request = { name, path, offset, length, timeoutMs: toWireMs(deadline), hops };
          await connection.ask('GET', request, 'FOUND', {
            deadline,
            what: formatAddress(name, path),
            onPart: (frame) => {
              if (frame.type === MESSAGES.DATA.type) {
                parts.push(decodeMessage('DATA', frame).bytes);
              }
            },
          });
          // A copy less where one part is all.
          return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
        }),
      ),
    list: async (path, after, max, deadline) =>
      await lookup(deadline, async (connection) => {
        const request = { name, path, after, max, timeoutMs: toWireMs(deadline), hops };
        const what = formatAddress(name, path);
        return await connection.ask('LIST', request, 'LISTED', { deadline, what });
      }),
  };
}

export class Reader {
  readonly #spool: Spool;
  /** Makes the operations with these numbers go first, and waits until they have left. */
  readonly #settle: (seqs: readonly number[], deadline: Deadline) => Promise<void>;

  constructor(
    spool: Spool,
    settle: (seqs: readonly number[], deadline: Deadline) => Promise<void>,
  ) {
    this.#spool = spool;
    this.#settle = settle;
  }

  /** Waits until the renames with these numbers have left. @throws KangarooError NOT_YET */
  async settle(seqs: readonly number[], deadline: Deadline): Promise<void> {
    await this.#settle(seqs, deadline);
  }

  /** @throws KangarooError NOT_FOUND, NOT_YET */
  async stat(name: string, path: string, beneath: Beneath, deadline: Deadline): Promise<Facts> {
    for (;;) {
      const sight = this.#spool.view(name).lookup(path);
      if (sight.known === 'absent') throw notFound(name, path);
      if (sight.beneath === 'unsettled' && !isSelfContained(sight)) {
        await this.#settle(sight.settle, deadline);
        continue;
      }
      // Before the next hop is asked: the overlay changes when something leaves the spool.
      const size = sizeOf(sight);
      const asksBase = sight.beneath === 'natural' && !saysAll(sight);
      // Of a file the size counts.
      const isNeeded = sight.known !== 'directory';
      const base = asksBase
        ? await beneath.stat(path, deadline, isNeeded).catch((error: unknown) => {
            // What was put here is there, whatever lies beneath.
            if (sight.known !== 'unknown' && isAway(error)) return null;
            throw error;
          })
        : null;
      if (base === null && sight.known === 'unknown') throw notFound(name, path);
      return merge(sight, size, base);
    }
  }

  /** Bytes of [offset, offset + length), short at the end of the file. */
  async read(
    name: string,
    path: string,
    offset: number,
    length: number,
    beneath: Beneath,
    deadline: Deadline,
  ): Promise<Buffer> {
    for (;;) {
      const sight = this.#spool.view(name).lookup(path);
      if (sight.known === 'absent') throw notFound(name, path);
      if (sight.known === 'directory') {
        throw new KangarooError('IS_DIRECTORY', `${formatAddress(name, path)}: is a directory`);
      }
      const plan = planOf(sight, offset, length);
      const needsBase = plan.some(({ from }) => from === 'base');
      if (needsBase && sight.beneath === 'unsettled') {
        await this.#settle(sight.settle, deadline);
        continue;
      }
      const size = sizeOf(sight);
      const used = plan.flatMap((piece) => (piece.from === 'operation' ? [piece.op as Entry] : []));
      const base = needsBase ? await this.#readBase(plan, path, beneath, deadline) : null;
      if (base === null && sight.known === 'unknown' && needsBase) throw notFound(name, path);
      let bytes: Buffer | null = null;
      try {
        bytes = isAllOf(plan, base, length)
          ? base.bytes
          : await this.#assemble(plan, offset, length, base);
      } catch (error) {
        // Its bytes are gone, for it has arrived.
        if (!used.some((entry) => entry.released)) throw error;
      }
      // An operation that has left meanwhile may be covered by a newer one that has left as well.
      if (bytes === null || used.some((entry) => entry.released)) continue;
      const end = size(base?.end ?? 0);
      return bytes.subarray(0, Math.max(0, Math.min(length, end - offset)));
    }
  }

  /** Names after `after` in byte order, at most `max`. */
  async list(
    name: string,
    path: string,
    after: string,
    max: number,
    beneath: Beneath,
    deadline: Deadline,
  ): Promise<{ readonly entries: ListedEntry[]; readonly more: boolean }> {
    for (;;) {
      const sight = this.#spool.view(name).list(path, after);
      if (sight.known === 'absent') throw notFound(name, path);
      if (sight.known === 'file') {
        throw new KangarooError('NOT_DIRECTORY', `${formatAddress(name, path)}: is a file`);
      }
      if (sight.beneath === 'unsettled' && !sight.complete) {
        await this.#settle(sight.settle, deadline);
        continue;
      }
      // Beneath, a child that was renamed may have either name, or a size of its own.
      const settle = [...sight.entries.values()]
        .filter((child) => child.beneath === 'unsettled' && !isSelfContained(child))
        .flatMap((child) => child.settle);
      if (settle.length > 0) {
        await this.#settle([...new Set(settle)], deadline);
        continue;
      }
      const asksBase = sight.beneath === 'natural' && !sight.complete;
      const sizes = new Map([...sight.entries].map(([child, one]) => [child, sizeOf(one)]));
      const page = asksBase
        ? await this.#listBase(path, after, max, beneath, deadline, sight.known)
        : NONE;
      const merged = new Map(page.entries.map((entry) => [entry.name, entry]));
      const last = page.more ? (page.entries.at(-1)?.name ?? after) : null;
      for (const [child, pending] of sight.entries) {
        if (last !== null && child > last) continue;
        const base = merged.get(child) ?? null;
        if (pending.known === 'absent' || (pending.known === 'unknown' && base === null)) {
          merged.delete(child);
        } else {
          const size = sizes.get(child) ?? ((baseSize: number) => baseSize);
          merged.set(child, { name: child, ...merge(pending, size, base) });
        }
      }
      const entries = [...merged.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      if (entries.length === 0 && last !== null) {
        // All of that page is gone here: the asker could not say where to go on.
        after = last;
        continue;
      }
      return { entries: entries.slice(0, max), more: page.more || entries.length > max };
    }
  }

  async #listBase(
    path: string,
    after: string,
    max: number,
    beneath: Beneath,
    deadline: Deadline,
    known: Known,
  ): Promise<{ readonly entries: readonly ListedEntry[]; readonly more: boolean }> {
    try {
      return await beneath.list(path, after, max, deadline);
    } catch (error) {
      // A directory that is only pending here need not exist there yet.
      const missing = error instanceof KangarooError && error.code === 'NOT_FOUND';
      if (missing && known === 'directory') return NONE;
      throw error;
    }
  }

  /** One request for the span of all base pieces. null: there is no such file there. */
  async #readBase(
    plan: readonly PlanPiece[],
    path: string,
    beneath: Beneath,
    deadline: Deadline,
  ): Promise<{ readonly start: number; readonly bytes: Buffer; readonly end: number } | null> {
    const pieces = plan.filter(({ from }) => from === 'base');
    const start = pieces[0]?.start ?? 0;
    const stop = pieces.at(-1)?.end ?? 0;
    const bytes = await beneath.read(path, start, stop - start, deadline);
    if (bytes === null) return null;
    if (bytes.length > 0 || start === 0) return { start, bytes, end: start + bytes.length };
    // Behind its end: how long it is decides where the zeros of a hole begin and the file ends.
    const facts = await beneath.stat(path, deadline, true);
    return { start, bytes, end: Math.min(start, facts?.size ?? 0) };
  }

  async #assemble(
    plan: readonly PlanPiece[],
    offset: number,
    length: number,
    base: { readonly start: number; readonly bytes: Buffer } | null,
  ): Promise<Buffer> {
    const out = Buffer.alloc(length);
    for (const piece of plan) {
      const at = piece.start - offset;
      if (piece.from === 'operation') {
        const bytes = await this.#spool.readPayload(
          piece.op as Entry,
          piece.at,
          piece.end - piece.start,
        );
        bytes.copy(out, at);
      } else if (piece.from === 'base' && base !== null) {
        // It may end before the piece, or before it begins: the rest is zeros.
        out.set(base.bytes.subarray(piece.start - base.start, piece.end - base.start), at);
      }
    }
    return out;
  }
}

type PlanPiece = ReturnType<FileOverlay['plan']>[number];

const NONE = { entries: [] as ListedEntry[], more: false };

const AWAY: ReadonlySet<string> = new Set(['NOT_YET', 'UNREACHABLE', 'DISCONNECTED', 'BUSY']);

/** Says the error that what lies beneath could not be asked? */
export function isAway(error: unknown): boolean {
  return error instanceof KangarooError && AWAY.has(error.code);
}

/** Can it be answered without what is beneath? */
export function isSelfContained(sight: Sight): boolean {
  if (sight.beneath === 'none') return true;
  return sight.known === 'file' && sight.file !== null && sight.file.baseLimit === 0;
}

/**
 * Need nobody be asked for its facts? All of a file may be here and its mode not, which was given
 * when it was made: a file that has arrived, cut to nothing by what waits here.
 */
export function saysAll(sight: Sight): boolean {
  return isSelfContained(sight) && (sight.beneath !== 'natural' || sight.mode !== null);
}

/** Is what came from beneath all of the range? Then it need not be copied. */
function isAllOf<T extends { readonly bytes: Buffer }>(
  plan: readonly PlanPiece[],
  base: T | null,
  length: number,
): base is T {
  const [piece, ...others] = plan;
  return piece?.from === 'base' && others.length === 0 && base?.bytes.length === length;
}

/** What the bytes of a range are made of. */
export function planOf(sight: Sight, offset: number, length: number): PlanPiece[] {
  if (sight.file !== null) {
    return sight.file.plan(offset, length, sight.beneath === 'none' ? 0 : Infinity);
  }
  if (sight.beneath === 'none') return [];
  return [{ from: 'base', start: offset, end: offset + length }];
}

/** The file's size over a base of some size, by what is pending now. */
export function sizeOf(sight: Sight): (baseSize: number) => number {
  const isAlone = sight.beneath === 'none';
  if (sight.file === null) return (baseSize) => (isAlone ? 0 : baseSize);
  const rule = sight.file.sizeRule;
  return (baseSize) => sizeOver(rule, isAlone ? 0 : baseSize);
}

const KIND_OF = {
  absent: FOUND_KIND.absent,
  file: FOUND_KIND.file,
  directory: FOUND_KIND.directory,
} as const;

/** The facts of a path: what is pending over what is beneath. */
export function merge(
  sight: Sight,
  size: (baseSize: number) => number,
  base: ListedEntry | Facts | null,
): Facts {
  const { known } = sight;
  const kind = known === 'unknown' ? (base?.kind ?? FOUND_KIND.file) : KIND_OF[known];
  const isDirectory = kind === FOUND_KIND.directory;
  const baseSize = base !== null && base.kind === FOUND_KIND.file ? base.size : 0;
  const basePending = base !== null && 'pendingBytes' in base ? base.pendingBytes : 0;
  return {
    kind,
    size: isDirectory ? (base?.size ?? 0) : size(baseSize),
    mode: sight.mode ?? base?.mode ?? (isDirectory ? 0o777 : 0o666),
    mtimeNs: sight.mtimeNs ?? base?.mtimeNs ?? 0n,
    pendingBytes: sight.pendingBytes + basePending,
  };
}

function notFound(name: string, path: string): KangarooError {
  return new KangarooError('NOT_FOUND', `${formatAddress(name, path)}: no such file or directory`);
}

/** Bytes that one answer may carry. */
export function checkedLength(length: Message<'GET'>['length']): number {
  return Math.min(length, limits.getBytesMax);
}
