/**
 * The jail by openat2(2): the kernel resolves the path with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
 * and answers EXDEV where it would leave the export directory, by '..', an absolute link or a
 * directory that is moved away meanwhile.
 *
 * Symbolic links that stay below are followed. Needs the addon; see storage-jail.ts for the
 * promises and openat2(2) for the flags.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { addonFlags, type NativeAddon } from '../base/addon.ts';
import { errnoOf } from '../base/errors.ts';
import type { Facts, Jail, MadeFile, NewFile } from './storage-jail.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;
const NEW_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
const namesAtOnce = 4096;

export class KernelJail implements Jail {
  readonly #root: number;
  readonly #native: NativeAddon;

  constructor(directory: string, native: NativeAddon) {
    this.#native = native;
    this.#root = openSync(directory, O_RDONLY | O_DIRECTORY);
  }

  /** @throws ENOSYS or EPERM where openat2 cannot be used */
  probe(): void {
    closeSync(this.open('', addonFlags.O_PATH));
  }

  open(path: string, flags: number, mode = 0): number {
    return this.#native.openBeneath(this.#root, bytes(path === '' ? '.' : path), flags, mode);
  }

  openDirectory(path: string): number {
    return this.open(path, O_RDONLY | O_DIRECTORY);
  }

  openDirectoryIn(directory: number, name: string): number {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    return this.#native.openBeneath(directory, bytes(name), flags);
  }

  create(directory: number, name: string, mode: number): number | null {
    return unlessThere(() => {
      return this.#native.openBeneath(directory, bytes(name), NEW_FILE, mode);
    });
  }

  createWhole(directory: number, name: string, file: NewFile): MadeFile | 'closed' | null {
    const { mode, payload, offset, mtimeNs, atimeNs, finalMode, keepOpen } = file;
    return unlessThere(() => {
      const path = bytes(name);
      const made = this.#native.writeWholeAt(
        directory,
        path,
        NEW_FILE,
        mode,
        payload,
        offset,
        false,
        mtimeNs,
        atimeNs,
        finalMode,
        keepOpen,
      );
      return made ?? 'closed';
    });
  }

  mkdir(directory: number, name: string, mode: number): void {
    this.#native.mkdirAt(directory, bytes(name), mode);
  }

  remove(directory: number, name: string, isDirectory: boolean): void {
    this.#native.unlinkAt(directory, bytes(name), isDirectory);
  }

  rename(directory: number, name: string, newDirectory: number, newName: string): void {
    this.#native.renameAt(directory, bytes(name), newDirectory, bytes(newName));
  }

  statName(directory: number, name: string): Facts {
    return this.#native.statAt(directory, bytes(name));
  }

  stat(fd: number): Facts {
    return this.#native.statFd(fd);
  }

  setMode(fd: number, mode: number): void {
    this.#native.chmodFd(fd, mode);
  }

  setTimes(fd: number, atimeNs: bigint | null, mtimeNs: bigint | null): void {
    this.#native.utimensFd(fd, atimeNs, mtimeNs);
  }

  names(directory: number): string[] {
    const names: string[] = [];
    for (let restart = true; ; restart = false) {
      const entries = this.#native.readDirFd(directory, namesAtOnce, restart);
      if (entries.length === 0) return names;
      for (const entry of entries) names.push(entry.name.toString('latin1'));
    }
  }

  startWriteback(fd: number): void {
    this.#native.syncFileRange(fd, 0, 0, addonFlags.SYNC_FILE_RANGE_WRITE);
  }

  close(): void {
    closeSync(this.#root);
  }
}

function bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

function unlessThere<T>(make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return null;
    throw error;
  }
}
