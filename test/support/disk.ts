/**
 * A disk whose power can be cut: an ext4 image on a loop device, mounted on a directory.
 *
 * After `cut` everything on it fails with EIO, as for a machine that has lost its disk; after
 * `remount` it has what was on stable storage and nothing else. Needs root, loop devices and a C
 * compiler; `diskComplaint` says what is missing. A test unmounts what it mounted.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './kangaroo.ts';
import { until } from './wait.ts';

const IMAGE_BYTES = 512 * 1024 * 1024;
const FREE_MS = 15_000;

/** With NOLOGFLUSH the journal is cut too; with LOGFLUSH names survive and bytes do not. */
export const CUT = { LOGFLUSH: 1, NOLOGFLUSH: 2 } as const;
export type Cut = (typeof CUT)[keyof typeof CUT];

function run(command: string, ...args: readonly string[]): string {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return '';
  return `${command} ${args.join(' ')}: ${error?.message ?? (stderr || `exit ${status}`)}`;
}

function must(complaint: string): void {
  if (complaint !== '') throw new Error(complaint);
}

/**
 * Why there can be no such disk here; null when there can. `scratch` is a directory to try it in.
 */
export function diskComplaint(scratch: string): string | null {
  if (process.getuid?.() !== 0) return 'it needs root';
  let disk: Disk | null = null;
  try {
    disk = new Disk(join(scratch, 'probe.img'), join(scratch, 'probe'), 16 * 1024 * 1024);
    disk.cut(CUT.NOLOGFLUSH);
    return null;
  } catch (error) {
    return (error as Error).message.trim();
  } finally {
    disk?.unmountNow();
  }
}

export class Disk {
  readonly image: string;
  readonly directory: string;
  readonly #godown: string;

  /** Makes the image and mounts it on `directory`. @throws Error */
  constructor(image: string, directory: string, bytes = IMAGE_BYTES) {
    this.image = image;
    this.directory = directory;
    this.#godown = `${image}.godown`;
    must(run('cc', '-O1', '-o', this.#godown, join(root, 'test/support/godown.c')));
    writeFileSync(image, '');
    truncateSync(image, bytes);
    must(run('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=1,lazy_journal_init=1', image));
    mkdirSync(directory, { recursive: true });
    must(run('mount', '-o', 'loop', image, directory));
  }

  cut(flag: Cut): void {
    must(run(this.#godown, this.directory, String(flag)));
  }

  /** Waits until nobody uses it any more, and comes back with what was on stable storage. */
  async remount(): Promise<void> {
    await until(`${this.directory} to be free`, FREE_MS, () => {
      must(run('umount', this.directory));
      return true;
    });
    must(run('mount', '-o', 'loop', this.image, this.directory));
  }

  unmountNow(): void {
    if (run('umount', this.directory) !== '') run('umount', '-l', this.directory);
  }
}
