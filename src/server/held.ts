/**
 * A descriptor that several parties hold: the cache of open files, the list of what is not yet
 * synced, a sync on the thread pool, a bulk writer. It is closed when the last lets go.
 *
 * That is the protection from the worst slip of a file server: a number that was closed and given
 * to another file while somebody still meant the first. Nobody else closes these descriptors.
 */
import { closeSync } from 'node:fs';

export class Held {
  readonly fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
  #holders = 1;

  /** Takes over `fd`; whoever makes it is its first holder. */
  constructor(fd: number, identity: { readonly dev: bigint; readonly ino: bigint }) {
    this.fd = fd;
    this.dev = identity.dev;
    this.ino = identity.ino;
  }

  retain(): this {
    if (this.#holders === 0) throw new Error('held.ts: retained after it was closed');
    this.#holders++;
    return this;
  }

  release(): void {
    if (this.#holders === 0) throw new Error('held.ts: released once too often');
    this.#holders--;
    // Linux frees the number whatever close answers; a lost write is sync's business to report.
    if (this.#holders === 0) closeQuietly(this.fd);
  }
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // Some network file systems report late write errors here, and in fsync as well.
  }
}
