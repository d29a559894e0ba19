/**
 * The contract of a destination's storage: what a server needs to deliver operations, and no more.
 *
 * An implementation takes operations one by one, in the order they are to take effect, and `sync`
 * says when they are on stable storage. It knows nothing of spools, senders or networks. Paths are
 * operation.ts's: bytes as latin1, relative, never absolute and without '..'; one that breaks
 * this is refused with EINVAL, so that a slip elsewhere is no way out of the export directory.
 * Errors are errno errors (`code` 'ENOSPC'); refusal.ts says which of them are refusals.
 *
 * test/conformance/storage.ts checks these promises for every implementation.
 */
import type { Operation } from '../protocol/operation.ts';
import type { FOUND_KIND } from '../protocol/messages.ts';

export type FoundKind = (typeof FOUND_KIND)[keyof typeof FOUND_KIND];

/** What lies under a name. */
export interface Found {
  readonly kind: FoundKind;
  /** Bytes. */
  readonly size: number;
  /** The twelve permission bits, no type. */
  readonly mode: number;
  /** Nanoseconds since 1970. */
  readonly mtimeNs: bigint;
}

export interface Entry extends Found {
  /** One component, bytes as latin1. */
  readonly name: string;
}

export interface Page {
  readonly entries: readonly Entry[];
  /** Are there names behind the last of these? */
  readonly more: boolean;
}

/** Which file it is, whatever its name: stable across renames, until it is removed. */
export interface Identity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** Where a program of this account finds the bytes of a file itself. */
export interface Where {
  /** Path of the file, text. */
  readonly file: string;
  /** Lower 52 bits of its inode number. */
  readonly ino: number;
  readonly size: number;
}

/** The rejection of `sync`: the errno error of the first sync that failed. */
export interface SyncFailure extends NodeJS.ErrnoException {
  /**
   * Paths that are known to be hit, for people to read. null: too many to name. Not for recovery,
   * which must take everything since the last sync that resolved.
   */
  failed: readonly string[] | null;
}

export interface Storage {
  /**
   * Does what a write, mkdir, rename or remove says, as far as the page cache. Returns when it is
   * done completely, or throws; then a part may have been done, nothing may be acknowledged, and
   * the same operation may be applied again. Synchronous, so that operations keep their order.
   *
   * Applying an operation twice leaves what applying it once leaves: bytes go to absolute offsets,
   * a directory that exists is made, a name that is absent is removed. Only a rename whose source
   * is gone cannot tell (ENOENT): see `identity`.
   *
   * - A write goes through its steps in order: create, truncate, payload, mode, times. Without
   *   CREATE an absent file is ENOENT. A new file gets 0666 less the umask unless MODE says more.
   * - MODE sets the nine permission bits alone. Set-user-ID, set-group-ID and sticky are never
   *   given to anything on a sender's word, and a file loses the first two when it is written; a
   *   directory keeps what its owner gave it.
   * - Mode and times of a directory can be written; its payload is EISDIR. Pipes, sockets and
   *   devices are refused with EINVAL or ENXIO, and opening them never waits.
   * - PARENTS makes missing directories above the path (of a rename: above the new path).
   * - A rename replaces a file, or an empty directory by a directory, as rename(2).
   * - A remove of a directory needs DIRECTORY (EISDIR without it) and an empty one (ENOTEMPTY).
   */
  apply(op: Operation, payload: Buffer | null): void;

  /**
   * For a writer that puts the bytes itself: the open file of `op.path`, created, truncated and
   * with its parents as `op` says. The descriptor stays valid until `release`, `apply` or another
   * `openForBulk` of the same path; it must not be closed by the caller.
   */
  openForBulk(op: Operation): { readonly fd: number };

  /**
   * The bulk writer has put `bytes` bytes; may be called several times for one open. Does the rest
   * of that operation: mode and times. What was written counts as applied only from here on.
   */
  wrote(path: string, bytes: number): void;

  /** The bulk writer needs the descriptor no more. Always call it; it is no error to repeat it. */
  release(path: string): void;

  /** Which file the name stands for, a symbolic link being one itself; null when it is absent. */
  identity(path: string): Identity | null;

  /** Bytes of a regular file; shorter at its end, empty beyond it. At most limits.getBytesMax. */
  read(path: string, offset: number, length: number): Promise<Buffer>;

  /** Of a regular file; null when there is none, or it cannot be said. */
  where(path: string): Where | null;

  /** What lies under the name, a symbolic link being one itself; null when it is absent. */
  stat(path: string): Found | null;

  /** At most `max` names behind `after` ('' for the beginning) in byte order, with their facts. */
  list(path: string, after: string, max: number): Page;

  /**
   * Resolves when everything applied before the call is on stable storage: bytes, sizes, modes,
   * times, and the entries of the directories that changed. Calls may overlap; each waits for what
   * it promises. When it rejects (SyncFailure), everything applied since the last sync that
   * resolved is in doubt, and the caller applies it again before it believes another sync: after a
   * failed fsync the kernel forgets that the pages were dirty, so asking again would say "good".
   */
  sync(): Promise<void>;

  /** Bytes that this process could still write. */
  freeBytes(): number;

  /** Closes every descriptor; what was not synced is not. */
  close(): void;
}
