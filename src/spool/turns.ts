/**
 * Files take turns: a ring of those that have something to send. The front one is on turn until it
 * has used up its turn or leaves; then it goes to the back, where newcomers join. So nobody waits
 * for more than one turn of each of the others, but for those that are let in ahead (addNext).
 *
 * The ring is linked through its members, so that joining, leaving and moving to the front cost
 * O(1) and a member is in it once at most.
 */

export interface Linked<N> {
  /** Both null while in no ring; the links belong to the ring. */
  next: N | null;
  previous: N | null;
}

export class Turns<N extends Linked<N>> {
  readonly #turnBytes: number;
  #front: N | null = null;
  #usedBytes = 0;

  constructor(turnBytes: number) {
    this.#turnBytes = turnBytes;
  }

  /** Who is on turn. */
  get front(): N | null {
    return this.#front;
  }

  /** May the front one send `bytes` more? The first of a turn always goes. */
  fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.#turnBytes;
  }

  use(bytes: number): void {
    this.#usedBytes += bytes;
  }

  /** The front one's turn is over. */
  rotate(): void {
    this.#front = this.#front?.next ?? null;
    this.#usedBytes = 0;
  }

  /** Joins at the back; stays where it is when it is in already. */
  add(member: N): void {
    if (member.next === null) this.#link(member, this.#front?.previous ?? null);
  }

  /** Joins as the next one: before a front that has not begun its turn, else right behind it. */
  addNext(member: N): void {
    if (member.next !== null) return;
    if (this.#usedBytes > 0) return this.#link(member, this.#front);
    this.add(member);
    this.#front = member;
  }

  /** Is on turn next, in or not, with a whole turn. */
  toFront(member: N): void {
    this.remove(member);
    this.add(member);
    this.#front = member;
    this.#usedBytes = 0;
  }

  /** Leaves, if it is in. */
  remove(member: N): void {
    const { next, previous } = member;
    if (next === null || previous === null) return;
    previous.next = next;
    next.previous = previous;
    member.next = null;
    member.previous = null;
    if (this.#front !== member) return;
    this.#front = next === member ? null : next;
    this.#usedBytes = 0;
  }

  #link(member: N, after: N | null): void {
    if (after === null) {
      member.next = member;
      member.previous = member;
      this.#front = member;
      this.#usedBytes = 0;
      return;
    }
    const before = after.next as N;
    member.next = before;
    member.previous = after;
    after.next = member;
    before.previous = member;
  }
}
