/**
 * Opening what an operation changes, and the rules about what may be opened and how it is marked.
 *
 * Regular files are opened for writing; for mode and times alone, directories too. Anything else is
 * refused, and opening it does not wait (O_NONBLOCK, in the jail). As with an NFS server, a file of
 * our own account can be written whatever its mode says: a job's file is often made read-only by
 * one operation and continued or repeated by the next, and nobody is there to type chmod.
 *
 * Set-user-ID, set-group-ID and sticky bits are not a sender's to give: a mode from an operation is
 * nine bits, and a file that is written loses the first two, as it would for any process but root.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { addonFlags } from '../base/addon.ts';
import { errnoOf } from '../base/errors.ts';
import { FLAGS, type Operation } from '../protocol/operation.ts';
import { errnoError } from './errno-error.ts';
import { Held } from './held.ts';
import type { Facts, Jail } from './storage-jail.ts';

const { O_CREAT, O_RDONLY, O_WRONLY, S_IFDIR, S_IFMT, S_IFREG } = constants;
const PERMISSIONS = 0o777;
const SET_ID_BITS = 0o6000;
const SPECIAL_BITS = 0o7000;

export function isRegular(facts: Facts): boolean {
  return (facts.mode & S_IFMT) === S_IFREG;
}

export function isDirectory(facts: Facts): boolean {
  return (facts.mode & S_IFMT) === S_IFDIR;
}

/** A new file's mode until its payload is in: no wider than what it will be. */
export function firstMode(op: Operation): number {
  return (op.flags & FLAGS.MODE) === 0 ? 0o666 : 0o600;
}

/** The mode an operation asks for, null when it says none. */
export function modeOf(op: Operation): number | null {
  return (op.flags & FLAGS.MODE) === 0 ? null : op.mode & PERMISSIONS;
}

export function mtimeOf(op: Operation): bigint | null {
  return (op.flags & FLAGS.MTIME) === 0 ? null : op.mtimeNs;
}

export function atimeOf(op: Operation): bigint | null {
  return (op.flags & FLAGS.ATIME) === 0 ? null : op.atimeNs;
}

export function saysAttributes(op: Operation): boolean {
  return (op.flags & (FLAGS.MODE | FLAGS.MTIME | FLAGS.ATIME)) !== 0;
}

/** A file that is there, open for writing. */
export function openForWriting(jail: Jail, path: string): Held {
  const fd = openAsOwner(jail, path, O_WRONLY, 0o200);
  return checked(fd, () => {
    const facts = jail.stat(fd);
    if (!isRegular(facts)) throw errnoError('EINVAL', 'open', path);
    if ((facts.mode & SET_ID_BITS) !== 0) {
      jail.setMode(fd, facts.mode & (SPECIAL_BITS | PERMISSIONS) & ~SET_ID_BITS);
    }
    return new Held(fd, facts);
  });
}

/**
 * For a name that is a symbolic link to nothing: makes what the link points to, below the jail.
 * Nobody has a descriptor of the directory that got the new name.
 */
export function createThroughLink(jail: Jail, path: string, mode: number): Held {
  const fd = jail.open(path, O_WRONLY | O_CREAT, mode);
  return checked(fd, () => {
    const facts = jail.stat(fd);
    if (!isRegular(facts)) throw errnoError('EINVAL', 'open', path);
    return new Held(fd, facts);
  });
}

/** A file or directory that is there, for its attributes; `facts` as they are now. */
export function openForAttributes(jail: Jail, path: string): { held: Held; facts: Facts } {
  const fd = openAsOwner(jail, path, O_RDONLY, 0o400);
  return checked(fd, () => {
    const facts = jail.stat(fd);
    if (!isRegular(facts) && !isDirectory(facts)) throw errnoError('EINVAL', 'open', path);
    return { held: new Held(fd, facts), facts };
  });
}

/** Mode, then times, as far as `op` says them; `facts` of a directory, null for a file. */
export function applyAttributes(jail: Jail, held: Held, op: Operation, facts: Facts | null): void {
  const mode = modeOf(op);
  const mtimeNs = mtimeOf(op);
  const atimeNs = atimeOf(op);
  if (mode !== null) {
    // A directory keeps what its owner gave it: set-group-ID there is how groups share files.
    const kept = facts !== null && isDirectory(facts) ? facts.mode & SPECIAL_BITS : 0;
    jail.setMode(held.fd, mode | kept);
  }
  if (mtimeNs !== null || atimeNs !== null) jail.setTimes(held.fd, atimeNs, mtimeNs);
}

/** Closes `fd` when what is done with it fails. */
function checked<T>(fd: number, use: () => T): T {
  try {
    return use();
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Opens; when the mode of a file of our own forbids it, lends it the permission for the moment. */
function openAsOwner(jail: Jail, path: string, flags: number, permission: number): number {
  try {
    return jail.open(path, flags);
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') throw error;
    return openWithLentPermission(jail, path, flags, permission, error);
  }
}

function openWithLentPermission(
  jail: Jail,
  path: string,
  flags: number,
  permission: number,
  denial: unknown,
): number {
  const place = jail.open(path, addonFlags.O_PATH);
  try {
    const facts = jail.stat(place);
    const isOurs = facts.uid === process.geteuid?.();
    if (!isOurs || !(isRegular(facts) || isDirectory(facts))) throw denial;
    const mode = facts.mode & (SPECIAL_BITS | PERMISSIONS);
    // Set already: then it is not the mode that denies it, and lending would change nothing.
    if ((mode & permission) === permission) throw denial;
    jail.setMode(place, mode | permission);
    try {
      return openSync(`/proc/self/fd/${place}`, flags);
    } finally {
      jail.setMode(place, mode);
    }
  } finally {
    closeSync(place);
  }
}
