/**
 * What the destination has in the page cache and not yet on disk, and how it gets there.
 *
 * For each file system: either a few files and directories by their descriptors, which are fsynced
 * one by one, or "everything", when they became more than limits.fsyncFilesMax and one syncfs(2) is
 * cheaper. The first sync on a file system after the start is always a syncfs: an incarnation that
 * was killed may have left names and bytes in the page cache which this one is told are done.
 *
 * Every descriptor was opened before the change it stands for, so that a write error since then is
 * reported to it (fsync(2), Linux 4.13; for syncfs 5.8). It follows renames by itself. A round
 * takes all there is and leaves the list empty; when it fails, its descriptors are not asked again.
 * A syncfs also fails for a write error of somebody else on that file system, and waits for their
 * bytes: what is applied again then was good already.
 */
import { fdatasync, fsync } from 'node:fs';
import { promisify } from 'node:util';
import { limits } from '../base/limits.ts';
import type { Held } from './held.ts';

const fsyncFd = promisify(fsync);
const fdatasyncFd = promisify(fdatasync);

interface Item {
  readonly held: Held;
  readonly path: string;
  readonly isDirectory: boolean;
  /** fsync, not fdatasync: it is new, or its mode or times changed. */
  whole: boolean;
}

/** One file system, from the first change on it to the next sync. */
interface Device {
  readonly held: Held;
  readonly dev: bigint;
  everything: boolean;
  /** By inode; none of them when `everything`. */
  readonly items: Map<bigint, Item>;
  /** With `everything`: what was changed, for the report of a failure. null: too many. */
  names: Set<string> | null;
}

/** One sync that failed: what it was for, null for too many to name, and where. */
export interface SyncFault {
  readonly error: unknown;
  readonly paths: readonly string[] | null;
  readonly dev: bigint;
}

export interface Round {
  /** Never rejects; empty when all is on stable storage. */
  run(): Promise<SyncFault[]>;
}

export class Unsynced {
  readonly #syncFs: (fd: number) => Promise<void>;
  /** File systems that this incarnation has synced completely once. */
  readonly #settled = new Set<bigint>();
  #devices = new Map<bigint, Device>();

  constructor(syncFs: (fd: number) => Promise<void>) {
    this.#syncFs = syncFs;
  }

  /**
   * Says that something on the file system of `held` is about to change. To be called before the
   * change with a descriptor just opened; the first is kept for syncfs.
   */
  expect(held: Held): void {
    this.#device(held);
  }

  /** A directory whose entries or attributes changed. */
  directory(held: Held, path: string): void {
    this.#add(held, path, true, true);
  }

  /** A file whose bytes changed; `whole` when it is new or its attributes changed too. */
  file(held: Held, path: string, whole: boolean): void {
    this.#add(held, path, false, whole);
  }

  /** Will the next sync of that file system be a syncfs? Then nothing is kept open for it. */
  isEverything(dev: bigint): boolean {
    return this.#devices.get(dev)?.everything === true;
  }

  /** Something changed that no descriptor at hand stands for. */
  everything(held: Held, path: string): void {
    const device = this.#device(held);
    this.#escalate(device);
    name(device, path);
  }

  /** After a failure: the next sync of that file system is a syncfs again. */
  unsettle(dev: bigint): void {
    this.#settled.delete(dev);
  }

  /** Takes what there is now. What is changed from here on belongs to the next round. */
  take(): Round {
    const devices = [...this.#devices.values()];
    this.#devices = new Map();
    return { run: () => this.#run(devices) };
  }

  /** Lets go of everything without syncing it. */
  close(): void {
    for (const device of this.#devices.values()) release(device);
    this.#devices = new Map();
  }

  #add(held: Held, path: string, isDirectory: boolean, whole: boolean): void {
    const device = this.#device(held);
    if (!device.everything) {
      const known = device.items.get(held.ino);
      if (known !== undefined) {
        known.whole ||= whole;
        return;
      }
      if (device.items.size < limits.fsyncFilesMax) {
        device.items.set(held.ino, { held: held.retain(), path, isDirectory, whole });
        return;
      }
      this.#escalate(device);
    }
    name(device, path);
  }

  #device(held: Held): Device {
    let device = this.#devices.get(held.dev);
    if (device === undefined) {
      device = {
        held: held.retain(),
        dev: held.dev,
        everything: !this.#settled.has(held.dev),
        items: new Map(),
        names: new Set(),
      };
      this.#devices.set(held.dev, device);
    }
    return device;
  }

  #escalate(device: Device): void {
    device.everything = true;
    for (const item of device.items.values()) {
      name(device, item.path);
      item.held.release();
    }
    device.items.clear();
  }

  async #run(devices: readonly Device[]): Promise<SyncFault[]> {
    const faults: SyncFault[] = [];
    try {
      await inLanes(devices, async (device) => {
        if (device.everything) await this.#syncDevice(device, faults);
      });
      const items = devices.flatMap((device) => [...device.items.values()]);
      // Bytes before names: a new name that survives a power cut then has its file's content.
      for (const directories of [false, true]) {
        const some = items.filter((item) => item.isDirectory === directories);
        await inLanes(some, (item) => syncItem(item, faults));
      }
    } finally {
      for (const device of devices) release(device);
    }
    return faults;
  }

  async #syncDevice(device: Device, faults: SyncFault[]): Promise<void> {
    try {
      await this.#syncFs(device.held.fd);
      this.#settled.add(device.dev);
    } catch (error) {
      const paths = device.names === null ? null : [...device.names];
      faults.push({ error, paths, dev: device.dev });
    }
  }
}

async function syncItem(item: Item, faults: SyncFault[]): Promise<void> {
  try {
    await (item.whole ? fsyncFd(item.held.fd) : fdatasyncFd(item.held.fd));
  } catch (error) {
    faults.push({ error, paths: [item.path], dev: item.held.dev });
  }
}

/** A few at a time: the thread pool is also the bulk path's, and one disk gains no more. */
async function inLanes<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const lane = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: limits.fsyncsAtOnceMax }, lane));
}

function name(device: Device, path: string): void {
  if (device.names === null) return;
  device.names.add(path);
  if (device.names.size > limits.unsyncedNamesMax) device.names = null;
}

function release(device: Device): void {
  device.held.release();
  for (const item of device.items.values()) item.held.release();
}
