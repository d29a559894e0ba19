/**
 * The destination's open files: write descriptors by path, the least recently used closed first.
 *
 * At most `max` of them. A name can get another file behind our back, so an entry is only believed
 * for the turn of the event loop in which it was compared with the name; the storage does the
 * comparing. Letting go of an entry closes nothing that a sync or a bulk writer still holds.
 */
import type { Held } from './held.ts';

export interface OpenFile {
  /** Where it lies now: changes with a rename. */
  path: string;
  readonly held: Held;
  /** The turn in which the path was last seen to name this file; -1: never. */
  checkedTurn: number;
  /** Bytes written since write-back was started last. */
  sinceWriteback: number;
}

export class OpenFiles {
  readonly #max: number;
  /** In the order of use, the oldest first. */
  readonly #files = new Map<string, OpenFile>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#files.size;
  }

  get(path: string): OpenFile | undefined {
    const file = this.#files.get(path);
    if (file !== undefined) {
      this.#files.delete(path);
      this.#files.set(path, file);
    }
    return file;
  }

  /** Takes over one hold of `held`. There must be no file of that path, see get and drop. */
  add(path: string, held: Held, turn: number): OpenFile {
    if (this.#files.size >= this.#max) {
      const oldest = this.#files.keys().next().value;
      if (oldest !== undefined) this.drop(oldest);
    }
    const file = { path, held, checkedTurn: turn, sinceWriteback: 0 };
    this.#files.set(path, file);
    return file;
  }

  drop(path: string): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    this.#files.delete(path);
    file.held.release();
  }

  /** Drops the path and everything below it. */
  dropTree(path: string): void {
    for (const key of this.#tree(path)) this.drop(key);
  }

  /** Follows a rename of the path, and of everything below it. */
  move(from: string, to: string): void {
    for (const key of this.#tree(from)) {
      const file = this.#files.get(key) as OpenFile;
      this.#files.delete(key);
      file.path = to + key.slice(from.length);
      file.checkedTurn = -1;
      this.drop(file.path);
      this.#files.set(file.path, file);
    }
  }

  /** Drops every file that `isHit` picks, for descriptors that are no longer to be used. */
  dropWhere(isHit: (file: OpenFile) => boolean): void {
    for (const file of [...this.#files.values()]) {
      if (isHit(file)) this.drop(file.path);
    }
  }

  clear(): void {
    this.dropWhere(() => true);
  }

  #tree(path: string): string[] {
    const below = `${path}/`;
    return [...this.#files.keys()].filter((key) => key === path || key.startsWith(below));
  }
}
