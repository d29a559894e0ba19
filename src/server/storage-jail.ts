/**
 * The jail: how a path of a stranger becomes a descriptor below the export directory, and never
 * another one.
 *
 * Whole paths are resolved by the open calls alone, which answer with a descriptor; everything
 * else is done to one name in a directory that such a descriptor stands for, and does not follow a
 * symbolic link of that name. So nothing depends on a path meaning the same twice, and a directory
 * that is swapped for a link while an operation runs changes nothing.
 *
 * Two implementations: storage-jail-kernel.ts asks openat2(2) and follows links that stay below;
 * storage-jail-walk.ts goes component by component in plain Node and follows none. All calls are
 * synchronous and throw errno errors. Paths and names are bytes as latin1.
 */
import type { NativeAddon } from '../base/addon.ts';
import { errnoOf } from '../base/errors.ts';
import { KernelJail } from './storage-jail-kernel.ts';
import { WalkJail } from './storage-jail-walk.ts';

/** What fstat(2) says, as far as a storage needs it. */
export interface Facts {
  /** Type and permission bits. */
  readonly mode: number;
  /** Bytes. */
  readonly size: number;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  readonly uid: number;
}

/** A file that is to be made, whole, under a name that is not there yet. */
export interface NewFile {
  /** For open(2): less the umask. */
  readonly mode: number;
  readonly payload: Uint8Array;
  readonly offset: number;
  /** Past the umask, after the payload; null leaves what open gave. */
  readonly finalMode: number | null;
  /** Nanoseconds since 1970; null leaves it. */
  readonly mtimeNs: bigint | null;
  readonly atimeNs: bigint | null;
  /** Is its descriptor wanted? */
  readonly keepOpen: boolean;
}

export interface MadeFile {
  readonly fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
}

export interface Jail {
  /**
   * Opens what the path names, with open(2) flags (O_CREAT only to create through a link). Never
   * waits for a FIFO and never makes a terminal ours. '' is the export directory.
   */
  open(path: string, flags: number, mode?: number): number;
  /** Opens a directory for its names and for fsync: it must be readable. */
  openDirectory(path: string): number;
  /** The same by one name in an open directory; a symbolic link is not followed. */
  openDirectoryIn(directory: number, name: string): number;
  /** Makes a file and opens it for writing; null when there is something of that name. */
  create(directory: number, name: string, mode: number): number | null;
  /**
   * Makes a file with its payload and attributes; null when there is something of that name.
   * 'closed': it is made, and was not to be kept open.
   */
  createWhole(directory: number, name: string, file: NewFile): MadeFile | 'closed' | null;
  mkdir(directory: number, name: string, mode: number): void;
  remove(directory: number, name: string, isDirectory: boolean): void;
  rename(directory: number, name: string, newDirectory: number, newName: string): void;
  /** Of the name itself, a symbolic link not followed. */
  statName(directory: number, name: string): Facts;
  stat(fd: number): Facts;
  setMode(fd: number, mode: number): void;
  /** null leaves that time. Exact with the addon, see storage-jail-walk.ts without. */
  setTimes(fd: number, atimeNs: bigint | null, mtimeNs: bigint | null): void;
  /** All names in an open directory but '.' and '..', in no order. */
  names(directory: number): string[];
  /** A hint to begin writing the file's dirty pages to disk; nothing where it is not known how. */
  startWriteback(fd: number): void;
  close(): void;
}

/**
 * The jail of a directory of ours (a path of this machine, trusted). Takes the kernel's way when
 * there is an addon and a kernel (5.6) that knows it.
 * @throws errno errors: ENOENT, ENOTDIR, EACCES of the directory itself
 */
export function openJail(directory: string, native: NativeAddon | null): Jail {
  if (native !== null) {
    const jail = new KernelJail(directory, native);
    try {
      jail.probe();
      return jail;
    } catch (error) {
      jail.close();
      // A container's seccomp filter answers EPERM for calls that are newer than itself.
      if (!['ENOSYS', 'EPERM'].includes(errnoOf(error) ?? '')) throw error;
    }
  }
  return new WalkJail(directory);
}
