/**
 * A heap of things by a number, least first, in which a thing can be moved or taken out wherever it
 * lies: it carries its own place in `slot`. A thing is in one heap at most.
 *
 * The numbers lie in an array of their own beside the things, so that sifting compares neighbours
 * in memory instead of following a pointer for each comparison. Putting in numbers in rising order
 * costs O(1), everything else O(log n).
 */

export interface Slotted {
  /** Place in the heap; -1 while in none. Written by the heap alone. */
  slot: number;
}

export class SeqHeap<X extends Slotted> {
  readonly #keys: number[] = [];
  readonly #items: X[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** The least number, Infinity when empty. */
  get least(): number {
    return this.#keys.length === 0 ? Infinity : (this.#keys[0] as number);
  }

  /** The thing with the least number. */
  get first(): X | null {
    return this.#items[0] ?? null;
  }

  /** Puts `item` in, or moves it if it is in. */
  set(item: X, key: number): void {
    if (item.slot < 0) {
      this.#keys.push(key);
      this.#items.push(item);
      this.#up(item, key, this.#items.length - 1);
      return;
    }
    const before = this.#keys[item.slot] as number;
    if (key < before) this.#up(item, key, item.slot);
    else if (key > before) this.#down(item, key, item.slot);
  }

  /** Takes `item` out, if it is in. */
  delete(item: X): void {
    const at = item.slot;
    if (at < 0) return;
    item.slot = -1;
    const key = this.#keys[at] as number;
    const lastKey = this.#keys.pop() as number;
    const last = this.#items.pop() as X;
    if (last === item) return;
    if (lastKey < key) this.#up(last, lastKey, at);
    else this.#down(last, lastKey, at);
  }

  #up(item: X, key: number, from: number): void {
    const keys = this.#keys;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const parentKey = keys[parent] as number;
      if (parentKey <= key) break;
      this.#place(this.#items[parent] as X, parentKey, at);
      at = parent;
    }
    this.#place(item, key, at);
  }

  #down(item: X, key: number, from: number): void {
    const keys = this.#keys;
    const size = keys.length;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && (keys[child + 1] as number) < (keys[child] as number)) child += 1;
      const childKey = keys[child] as number;
      if (childKey >= key) break;
      this.#place(this.#items[child] as X, childKey, at);
      at = child;
    }
    this.#place(item, key, at);
  }

  #place(item: X, key: number, at: number): void {
    this.#keys[at] = key;
    this.#items[at] = item;
    item.slot = at;
  }
}
