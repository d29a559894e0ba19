/**
 * The account of a put or get of many files: what was done, what failed, what was left out, and
 * how far it is.
 *
 * Failures and skipped files are named up to limits.namedFailuresMax and counted beyond, so that a
 * tree of unreadable files cannot fill the memory. Progress is told at most every
 * limits.progressEveryMs, and once at the end. The clock is passed in.
 */
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { toDisplay } from '../route/address.ts';

/** How far a put or get is, over all its files. */
export interface Progress {
  /** The file at hand, as a person reads it. */
  readonly file: string;
  readonly files: number;
  readonly bytes: number;
  /** Null while nobody knows: directories and streams are not counted beforehand. */
  readonly totalFiles: number | null;
  readonly totalBytes: number | null;
}

/** A local file that could not be put or got whole; the others went on. */
export interface Failure {
  readonly path: string;
  readonly error: KangarooError;
}

/** A file that was left out on purpose. */
export interface Skipped {
  readonly path: string;
  readonly reason: string;
}

/** What became of it all. The lists are cut off at 10,000; the counts are not. */
export interface TreeResult {
  readonly files: number;
  readonly directories: number;
  readonly bytes: number;
  readonly failures: readonly Failure[];
  readonly failureCount: number;
  readonly skipped: readonly Skipped[];
  readonly skippedCount: number;
}

export class Tally {
  files = 0;
  directories = 0;
  bytes = 0;
  totalFiles: number | null = null;
  totalBytes: number | null = null;
  readonly #failures: Failure[] = [];
  readonly #skipped: Skipped[] = [];
  #failureCount = 0;
  #skippedCount = 0;
  #toldMs = -Infinity;
  #file = '';
  readonly #onProgress: ((progress: Progress) => void) | undefined;
  readonly #nowMs: () => number;

  constructor(onProgress: ((progress: Progress) => void) | undefined, nowMs: () => number) {
    this.#onProgress = onProgress;
    this.#nowMs = nowMs;
  }

  /** Tells how far it is, if that was not told a moment ago. `file` is path bytes. */
  at(file: string): void {
    if (this.#onProgress === undefined) return;
    this.#file = file;
    const nowMs = this.#nowMs();
    if (nowMs - this.#toldMs < limits.progressEveryMs) return;
    this.#toldMs = nowMs;
    this.#tell();
  }

  fail(path: string, error: unknown): void {
    this.#failureCount += 1;
    if (this.#failures.length < limits.namedFailuresMax) {
      this.#failures.push({ path, error: asKangarooError(error) });
    }
  }

  skip(path: string, reason: string): void {
    this.#skippedCount += 1;
    if (this.#skipped.length < limits.namedFailuresMax) this.#skipped.push({ path, reason });
  }

  /** Tells the end, and gives the account. */
  result(): TreeResult {
    if (this.#onProgress !== undefined) this.#tell();
    return {
      files: this.files,
      directories: this.directories,
      bytes: this.bytes,
      failures: this.#failures,
      failureCount: this.#failureCount,
      skipped: this.#skipped,
      skippedCount: this.#skippedCount,
    };
  }

  #tell(): void {
    const { files, bytes, totalFiles, totalBytes } = this;
    this.#onProgress?.({ file: toDisplay(this.#file), files, bytes, totalFiles, totalBytes });
  }
}

/** Is it about one local file, so that the others go on? */
export function concernsOneFile(error: unknown): boolean {
  return error instanceof KangarooError && error.code === 'LOCAL_FILE';
}
