/**
 * A set of numbers kept as ranges: which of a sender's operations a server has taken, which of its
 * own a spool has released.
 *
 * Numbers are positive safe integers. Everything at or below `floor` is in the set (the low-water
 * mark: the sender will never send below it again), so a set of a well-behaved sender is one or two
 * ranges long. Ranges are disjoint, ascending and not adjacent. Encoding is little endian:
 * floor u64, then first u64 and last u64 of each range. Not safe for concurrent mutation.
 */
export class RangeSet {
  #floor: number;
  /** Flat pairs first, last, first, last ... ascending. */
  #bounds: number[];

  constructor(floor = 0, bounds: number[] = []) {
    this.#floor = floor;
    this.#bounds = bounds;
  }

  get floor(): number {
    return this.#floor;
  }

  get rangeCount(): number {
    return this.#bounds.length / 2;
  }

  has(value: number): boolean {
    if (value <= this.#floor) return true;
    const index = this.#rangeAtOrBefore(value);
    return index >= 0 && value <= (this.#bounds[index + 1] as number);
  }

  /** Adds one number; false if it was there already. */
  add(value: number): boolean {
    if (value <= this.#floor) return false;
    const bounds = this.#bounds;
    const at = this.#rangeAtOrBefore(value);
    if (at >= 0) {
      const last = bounds[at + 1] as number;
      if (value <= last) return false;
      if (value === last + 1) {
        bounds[at + 1] = value;
        if (bounds[at + 2] === value + 1) bounds.splice(at + 1, 2);
        this.#absorb();
        return true;
      }
    }
    const next = at + 2;
    if (bounds[next] === value + 1) bounds[next] = value;
    else bounds.splice(next, 0, value, value);
    this.#absorb();
    return true;
  }

  /** Adds a whole set to this one. */
  addAll(other: RangeSet): void {
    this.raiseFloor(other.floor);
    for (const [first, last] of other.ranges()) this.#addRange(first, last);
  }

  /** Everything up to and including `floor` is in the set from now on. Never goes down. */
  raiseFloor(floor: number): void {
    if (floor <= this.#floor) return;
    this.#floor = floor;
    this.#absorb();
  }

  /** All ranges, the floor's own (1..floor) left out. */
  *ranges(): Generator<readonly [number, number]> {
    for (let i = 0; i < this.#bounds.length; i += 2) {
      yield [this.#bounds[i] as number, this.#bounds[i + 1] as number];
    }
  }

  clone(): RangeSet {
    return new RangeSet(this.#floor, this.#bounds.slice());
  }

  encode(): Buffer {
    const out = Buffer.alloc(8 + this.#bounds.length * 8);
    out.writeBigUInt64LE(BigInt(this.#floor), 0);
    this.#bounds.forEach((bound, i) => out.writeBigUInt64LE(BigInt(bound), 8 + i * 8));
    return out;
  }

  /** @throws RangeError when the bytes are not an encoded set */
  static decode(bytes: Uint8Array): RangeSet {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.length < 8 || view.length % 16 !== 8) throw new RangeError('ranges: wrong length');
    const floor = Number(view.readBigUInt64LE(0));
    if (!Number.isSafeInteger(floor)) throw new RangeError('ranges: beyond 2^53');
    const bounds: number[] = [];
    let before = floor;
    for (let at = 8; at < view.length; at += 16) {
      const first = Number(view.readBigUInt64LE(at));
      const last = Number(view.readBigUInt64LE(at + 8));
      if (first <= before || last < first) throw new RangeError('ranges: not ascending');
      if (!Number.isSafeInteger(last)) throw new RangeError('ranges: beyond 2^53');
      bounds.push(first, last);
      before = last;
    }
    return new RangeSet(floor, bounds);
  }

  #addRange(first: number, last: number): void {
    const bounds = this.#bounds;
    // The ranges that [first, last] overlaps or touches become one with it.
    let from = this.#rangeAtOrBefore(first);
    if (from < 0 || (bounds[from + 1] as number) < first - 1) from += 2;
    let to = from;
    while (to < bounds.length && (bounds[to] as number) <= last + 1) {
      first = Math.min(first, bounds[to] as number);
      last = Math.max(last, bounds[to + 1] as number);
      to += 2;
    }
    bounds.splice(from, to - from, first, last);
    this.#absorb();
  }

  /** Index of the range that starts at or before `value`, or -2 so that +2 is the first. */
  #rangeAtOrBefore(value: number): number {
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length / 2 - 1;
    // Numbers mostly arrive in order: look at the end first.
    if (high >= 0 && (bounds[high * 2] as number) <= value) return high * 2;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      if ((bounds[middle * 2] as number) <= value) low = middle + 1;
      else high = middle - 1;
    }
    return high * 2;
  }

  /** Swallows ranges that the floor has reached or touches. */
  #absorb(): void {
    const bounds = this.#bounds;
    let drop = 0;
    while (drop < bounds.length && (bounds[drop] as number) <= this.#floor + 1) {
      this.#floor = Math.max(this.#floor, bounds[drop + 1] as number);
      drop += 2;
    }
    if (drop > 0) bounds.splice(0, drop);
  }
}
