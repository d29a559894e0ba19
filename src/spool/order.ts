/**
 * Decides which pending operation may go next. A mover has one Order for each next hop; a
 * destination has one for what it holds. Pure: no I/O, no clock.
 *
 *           add            next               done
 *   (new) ───────▶ waiting ───────▶ in flight ───────▶ (forgotten)
 *                  ▲ │  ▲               │ │
 *           unhold │ │  └───rollback────┘ │
 *                  │ ▼ hold               │
 *                  held ◀─────────────hold┘       drop: from any state to forgotten
 *
 * It promises:
 * - Order: `next` never gives an operation while an earlier one that it must stay behind (the rules
 *   stand in path-tree.ts) waits or is held. In flight is good enough, because a next hop applies
 *   what comes over one connection in the order in which it came.
 * - Turns: files with something ready take turns of `limits.turnBytes`, so a small file never waits
 *   for a big one, and nobody for ever. Files that were put one after the other and fit into a turn
 *   come out in that order.
 * - Hurry: what a push waits for, and whatever that waits for, comes before everything else, least
 *   number first; a dependency is taken forward when the operation that needs it is first. What
 *   waits behind something held is not hurried until that is mended.
 * - Cost: an operation that has to wait is looked at again only when what it was found waiting for
 *   has gone. Only rollback and unhold walk over the table of states, a byte an operation.
 *
 * It does not notice that an operation in flight depends on another in flight that is then held:
 * whoever holds the first decides about the second.
 */
import { limits } from '../base/limits.ts';
import { HEADER_BYTES, KIND } from '../protocol/operation.ts';
import { Hurry } from './hurry.ts';
import { Ledger, STATE } from './ledger.ts';
import { PathNode, PathTree, type Orderable } from './path-tree.ts';
import { Turns } from './turns.ts';

export type { Orderable } from './path-tree.ts';

export class Order<T extends Orderable> {
  readonly #ledger = new Ledger<T>();
  readonly #tree = new PathTree<T>();
  /** Nodes whose head may be ready: not held and not known to wait for anything. */
  readonly #turns = new Turns<PathNode<T>>(limits.turnBytes);
  /** Number of a blocking operation -> nodes whose head was found waiting for it. */
  readonly #parked = new Map<number, PathNode<T>[]>();
  readonly #hurry = new Hurry<T>();

  get waitingCount(): number {
    return this.#ledger.count(STATE.waiting);
  }

  get inFlightCount(): number {
    return this.#ledger.count(STATE.inFlight);
  }

  get heldCount(): number {
    return this.#ledger.count(STATE.held);
  }

  /** Payload bytes that wait; what is held is not among them. */
  get waitingBytes(): number {
    return this.#ledger.bytes(STATE.waiting);
  }

  get inFlightBytes(): number {
    return this.#ledger.bytes(STATE.inFlight);
  }

  /** Is the operation with this number pending, in whatever state? */
  has(seq: number): boolean {
    return this.#ledger.find(seq) >= 0;
  }

  /** Everything pending in the order of numbers. The Order must not be changed meanwhile. */
  all(): Iterable<T> {
    return this.#ledger.all();
  }

  /**
   * Makes `op` wait. Numbers may come in any order, but rising ones are what is fast.
   * @throws KangarooError INTERNAL when that number is pending already
   */
  add(op: T): void {
    this.#ledger.add(op);
    const places = this.#tree.enter(op);
    this.#tree.block(op, places);
    for (const node of places) if (node.head === op) this.#turns.add(node);
  }

  /** The next operation to send, in flight from now on; null when none is ready. */
  next(): T | null {
    return this.#nextHurried() ?? this.#nextInTurn();
  }

  /** These are committed: forgets them, in flight or not. Unknown ones are passed over. */
  done(ops: Iterable<T>): void {
    for (const op of ops) this.drop(op);
  }

  /** Given up or delivered otherwise: forgets `op`, whatever its state. */
  drop(op: T): void {
    const at = this.#ledger.find(op.seq);
    if (at < 0) return;
    const known = this.#ledger.op(at);
    const blocked = this.#ledger.state(at) !== STATE.inFlight;
    this.#ledger.remove(at);
    const places = this.#tree.nodesOf(known);
    if (blocked) this.#unblock(known, places);
    this.#tree.leave(known, places);
  }

  /** The link broke: everything in flight waits again and goes first, in the order of numbers. */
  rollback(): void {
    for (const op of this.#ledger.inState(STATE.inFlight).reverse()) {
      const at = this.#ledger.find(op.seq);
      this.#ledger.setState(at, STATE.waiting);
      const places = this.#tree.nodesOf(op);
      this.#tree.block(op, places);
      for (const node of places) if (node.head === op) this.#turns.toFront(node);
      if (this.#ledger.isHurried(at)) this.#hurry.push(op);
    }
  }

  /** Refused: `op`, in flight or waiting, and what must come behind it wait until `unhold`. */
  hold(op: T): void {
    const at = this.#ledger.find(op.seq);
    if (at < 0 || this.#ledger.state(at) === STATE.held) return;
    const known = this.#ledger.op(at);
    const places = this.#tree.nodesOf(known);
    if (this.#ledger.state(at) === STATE.inFlight) this.#tree.block(known, places);
    this.#ledger.setState(at, STATE.held);
    for (const node of places) if (node.head === known) this.#turns.remove(node);
  }

  /** What is held and matches waits again. Returns how many that are. */
  unhold(matches: (op: T) => boolean): number {
    let count = 0;
    for (const op of this.#ledger.inState(STATE.held)) {
      if (!matches(op)) continue;
      count += 1;
      const at = this.#ledger.find(op.seq);
      this.#ledger.setState(at, STATE.waiting);
      for (const node of this.#tree.nodesOf(op)) if (node.head === op) this.#turns.add(node);
      if (this.#ledger.isHurried(at)) this.#hurry.push(op);
      this.#hurry.release(op.seq);
    }
    return count;
  }

  /** Somebody waits for these: they and all they depend on come first, after a rollback as well. */
  hurry(ops: Iterable<T>): void {
    for (const op of ops) {
      const at = this.#ledger.find(op.seq);
      if (at >= 0 && !this.#ledger.isHurried(at)) this.#makeHurried(at);
    }
  }

  /**
   * Would `op`, if it came now, come behind anything that waits, is in flight or is held? `op` is
   * not to be pending itself, and its number does not matter.
   */
  conflicts(op: Orderable): boolean {
    return this.#tree.conflicts(op);
  }

  #nextHurried(): T | null {
    for (let op = this.#hurry.first; op !== null; op = this.#hurry.first) {
      const at = this.#ledger.find(op.seq);
      if (at < 0 || this.#ledger.state(at) !== STATE.waiting) {
        this.#hurry.shift();
        continue;
      }
      const places = this.#tree.nodesOf(op);
      const blocker = this.#tree.earliestBlocker(op, places);
      if (blocker === null) {
        this.#hurry.shift();
        return this.#send(op, places);
      }
      const before = this.#ledger.find(blocker.seq);
      // A hurried blocker would have been first itself, were it not set aside.
      const stuck = this.#ledger.isHurried(before) || this.#isHeld(blocker);
      if (stuck) this.#hurry.setAside(blocker.seq);
      else this.#makeHurried(before);
    }
    return null;
  }

  #makeHurried(at: number): void {
    this.#ledger.setHurried(at);
    if (this.#ledger.state(at) === STATE.waiting) this.#hurry.push(this.#ledger.op(at));
  }

  #nextInTurn(): T | null {
    for (let node = this.#turns.front; node !== null; node = this.#turns.front) {
      const op = node.head as T;
      // Records without a payload count too, or a stream of them would never end its turn.
      const cost = Math.max(op.payloadBytes, HEADER_BYTES);
      if (!this.#turns.fits(cost)) {
        this.#turns.rotate();
        continue;
      }
      const places = op.kind === KIND.rename ? this.#tree.nodesOf(op) : [node];
      const blocker = this.#tree.latestBlocker(op, places);
      if (blocker === null) {
        this.#turns.use(cost);
        return this.#send(op, places);
      }
      this.#turns.remove(node);
      if (blocker instanceof PathNode) this.#tree.watch(node, blocker);
      else this.#park(node, blocker.seq);
    }
    return null;
  }

  #send(op: T, places: readonly PathNode<T>[]): T {
    this.#ledger.setState(this.#ledger.find(op.seq), STATE.inFlight);
    this.#unblock(op, places);
    return op;
  }

  #park(node: PathNode<T>, seq: number): void {
    // It may be in that list from an earlier time.
    if (node.parkedOn === seq) return;
    node.parkedOn = seq;
    const list = this.#parked.get(seq);
    if (list === undefined) this.#parked.set(seq, [node]);
    else list.push(node);
  }

  /** `op` does not block any more: what waited for it and what comes behind it may try. */
  #unblock(op: T, places: readonly PathNode<T>[]): void {
    const free = this.#tree.unblock(op, places);
    for (const node of places) this.#join(node);
    this.#hurry.release(op.seq);
    for (const node of this.#parked.get(op.seq) ?? []) {
      // A node that was parked elsewhere since then is left to that list.
      if (node.parkedOn !== op.seq) continue;
      node.parkedOn = -1;
      free.push(node);
    }
    this.#parked.delete(op.seq);
    if (free.length > 0) this.#rejoin(free);
  }

  /**
   * These had to wait when it was their turn. What is older than the one on turn goes at once, so
   * that the order of the log is kept where it can be; the rest joins at the back, so that a chain
   * of operations that free each other cannot keep others waiting.
   */
  #rejoin(nodes: readonly PathNode<T>[]): void {
    const onTurn = this.#turns.front?.head?.seq ?? 0;
    const isOlder = ({ head }: PathNode<T>) => head !== null && head.seq < onTurn;
    for (const node of nodes) if (!isOlder(node)) this.#join(node);
    for (let i = nodes.length - 1; i >= 0; i--) {
      const node = nodes[i] as PathNode<T>;
      if (isOlder(node) && !this.#isHeld(node.head as T)) this.#turns.addNext(node);
    }
  }

  /** Puts `node` among those that take turns, or takes it out, as its head allows. */
  #join(node: PathNode<T>): void {
    const head = node.head;
    if (head === null || this.#isHeld(head)) this.#turns.remove(node);
    else this.#turns.add(node);
  }

  #isHeld(op: T): boolean {
    return this.heldCount > 0 && this.#ledger.state(this.#ledger.find(op.seq)) === STATE.held;
  }
}
