/**
 * A local file that is being received: nothing under its name until it is whole.
 *
 * The bytes go to a temporary file in the same directory, which finish() renames and abandon()
 * removes. A process that is killed leaves at most that temporary file, `.kangaroo-…`. What is
 * there already and is no plain file (a device, a FIFO) is written to as it is, and a symbolic
 * link is followed, as cp does. Nothing is synced: a get promises what cp promises.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  futimesSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { type FileHandle, lstat, open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { native } from '../base/addon.ts';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { toDisplay } from '../route/address.ts';
import { joinLocal, localBytes, localError } from './local-file.ts';

/** Permission bits, and nanoseconds since 1970. */
export interface KeptAttributes {
  readonly mode: number;
  readonly mtimeNs: bigint;
}

export class LocalTarget {
  /** As asked for, for errors. */
  readonly #path: string;
  /** The name it gets in the end; null: it is written in place. */
  readonly #final: string | null;
  readonly #temporary: string;
  readonly #handle: FileHandle;
  #written = 0;

  private constructor(path: string, final: string | null, temporary: string, handle: FileHandle) {
    this.#path = path;
    this.#final = final;
    this.#temporary = temporary;
    this.#handle = handle;
  }

  /**
   * `path` is bytes as latin1. A new file gets `mode`, less the umask; one that is replaced hands
   * its mode on. @throws KangarooError LOCAL_FILE
   */
  static async open(path: string, mode: number): Promise<LocalTarget> {
    try {
      const there = await statOrNull(path);
      if (there?.isDirectory() === true) {
        throw new KangarooError('LOCAL_FILE', `${toDisplay(path)}: it is a directory`);
      }
      if (there !== null && !there.isFile()) {
        const handle = await open(localBytes(path), constants.O_WRONLY);
        return new LocalTarget(path, null, path, handle);
      }
      const final = there === null ? path : await followed(path);
      const temporary = temporaryFor(final);
      const handle = await open(localBytes(temporary), 'wx', (there?.mode ?? mode) & 0o777);
      const target = new LocalTarget(path, final, temporary, handle);
      if (there === null) return target;
      return await handle.chmod(there.mode & 0o777).then(
        () => target,
        async (error: unknown) => {
          await target.abandon();
          throw error;
        },
      );
    } catch (error) {
      throw localError(path, error);
    }
  }

  /** Appends. @throws KangarooError LOCAL_FILE */
  async write(bytes: Uint8Array): Promise<void> {
    // A device has no positions; a plain file needs none of ours either, but keeps its order.
    const start = this.#final === null ? null : this.#written;
    try {
      for (let done = 0; done < bytes.length;) {
        const at = start === null ? null : start + done;
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, at);
        done += bytesWritten;
      }
    } catch (error) {
      throw localError(this.#path, error);
    }
    this.#written += bytes.length;
  }

  /** Gives it its name, and mode and times where given. @throws KangarooError LOCAL_FILE */
  async finish(attributes: KeptAttributes | null): Promise<void> {
    try {
      if (attributes !== null && this.#final !== null) {
        await restore(this.#handle, attributes);
      }
      await this.#handle.close();
      if (this.#final !== null) {
        await rename(localBytes(this.#temporary), localBytes(this.#final));
      }
    } catch (error) {
      await this.abandon();
      throw localError(this.#path, error);
    }
  }

  /** Leaves nothing behind. Safe to repeat. */
  async abandon(): Promise<void> {
    await this.#handle.close().catch(() => {});
    if (this.#final !== null) await unlink(localBytes(this.#temporary)).catch(() => {});
  }
}

/**
 * A small file in one go, in seven system calls that do not wait for a thread. False, and nothing
 * done, where a link, a device or a directory is in the place: LocalTarget knows what to do then.
 * @throws KangarooError LOCAL_FILE; nothing is left behind
 */
export function writeSmallFile(path: string, bytes: Uint8Array, kept: KeptAttributes): boolean {
  let temporary: string | null = null;
  let fd = -1;
  try {
    const final = localBytes(path);
    const there = lstatSync(final, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile()) return false;
    temporary = temporaryFor(path);
    fd = openSync(localBytes(temporary), 'wx', 0o600);
    for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
    fchmodSync(fd, kept.mode === 0 ? 0o644 : kept.mode & 0o777);
    setTime(fd, kept.mtimeNs);
    closeSync(fd);
    fd = -1;
    renameSync(localBytes(temporary), final);
    return true;
  } catch (error) {
    if (fd >= 0) closeSync(fd);
    if (temporary !== null) rmSync(localBytes(temporary), { force: true });
    throw localError(path, error);
  }
}

function temporaryFor(path: string): string {
  const slash = path.lastIndexOf('/');
  const directory = slash < 0 ? '.' : path.slice(0, slash + 1);
  return joinLocal(directory, `.kangaroo-${randomBytes(6).toString('hex')}`);
}

/** Sets mode and time of a directory that has been filled. @throws KangarooError LOCAL_FILE */
export async function finishDirectory(path: string, attributes: KeptAttributes): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(localBytes(path), constants.O_RDONLY | constants.O_DIRECTORY);
    await restore(handle, attributes);
  } catch (error) {
    throw localError(path, error);
  } finally {
    await handle?.close();
  }
}

async function restore(handle: FileHandle, attributes: KeptAttributes): Promise<void> {
  const { mode, mtimeNs } = attributes;
  // 0 is what a server says that does not know it yet.
  if (mode !== 0) await handle.chmod(mode & 0o777);
  setTime(handle.fd, mtimeNs);
}

function setTime(fd: number, mtimeNs: bigint): void {
  if (mtimeNs === 0n) return;
  if (native !== null) {
    native.utimensFd(fd, mtimeNs, mtimeNs);
    return;
  }
  // A double holds today's seconds to about a quarter of a microsecond.
  const seconds = Number(mtimeNs) / 1e9;
  futimesSync(fd, seconds, seconds);
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await stat(localBytes(path));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  // A link that leads nowhere would be replaced by the rename; cp refuses it too.
  const link = await lstat(localBytes(path)).catch(() => null);
  if (link === null) return null;
  const text = `${toDisplay(path)}: it is a symbolic link that leads nowhere`;
  throw new KangarooError('LOCAL_FILE', text);
}

/** Where a symbolic link leads, so that the file there is replaced and not the link. */
async function followed(path: string): Promise<string> {
  const link = await lstat(localBytes(path));
  if (!link.isSymbolicLink()) return path;
  const target = await realpath(localBytes(path), { encoding: 'buffer' });
  return target.toString('latin1');
}
