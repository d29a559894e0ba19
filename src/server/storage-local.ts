/**
 * The export directory on local disk: storage.ts's contract by way of a path jail.
 *
 * Names are changed in a directory's descriptor, files through a bounded cache of open ones, and
 * everything that changed is noted in Unsynced before it changes. The work is synchronous, because
 * it only touches the page cache and must keep the operations' order; `sync` and `read` use the
 * thread pool. A small new file is one call into the addon and is not cached.
 *
 * It asks for read permission on the directories it changes (to fsync them), and trusts the account
 * it runs as: whose operations they are was decided before they came here.
 */
import { closeSync, constants, ftruncateSync, read, readlinkSync, statfsSync } from 'node:fs';
import { promisify } from 'node:util';
import { native as addon, addonFlags, type NativeAddon } from '../base/addon.ts';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { FOUND_KIND } from '../protocol/messages.ts';
import { FLAGS, invalidPath, KIND, type Operation } from '../protocol/operation.ts';
import { errnoError } from './errno-error.ts';
import { Held } from './held.ts';
import { OpenFiles, type OpenFile } from './open-files.ts';
import { openJail, type Facts, type Jail } from './storage-jail.ts';
import * as target from './storage-target.ts';
import type { Found, FoundKind, Identity, Page, Storage, SyncFailure, Where } from './storage.ts';
import { syncByCommand } from './sync-command.ts';
import { SyncQueue } from './sync-queue.ts';
import { directoryOf, nameOf, openHeld, TurnDirectories } from './turn-directories.ts';
import { Unsynced } from './unsynced.ts';
import { writeFully } from './write-fully.ts';

const readFd = promisify(read);
const { O_DIRECTORY } = constants;
/** Of an inode number, what a safe integer has room for. */
const INODE_BITS = (1n << 52n) - 1n;

/** Opens `directory` as a destination; `native` null does without the addon. */
export function openLocalStorage(
  directory: string,
  native: NativeAddon | null = addon,
): LocalStorage {
  const syncFs = native === null ? syncByCommand : (fd: number) => native.syncFs(fd);
  return new LocalStorage(directory, openJail(directory, native), syncFs);
}

interface Bulk {
  readonly op: Operation;
  readonly file: OpenFile;
  /** A hold of its own: the cache may drop the file while the writer is at it. */
  readonly held: Held;
}

export class LocalStorage implements Storage {
  readonly #directory: string;
  readonly #jail: Jail;
  readonly #unsynced: Unsynced;
  readonly #directories: TurnDirectories;
  readonly #files = new OpenFiles(limits.openFilesMax);
  readonly #bulk = new Map<string, Bulk>();
  readonly #syncs = new SyncQueue(() => this.#syncOnce());
  #turn = 0;
  #isClosed = false;

  constructor(directory: string, jail: Jail, syncFs: (fd: number) => Promise<void>) {
    this.#directory = directory;
    this.#jail = jail;
    this.#unsynced = new Unsynced(syncFs);
    this.#directories = new TurnDirectories(jail, this.#unsynced);
    // So that the first sync covers what an earlier incarnation left behind, see unsynced.ts.
    const root = openHeld(jail, '');
    this.#unsynced.expect(root);
    root.release();
  }

  apply(op: Operation, payload: Buffer | null): void {
    this.#begin(op);
    switch (op.kind) {
      case KIND.write:
        return this.#write(op, payload);
      case KIND.mkdir:
        return this.#mkdir(op);
      case KIND.rename:
        return this.#rename(op);
      case KIND.remove:
        return this.#remove(op);
    }
  }

  openForBulk(op: Operation): { readonly fd: number } {
    this.#begin(op);
    if (this.#bulk.size >= limits.openFilesMax) throw errnoError('EMFILE', 'open', op.path);
    const file = this.#open(op);
    this.#truncate(file, op);
    this.#bulk.set(op.path, { op, file, held: file.held.retain() });
    return { fd: file.held.fd };
  }

  wrote(path: string, bytes: number): void {
    const bulk = this.#bulk.get(path);
    if (bulk === undefined) {
      throw new KangarooError('INTERNAL', `wrote without openForBulk: ${path}`);
    }
    this.#unsynced.file(bulk.held, bulk.file.path, target.saysAttributes(bulk.op));
    target.applyAttributes(this.#jail, bulk.held, bulk.op, null);
    this.#written(bulk.file, bytes);
  }

  release(path: string): void {
    const bulk = this.#bulk.get(path);
    if (bulk === undefined) return;
    this.#bulk.delete(path);
    bulk.held.release();
  }

  identity(path: string): Identity | null {
    const facts = this.#factsOf(path);
    return facts === null ? null : { dev: facts.dev, ino: facts.ino };
  }

  stat(path: string): Found | null {
    const facts = this.#factsOf(path);
    return facts === null ? null : found(facts);
  }

  where(path: string): Where | null {
    try {
      const { held, facts } = target.openForAttributes(this.#jail, checkedPath(path));
      try {
        if (target.isDirectory(facts)) return null;
        const bytes = readlinkSync(`/proc/self/fd/${held.fd}`, 'buffer');
        const file = bytes.toString('utf8');
        // A name that is no text cannot be told.
        if (!Buffer.from(file).equals(bytes)) return null;
        return { file, ino: Number(facts.ino & INODE_BITS), size: facts.size };
      } finally {
        held.release();
      }
    } catch {
      return null;
    }
  }

  async read(path: string, offset: number, length: number): Promise<Buffer> {
    const { held, facts } = target.openForAttributes(this.#jail, checkedPath(path));
    try {
      if (target.isDirectory(facts)) throw errnoError('EISDIR', 'read', path);
      const most = Math.min(length, limits.getBytesMax, Math.max(0, facts.size - offset));
      const bytes = Buffer.allocUnsafe(most);
      let done = 0;
      while (done < most) {
        const { bytesRead } = await readFd(held.fd, bytes, done, most - done, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return bytes.subarray(0, done);
    } finally {
      held.release();
    }
  }

  list(path: string, after: string, max: number): Page {
    const directory = this.#jail.openDirectory(checkedPath(path));
    try {
      // One character is one byte, so the order of strings is that of bytes.
      const names = this.#jail.names(directory).filter((name) => name > after);
      names.sort();
      const most = Math.min(max, limits.listEntriesMax);
      const entries = [];
      for (const name of names.slice(0, most)) {
        const facts = unlessAbsent(() => this.#jail.statName(directory, name));
        if (facts !== null) entries.push({ name, ...found(facts) });
      }
      return { entries, more: names.length > most };
    } finally {
      closeSync(directory);
    }
  }

  sync(): Promise<void> {
    return this.#syncs.request();
  }

  freeBytes(): number {
    const space = statfsSync(this.#directory);
    return space.bavail * space.bsize;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const path of [...this.#bulk.keys()]) this.release(path);
    this.#files.clear();
    this.#directories.forget();
    this.#unsynced.close();
    this.#jail.close();
  }

  #begin(op: Operation): void {
    checkedPath(op.path);
    checkedPath(op.path2);
    this.release(op.path);
    this.#turn = this.#directories.begin();
  }

  #write(op: Operation, payload: Buffer | null): void {
    const bytes = payload?.length ?? 0;
    if (bytes === 0 && (op.flags & (FLAGS.CREATE | FLAGS.TRUNCATE)) === 0) {
      this.#writeAttributes(op);
      return;
    }
    if (payload !== null && this.#writeNew(op, payload)) return;
    const file = this.#open(op);
    if (payload === null || bytes === 0) {
      this.#truncate(file, op);
    } else {
      this.#rewrite(file, op, payload);
      this.#written(file, bytes);
    }
    if (target.saysAttributes(op)) this.#unsynced.file(file.held, op.path, true);
    target.applyAttributes(this.#jail, file.held, op, null);
  }

  /** A small file that is not there yet, in one go. False: it is there, or too large for that. */
  #writeNew(op: Operation, payload: Buffer): boolean {
    const { path, flags } = op;
    const isSmall = payload.length > 0 && payload.length <= limits.inlinePayloadBytesMax;
    if ((flags & FLAGS.CREATE) === 0 || !isSmall || path === '') return false;
    const end = op.offset + payload.length;
    if ((flags & FLAGS.TRUNCATE) !== 0 && op.size > end) return false;
    if (this.#files.get(path) !== undefined) return false;
    const directory = this.#parent(path, flags);
    this.#unsynced.directory(directory, directoryOf(path));
    const made = this.#jail.createWhole(directory.fd, nameOf(path), {
      mode: target.modeOf(op) ?? target.firstMode(op),
      payload,
      offset: op.offset,
      finalMode: target.modeOf(op),
      mtimeNs: target.mtimeOf(op),
      atimeNs: target.atimeOf(op),
      keepOpen: !this.#unsynced.isEverything(directory.dev),
    });
    if (made === null) return false;
    if (made === 'closed') {
      this.#unsynced.everything(directory, path);
      return true;
    }
    const held = new Held(made.fd, made);
    this.#unsynced.file(held, path, true);
    held.release();
    return true;
  }

  #writeAttributes(op: Operation): void {
    const { held, facts } = target.openForAttributes(this.#jail, op.path);
    try {
      if (target.isDirectory(facts)) this.#unsynced.directory(held, op.path);
      else this.#unsynced.file(held, op.path, true);
      target.applyAttributes(this.#jail, held, op, facts);
    } finally {
      held.release();
    }
  }

  /** The open file of a write, made if it says so, and noted as changed. */
  #open(op: Operation): OpenFile {
    const { path, flags } = op;
    if (path === '') throw errnoError('EISDIR', 'open', path);
    const cached = this.#cached(path);
    if (cached !== null) {
      this.#unsynced.file(cached.held, path, false);
      return cached;
    }
    const isNew = (flags & FLAGS.CREATE) !== 0;
    const held = isNew ? this.#create(op) : target.openForWriting(this.#jail, path);
    this.#unsynced.file(held, path, isNew);
    return this.#files.add(path, held, this.#turn);
  }

  #create(op: Operation): Held {
    const { path } = op;
    const directory = this.#parent(path, op.flags);
    // Noted also when the file is there: an earlier incarnation may have made it and been killed.
    this.#unsynced.directory(directory, directoryOf(path));
    const fd = this.#jail.create(directory.fd, nameOf(path), target.firstMode(op));
    if (fd !== null) return new Held(fd, this.#jail.stat(fd));
    const existing = unlessAbsent(() => target.openForWriting(this.#jail, path));
    if (existing !== null) return existing;
    const held = target.createThroughLink(this.#jail, path, target.firstMode(op));
    this.#unsynced.everything(held, path);
    return held;
  }

  /** The cached file, if the name still stands for it; compared once a turn. */
  #cached(path: string): OpenFile | null {
    const file = this.#files.get(path);
    if (file === undefined) return null;
    if (file.checkedTurn !== this.#turn) {
      const now = unlessAbsent(() => {
        return this.#jail.statName(this.#parent(path, 0).fd, nameOf(path));
      });
      if (now?.ino !== file.held.ino || now.dev !== file.held.dev) {
        this.#files.drop(path);
        return null;
      }
      file.checkedTurn = this.#turn;
    }
    return file;
  }

  /**
   * Truncate, then the payload; where the result is the same, in the other order. ext4 writes a
   * file that was once empty out when it is closed, which makes overwriting many small files slow.
   */
  #rewrite(file: OpenFile, op: Operation, payload: Buffer): void {
    const isTruncated = (op.flags & FLAGS.TRUNCATE) !== 0;
    const writesFirst = isTruncated && op.offset <= op.size;
    if (isTruncated && !writesFirst) ftruncateSync(file.held.fd, op.size);
    writeFully(file.held.fd, payload, op.offset);
    if (writesFirst) ftruncateSync(file.held.fd, Math.max(op.size, op.offset + payload.length));
  }

  #truncate(file: OpenFile, op: Operation): void {
    if ((op.flags & FLAGS.TRUNCATE) !== 0) ftruncateSync(file.held.fd, op.size);
  }

  /** Starts write-back now and then, so that a sync has little left to wait for. */
  #written(file: OpenFile, bytes: number): void {
    file.sinceWriteback += bytes;
    if (file.sinceWriteback < limits.writebackEveryBytes) return;
    file.sinceWriteback = 0;
    this.#jail.startWriteback(file.held.fd);
  }

  #mkdir(op: Operation): void {
    const { path } = op;
    if (path === '') throw errnoError('EEXIST', 'mkdir', path);
    const above = this.#parent(path, op.flags);
    this.#unsynced.directory(above, directoryOf(path));
    try {
      this.#jail.mkdir(above.fd, nameOf(path), (op.flags & FLAGS.MODE) === 0 ? 0o777 : 0o700);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || !this.#isDirectory(path)) throw error;
      // It need not be readable then.
      if (!target.saysAttributes(op)) return;
    }
    const { held, facts } = target.openForAttributes(this.#jail, path);
    try {
      this.#unsynced.directory(held, path);
      target.applyAttributes(this.#jail, held, op, facts);
    } finally {
      held.release();
    }
  }

  /** Is it one, perhaps through a link that the jail follows? */
  #isDirectory(path: string): boolean {
    try {
      closeSync(this.#jail.open(path, addonFlags.O_PATH | O_DIRECTORY));
      return true;
    } catch {
      return false;
    }
  }

  #rename(op: Operation): void {
    const { path, path2 } = op;
    if (path === '' || path2 === '') throw errnoError('EBUSY', 'rename', path);
    const from = this.#parent(path, 0);
    const to = this.#parent(path2, op.flags);
    this.#unsynced.directory(from, directoryOf(path));
    this.#unsynced.directory(to, directoryOf(path2));
    this.release(path2);
    this.#jail.rename(from.fd, nameOf(path), to.fd, nameOf(path2));
    this.#directories.forget();
    if (path === path2) return;
    this.#files.dropTree(path2);
    this.#files.move(path, path2);
  }

  #remove(op: Operation): void {
    const { path } = op;
    if (path === '') throw errnoError('EBUSY', 'unlink', path);
    const above = unlessAbsent(() => this.#parent(path, 0));
    if (above === null) return;
    this.#unsynced.directory(above, directoryOf(path));
    const isDirectory = (op.flags & FLAGS.DIRECTORY) !== 0;
    try {
      this.#jail.remove(above.fd, nameOf(path), isDirectory);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    this.#files.dropTree(path);
    if (isDirectory) this.#directories.forget();
  }

  #parent(path: string, flags: number): Held {
    return this.#directories.get(directoryOf(path), (flags & FLAGS.PARENTS) !== 0);
  }

  #factsOf(path: string): Facts | null {
    checkedPath(path);
    return unlessAbsent(() => {
      const place = this.#jail.open(directoryOf(path), addonFlags.O_PATH | O_DIRECTORY);
      try {
        return path === '' ? this.#jail.stat(place) : this.#jail.statName(place, nameOf(path));
      } finally {
        closeSync(place);
      }
    });
  }

  async #syncOnce(): Promise<void> {
    if (this.#isClosed) throw errnoError('EBADF', 'fsync', this.#directory);
    const round = this.#unsynced.take();
    // Nobody can run a program that somebody has open for writing, execve(2) ETXTBSY: what has
    // arrived is let go with the sync that says so.
    this.#files.clear();
    const faults = await round.run();
    const [first] = faults;
    if (first === undefined) return;
    const devices = new Set(faults.map((fault) => fault.dev));
    for (const dev of devices) this.#unsynced.unsettle(dev);
    // Their descriptors have told the error and would not tell it again.
    this.#files.dropWhere((file) => devices.has(file.held.dev));
    this.#directories.forget();
    const named = faults.flatMap((fault) => fault.paths ?? []);
    const failed = faults.some((fault) => fault.paths === null) ? null : named;
    throw Object.assign(first.error as SyncFailure, { failed });
  }
}

function checkedPath(path: string): string {
  if (invalidPath(path)) throw errnoError('EINVAL', 'open', path);
  return path;
}

/** null when the name, or a directory above it, is not there. */
function unlessAbsent<T>(look: () => T): T | null {
  try {
    return look();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return null;
    throw error;
  }
}

function found(facts: Facts): Found {
  const kind: Record<number, FoundKind> = {
    [constants.S_IFREG]: FOUND_KIND.file,
    [constants.S_IFDIR]: FOUND_KIND.directory,
    [constants.S_IFLNK]: FOUND_KIND.symlink,
  };
  return {
    kind: kind[facts.mode & constants.S_IFMT] ?? FOUND_KIND.other,
    size: facts.size,
    mode: facts.mode & 0o7777,
    mtimeNs: facts.mtimeNs,
  };
}
