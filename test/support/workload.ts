/**
 * What the client of a fault campaign does: random steps that always succeed on an empty directory,
 * so that whatever a destination refuses is a fault of the system.
 *
 * Overlapping writes of all sizes, appends, truncation, whole files as streams, write-and-rename,
 * log rotation, remove and create again, directories that come and go. Pure: random numbers and the
 * model come in, steps go out.
 */
import type { Step, Tree } from './oracle.ts';
import type { Prng } from './prng.ts';

const KiB = 1024;
const FILES = ['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7'];
/** Writes do not start behind this; a file grows a little beyond. */
const FILE_BYTES_MAX = 1024 * KiB;

const WEIGHTS = {
  write: 50,
  append: 14,
  stream: 5,
  truncate: 5,
  replace: 6,
  rotate: 5,
  move: 5,
  remove: 5,
  directory: 5,
} as const;

export class Workload {
  readonly #random: Prng;
  readonly #files: Tree;
  /** Which file a name stands for. */
  readonly #ids = new Map<string, number>();
  #lastId = 0;
  #lastName = 0;

  /** `files` is the model's, as it is after all the steps given out so far. */
  constructor(random: Prng, files: Tree) {
    this.#random = random;
    this.#files = files;
  }

  /** Steps that belong together, to be done in order; never none. */
  next(): Step[] {
    switch (this.#random.weighted(WEIGHTS)) {
      case 'write':
        return [this.#write(this.#random.pick(FILES))];
      case 'append': {
        const path = this.#random.pick(FILES);
        return [this.#put(path, this.#size(path), this.#length())];
      }
      case 'stream':
        return [this.#stream(this.#random.pick(FILES))];
      case 'truncate':
        return this.#truncate();
      case 'replace':
        return this.#replace();
      case 'rotate':
        return this.#rotate();
      case 'move':
        return this.#move();
      case 'remove':
        return this.#remove();
      case 'directory':
        return this.#directory();
    }
  }

  #write(path: string): Step {
    return this.#put(path, this.#random.below(FILE_BYTES_MAX), this.#length());
  }

  #put(path: string, offset: number, length: number): Step {
    const at = Math.min(offset, FILE_BYTES_MAX, this.#size(path) + 64 * KiB);
    return { do: 'write', path, file: this.#id(path), offset: at, length };
  }

  #stream(path: string): Step {
    const random = this.#random;
    const length = random.chance(0.2) ? random.below(2500 * KiB) : random.below(200 * KiB);
    return { do: 'stream', path, file: this.#id(path), length };
  }

  #truncate(): Step[] {
    const path = this.#existing();
    if (path === null) return [this.#write('f0')];
    return [{ do: 'truncate', path, size: this.#random.below(this.#size(path) + 10 * KiB) }];
  }

  /** Write under a temporary name, then rename over the file. */
  #replace(): Step[] {
    const path = this.#random.chance(0.5) ? 'new.tmp' : `new.${(this.#lastName += 1)}`;
    const first = this.#put(path, 0, this.#length());
    const more = this.#random.chance(0.5) ? [this.#put(path, 100, this.#length())] : [];
    return [first, ...more, this.#rename(path, this.#random.pick(FILES))];
  }

  /** log.1 becomes log.2, log becomes log.1, and a new log begins. */
  #rotate(): Step[] {
    const steps: Step[] = [];
    if (this.#files.has('log.1')) steps.push(this.#rename('log.1', 'log.2'));
    if (this.#files.has('log')) steps.push(this.#rename('log', 'log.1'));
    steps.push(this.#put('log', 0, this.#random.between(1, 8 * KiB)));
    return steps;
  }

  /** a becomes b, b becomes c, and there may be a new a. */
  #move(): Step[] {
    const from = this.#existing();
    if (from === null) return [this.#write('f1')];
    const [middle, to] = [this.#random.pick(FILES), this.#random.pick(FILES)];
    if (middle === from || to === middle) return [this.#write(from)];
    const steps = [this.#rename(from, middle), this.#rename(middle, to)];
    if (this.#random.chance(0.5)) steps.push(this.#put(from, 0, this.#length()));
    return steps;
  }

  #remove(): Step[] {
    const path = this.#existing();
    if (path === null) return [this.#write('f2')];
    this.#ids.delete(path);
    const steps: Step[] = [{ do: 'remove', path }];
    if (this.#random.chance(0.5)) {
      steps.push({ do: 'write', path, file: this.#id(path), offset: 0, length: this.#length() });
    }
    return steps;
  }

  /** A directory with a file, which moves out before the directory goes; some go twice. */
  #directory(): Step[] {
    const path = `d${this.#random.below(3)}`;
    const inside = `${path}/x`;
    const steps: Step[] = [
      { do: 'mkdir', path },
      { do: 'write', path: inside, file: this.#id(inside), offset: 0, length: this.#length() },
    ];
    if (this.#random.chance(0.5)) steps.push(this.#rename(inside, this.#random.pick(FILES)));
    else {
      this.#ids.delete(inside);
      steps.push({ do: 'remove', path: inside });
    }
    steps.push({ do: 'rmdir', path });
    return steps;
  }

  #rename(path: string, to: string): Step {
    this.#ids.set(to, this.#id(path));
    this.#ids.delete(path);
    return { do: 'rename', path, to };
  }

  #existing(): string | null {
    const there = FILES.filter((path) => this.#files.has(path));
    return there.length === 0 ? null : this.#random.pick(there);
  }

  #size(path: string): number {
    return this.#files.get(path)?.length ?? 0;
  }

  #id(path: string): number {
    let id = this.#ids.get(path);
    if (id === undefined) {
      id = this.#lastId += 1;
      this.#ids.set(path, id);
    }
    return id;
  }

  /** Mostly small, sometimes too large for the log (64 KiB), at times a whole block (1 MiB). */
  #length(): number {
    const random = this.#random;
    if (random.chance(0.7)) return random.between(1, 8 * KiB);
    if (random.chance(0.7)) return random.between(1, 64 * KiB);
    return random.chance(0.8) ? random.between(64 * KiB, 300 * KiB) : 1024 * KiB;
  }
}
