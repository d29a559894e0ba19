/**
 * The operations that a push waits for, by number, and those of them that cannot go because
 * something held is before them. These are set aside under the number of what they wait for, so
 * that one held file does not make every later question look at everything behind it again.
 *
 * It does not know states: an operation may have gone another way meanwhile, or be in here twice;
 * who takes the first one has to look.
 */
import { SeqHeap, type Slotted } from './seq-heap.ts';
import type { Numbered } from './seq-queue.ts';

interface Entry<T> extends Slotted {
  readonly op: T;
}

export class Hurry<T extends Numbered> {
  readonly #heap = new SeqHeap<Entry<T>>();
  readonly #aside = new Map<number, T[]>();

  /** The one with the least number. */
  get first(): T | null {
    return this.#heap.first?.op ?? null;
  }

  push(op: T): void {
    this.#heap.set({ op, slot: -1 }, op.seq);
  }

  shift(): void {
    const entry = this.#heap.first;
    if (entry !== null) this.#heap.delete(entry);
  }

  /** Moves the first one aside until `release(seq)`. */
  setAside(seq: number): void {
    const op = this.first;
    if (op === null) return;
    this.shift();
    const list = this.#aside.get(seq);
    if (list === undefined) this.#aside.set(seq, [op]);
    else list.push(op);
  }

  /** What was set aside for `seq` is to be tried again. */
  release(seq: number): void {
    const list = this.#aside.get(seq);
    if (list === undefined) return;
    this.#aside.delete(seq);
    for (const op of list) this.push(op);
  }
}
