/**
 * Operations in the order of their numbers, for queues that mostly grow at the end and shrink at
 * the front, and now and then get back at the front what they gave away (a link broke).
 *
 * Because most files have a single operation waiting, a `Lane` is nothing, one operation, or a
 * SeqQueue: a million files then do not need a million arrays. The `lane...` functions are the
 * only ones that look at which of the three it is.
 */

export interface Numbered {
  readonly seq: number;
}

export type Lane<T extends Numbered> = T | SeqQueue<T> | null;

/** Sorted by seq. Both ends cost O(1) amortised, the middle moves its shorter side. */
export class SeqQueue<T extends Numbered> {
  /** What is in use starts at #start; before it is room that the front left behind. */
  #items: (T | undefined)[];
  #start = 0;

  constructor(one: T, other: T) {
    this.#items = one.seq < other.seq ? [one, other] : [other, one];
  }

  get size(): number {
    return this.#items.length - this.#start;
  }

  get first(): T | null {
    return this.#items[this.#start] ?? null;
  }

  /** The last one before `seq`. */
  before(seq: number): T | null {
    const at = this.#lowerBound(seq);
    return at > this.#start ? (this.#items[at - 1] as T) : null;
  }

  insert(op: T): void {
    const at = this.#lowerBound(op.seq);
    if (at === this.#items.length) {
      this.#items.push(op);
    } else if (at - this.#start < this.#items.length - at) {
      this.#insertBySideOfFront(op, at);
    } else {
      this.#items.splice(at, 0, op);
    }
  }

  delete(op: T): void {
    const at = this.#lowerBound(op.seq);
    const items = this.#items;
    if (items[at]?.seq !== op.seq) return;
    if (at - this.#start >= items.length - at) {
      items.splice(at, 1);
      return;
    }
    for (let i = at; i > this.#start; i--) items[i] = items[i - 1];
    items[this.#start] = undefined;
    this.#start += 1;
    if (this.#start >= 32 && this.#start * 2 >= items.length) {
      this.#items = items.slice(this.#start);
      this.#start = 0;
    }
  }

  #insertBySideOfFront(op: T, at: number): void {
    let place = at;
    if (this.#start === 0) {
      // Room in proportion, so that a long way back to the front is paid for once.
      const room = 8 + (this.#items.length >>> 1);
      this.#items = new Array<T | undefined>(room).fill(undefined).concat(this.#items);
      this.#start = room;
      place += room;
    }
    const items = this.#items;
    for (let i = this.#start; i < place; i++) items[i - 1] = items[i];
    items[place - 1] = op;
    this.#start -= 1;
  }

  /** Index of the first one that is not before `seq`. */
  #lowerBound(seq: number): number {
    const items = this.#items;
    let low = this.#start;
    let high = items.length;
    // Nearly always the one end or the other.
    if (low === high || (items[low] as T).seq >= seq) return low;
    if ((items[high - 1] as T).seq < seq) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((items[middle] as T).seq < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export function laneFirst<T extends Numbered>(lane: Lane<T>): T | null {
  return lane instanceof SeqQueue ? lane.first : lane;
}

/** The last one before `seq`. */
export function laneBefore<T extends Numbered>(lane: Lane<T>, seq: number): T | null {
  if (lane instanceof SeqQueue) return lane.before(seq);
  return lane !== null && lane.seq < seq ? lane : null;
}

/** The lane to keep instead of `lane`, with `op` in it. */
export function laneWith<T extends Numbered>(lane: Lane<T>, op: T): Lane<T> {
  if (lane === null) return op;
  if (!(lane instanceof SeqQueue)) return new SeqQueue(lane, op);
  lane.insert(op);
  return lane;
}

/** The lane to keep instead of `lane`, without `op`. */
export function laneWithout<T extends Numbered>(lane: Lane<T>, op: T): Lane<T> {
  if (lane instanceof SeqQueue) {
    lane.delete(op);
    return lane.size === 0 ? null : lane;
  }
  return lane?.seq === op.seq ? null : lane;
}
