/**
 * The segment files of a spool by number: one place that opens, reads and closes them.
 *
 * A bounded number is open at a time. A file that is being read stays open until the reads end, so
 * an unlink in the meantime takes nothing away from a reader. A file that is gone or too short is
 * CORRUPT. A shortage of descriptors and a read error of the disk are not: these may pass.
 */
import { close, closeSync, constants, fstatSync, openSync, read } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { dataName, logName } from './segment.ts';

const readFile = promisify(read);
const OPEN_FILES_MAX = 128;
/** Of an inode number, what a safe integer has room for. */
const INODE_BITS = (1n << 52n) - 1n;

interface OpenFile {
  readonly fd: number;
  /** Its inode number; 0: not looked at. */
  ino: number;
  users: number;
  dropped: boolean;
}

export class SegmentFiles {
  readonly directory: string;
  readonly #open = new Map<number, OpenFile>();
  readonly #isData: (number: number) => boolean;

  constructor(directory: string, isData: (number: number) => boolean) {
    this.directory = directory;
    this.#isData = isData;
  }

  path(number: number): string {
    return join(this.directory, this.#isData(number) ? dataName(number) : logName(number));
  }

  /** @throws KangarooError CORRUPT when the segment is shorter or gone, errno errors */
  async read(number: number, offset: number, length: number): Promise<Buffer> {
    const file = this.#use(number);
    try {
      const bytes = Buffer.allocUnsafe(length);
      let done = 0;
      while (done < length) {
        const left = length - done;
        const { bytesRead } = await readFile(file.fd, bytes, done, left, offset + done);
        if (bytesRead === 0) {
          throw new KangarooError('CORRUPT', `${this.path(number)} ends before ${offset + length}`);
        }
        done += bytesRead;
      }
      return bytes;
    } finally {
      this.#release(file);
    }
  }

  /** A descriptor to read from until `release`, for a native sender. */
  borrow(number: number): { readonly fd: number; readonly release: () => void } {
    const file = this.#use(number);
    return { fd: file.fd, release: () => this.#release(file) };
  }

  /** Lower 52 bits of the file's inode number. @throws as `read` */
  inode(number: number): number {
    const file = this.#use(number);
    try {
      if (file.ino === 0) {
        file.ino = Number(fstatSync(file.fd, { bigint: true }).ino & INODE_BITS);
      }
      return file.ino;
    } finally {
      this.#release(file);
    }
  }

  /** Forgets an open file, at its removal. */
  drop(number: number): void {
    const file = this.#open.get(number);
    if (file === undefined) return;
    this.#open.delete(number);
    file.dropped = true;
    if (file.users === 0) close(file.fd, () => {});
  }

  /**
   * Closes what is open of files that somebody else has removed, so that the disk gets them back.
   */
  dropRemoved(): void {
    for (const [number, { fd, users }] of this.#open) {
      if (users === 0 && fstatSync(fd).nlink === 0) this.drop(number);
    }
  }

  closeAll(): void {
    for (const number of [...this.#open.keys()]) this.drop(number);
  }

  #use(number: number): OpenFile {
    const known = this.#open.get(number);
    if (known !== undefined) {
      known.users += 1;
      this.#open.delete(number);
      this.#open.set(number, known);
      return known;
    }
    const file = { fd: this.#openFile(number), ino: 0, users: 1, dropped: false };
    this.#open.set(number, file);
    if (this.#open.size > OPEN_FILES_MAX) this.#closeOldestIdle();
    return file;
  }

  #openFile(number: number): number {
    try {
      return openSync(this.path(number), constants.O_RDONLY);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      const text = `${this.path(number)}: ${(error as Error).message}`;
      throw new KangarooError('CORRUPT', text, { cause: error });
    }
  }

  #closeOldestIdle(): void {
    for (const [number, file] of this.#open) {
      if (file.users > 0) continue;
      this.#open.delete(number);
      closeSync(file.fd);
      return;
    }
  }

  #release(file: OpenFile): void {
    file.users -= 1;
    if (file.dropped && file.users === 0) close(file.fd, () => {});
  }
}
