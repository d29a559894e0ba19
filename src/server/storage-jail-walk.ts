/**
 * The jail without the addon: a path is walked component by component, each opened by O_NOFOLLOW in
 * the descriptor of the one before, by way of /proc/self/fd/N/component.
 *
 * The kernel resolves /proc/self/fd/N to the directory that is open there, whatever became of its
 * name, so the walk cannot be led elsewhere. No symbolic link is followed, not even one that stays
 * below: ELOOP. Costs one open for each component; times are kept within a microsecond (before
 * 1970: a millisecond), which is what Node's calls give. Needs /proc. See storage-jail.ts for the
 * promises.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  futimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  type BigIntStats,
} from 'node:fs';
import { addonFlags } from '../base/addon.ts';
import { errnoOf } from '../base/errors.ts';
import { errnoError } from './errno-error.ts';
import type { Facts, Jail, MadeFile, NewFile } from './storage-jail.ts';
import { writeFully } from './write-fully.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } =
  constants;
const { O_PATH } = addonFlags;
const NEW_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

export class WalkJail implements Jail {
  readonly #root: number;

  constructor(directory: string) {
    this.#root = openSync(directory, O_RDONLY | O_DIRECTORY);
  }

  open(path: string, flags: number, mode = 0): number {
    // A descriptor of its own also for the root: one that is shared would share its sync errors.
    if (path === '') return openSync(at(this.#root, '.'), flags | quiet(flags));
    const slash = path.lastIndexOf('/');
    const directory = slash < 0 ? this.#root : this.#walk(path.slice(0, slash));
    try {
      return openHere(directory, path.slice(slash + 1), flags, mode);
    } finally {
      if (directory !== this.#root) closeSync(directory);
    }
  }

  openDirectory(path: string): number {
    return this.open(path, O_RDONLY | O_DIRECTORY);
  }

  openDirectoryIn(directory: number, name: string): number {
    return openHere(directory, name, O_RDONLY | O_DIRECTORY, 0);
  }

  create(directory: number, name: string, mode: number): number | null {
    try {
      return openSync(at(directory, name), NEW_FILE, mode);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return null;
      throw error;
    }
  }

  createWhole(directory: number, name: string, file: NewFile): MadeFile | 'closed' | null {
    const fd = this.create(directory, name, file.mode);
    if (fd === null) return null;
    try {
      writeFully(fd, file.payload, file.offset);
      if (file.finalMode !== null) fchmodSync(fd, file.finalMode);
      this.setTimes(fd, file.atimeNs, file.mtimeNs);
      if (file.keepOpen) {
        const { dev, ino } = this.stat(fd);
        return { fd, dev, ino };
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    return 'closed';
  }

  mkdir(directory: number, name: string, mode: number): void {
    mkdirSync(at(directory, name), mode);
  }

  remove(directory: number, name: string, isDirectory: boolean): void {
    if (isDirectory) rmdirSync(at(directory, name));
    else unlinkSync(at(directory, name));
  }

  rename(directory: number, name: string, newDirectory: number, newName: string): void {
    renameSync(at(directory, name), at(newDirectory, newName));
  }

  statName(directory: number, name: string): Facts {
    return facts(lstatSync(at(directory, name), { bigint: true }));
  }

  stat(fd: number): Facts {
    return facts(fstatSync(fd, { bigint: true }));
  }

  setMode(fd: number, mode: number): void {
    try {
      fchmodSync(fd, mode);
    } catch (error) {
      // fchmod refuses an O_PATH descriptor; its name in /proc reaches the same file.
      if (errnoOf(error) !== 'EBADF') throw error;
      chmodSync(`/proc/self/fd/${fd}`, mode);
    }
  }

  setTimes(fd: number, atimeNs: bigint | null, mtimeNs: bigint | null): void {
    if (atimeNs === null && mtimeNs === null) return;
    const now = fstatSync(fd, { bigint: true });
    futimesSync(fd, seconds(atimeNs ?? now.atimeNs), seconds(mtimeNs ?? now.mtimeNs));
  }

  names(directory: number): string[] {
    return readdirSync(`/proc/self/fd/${directory}`, { encoding: 'latin1' });
  }

  startWriteback(): void {
    // Node has no call for it; the sync then has more to do.
  }

  close(): void {
    closeSync(this.#root);
  }

  /** An O_PATH descriptor of the directory, which the caller closes. */
  #walk(path: string): number {
    let directory = this.#root;
    for (const component of path.split('/')) {
      const above = directory;
      try {
        directory = openHere(above, component, O_PATH | O_DIRECTORY, 0);
      } finally {
        if (above !== this.#root) closeSync(above);
      }
    }
    return directory;
  }
}

function openHere(directory: number, name: string, flags: number, mode: number): number {
  try {
    return openSync(at(directory, name), flags | O_NOFOLLOW | quiet(flags), mode);
  } catch (error) {
    // With O_DIRECTORY a link is ENOTDIR, which would send people to look for a file.
    if (errnoOf(error) !== 'ENOTDIR' || !isLink(directory, name)) throw error;
    throw errnoError('ELOOP', 'open', name);
  }
}

function isLink(directory: number, name: string): boolean {
  return lstatSync(at(directory, name), { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

/** O_PATH takes no other flags but O_DIRECTORY and O_NOFOLLOW. */
function quiet(flags: number): number {
  return (flags & O_PATH) === 0 ? O_NONBLOCK | O_NOCTTY : 0;
}

function at(directory: number, name: string): Buffer {
  return Buffer.from(`/proc/self/fd/${directory}/${name}`, 'latin1');
}

/** What futimes takes. A negative number would mean "now" to Node; a Date is taken as it is. */
function seconds(ns: bigint): number | Date {
  return ns < 0n ? new Date(Number(ns / 1_000_000n)) : Number(ns) / 1e9;
}

function facts(stat: BigIntStats): Facts {
  return {
    mode: Number(stat.mode),
    size: Number(stat.size),
    dev: stat.dev,
    ino: stat.ino,
    mtimeNs: stat.mtimeNs,
    uid: Number(stat.uid),
  };
}
