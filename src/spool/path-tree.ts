/**
 * Who must wait for whom: the paths of all pending operations as a tree, and the rules of order.
 *
 *   E was put before L and both touch (by path or path2) these places    L waits for E when
 *   the same path                                                       always
 *   E's path lies above L's                                             E is a name operation
 *   E's path lies below L's                                             L gathers
 *
 * A *name operation* is a mkdir, rename or remove. An operation *gathers* when it is one of them,
 * or sets the mode or times of something that is there (a write with MODE or MTIME, without CREATE
 * and payload): at the end of a tree that is the directory's own time, which must come after what
 * was created in it. What comes below later need not wait for that.
 *
 * The tree holds every pending operation as a reference on its path (so that a node is there as
 * long as anything at or below it is pending), and those that *block*, waiting or held, in lanes.
 * A node's heap has its children by the least blocking number at or below each of them, so that "is
 * anything earlier left below here" is one comparison. Entering in rising order costs O(1) beyond
 * the walk to the parent, leaving O(log children) for each level whose least number changes.
 *
 * Memory follows the number of distinct path components that are pending, not of operations alone.
 */
import { FLAGS, KIND, type Kind } from '../protocol/operation.ts';
import { SeqHeap } from './seq-heap.ts';
import { laneBefore, laneFirst, laneWith, laneWithout, type Lane } from './seq-queue.ts';

/** What order depends on; see protocol/operation.ts for the fields. */
export interface Orderable {
  readonly seq: number;
  readonly kind: Kind;
  readonly flags: number;
  readonly name: string;
  readonly path: string;
  readonly path2: string;
  readonly payloadBytes: number;
}

export class PathNode<T extends Orderable> {
  readonly parent: PathNode<T> | null;
  readonly path: string;
  /** Blocking operations on this very path. */
  own: Lane<T> = null;
  /** Those of them that are name operations. */
  names: Lane<T> = null;
  below: Below<T> | null = null;
  /** Pending operations on this path, in whatever state, and children. */
  references = 0;
  /** Pending name operations on this path, in whatever state. */
  nameReferences = 0;
  /** Place in the parent's heap. */
  slot = -1;
  /** Number of the operation in whose list of parked nodes this one is; -1 for none. */
  parkedOn = -1;
  next: PathNode<T> | null = null;
  previous: PathNode<T> | null = null;

  constructor(parent: PathNode<T> | null, path: string) {
    this.parent = parent;
    this.path = path;
  }

  /** The first blocking operation on this path: the only one that may be next. */
  get head(): T | null {
    return laneFirst(this.own);
  }

  /** The least blocking number strictly below. */
  get leastBelow(): number {
    return this.below === null ? Infinity : this.below.heap.least;
  }
}

/** What only a directory needs. */
class Below<T extends Orderable> {
  readonly heap = new SeqHeap<PathNode<T>>();
  children = 0;
  /** Nodes whose head waits until nothing earlier is left below. */
  watchers: Set<PathNode<T>> | null = null;
}

export class PathTree<T extends Orderable> {
  /** Server name -> path -> node. The keys are the operations' own strings: no copies. */
  readonly #byName = new Map<string, Map<string, PathNode<T>>>();

  /** The one or two nodes of a pending operation. */
  nodesOf(op: Orderable): PathNode<T>[] {
    const nodes = this.#byName.get(op.name);
    const first = nodes?.get(op.path);
    if (first === undefined) return [];
    const second = hasTwoPaths(op) ? nodes?.get(op.path2) : undefined;
    return second === undefined ? [first] : [first, second];
  }

  /** Makes `op` pending. Returns its nodes. */
  enter(op: T): PathNode<T>[] {
    let nodes = this.#byName.get(op.name);
    if (nodes === undefined) {
      nodes = new Map();
      this.#byName.set(op.name, nodes);
    }
    const places = [this.#open(nodes, op.path)];
    if (hasTwoPaths(op)) places.push(this.#open(nodes, op.path2));
    for (const node of places) {
      node.references += 1;
      if (isNameOperation(op)) node.nameReferences += 1;
    }
    return places;
  }

  /** Forgets `op`, which must not block any more, and the nodes that nothing needs then. */
  leave(op: T, places: readonly PathNode<T>[]): void {
    const nodes = this.#byName.get(op.name);
    if (nodes === undefined) return;
    for (const node of places) {
      if (isNameOperation(op)) node.nameReferences -= 1;
      for (let at: PathNode<T> | null = node; at !== null; at = at.parent) {
        at.references -= 1;
        if (at.references > 0) break;
        nodes.delete(at.path);
        if (at.parent?.below) at.parent.below.children -= 1;
      }
    }
    if (nodes.size === 0) this.#byName.delete(op.name);
  }

  /** Lets `op` block what comes behind it. */
  block(op: T, places: readonly PathNode<T>[]): void {
    for (const node of places) {
      node.own = laneWith(node.own, op);
      if (isNameOperation(op)) node.names = laneWith(node.names, op);
      this.#tellAbove(node, []);
    }
  }

  /** `op` blocks no more. Returns the watchers below which nothing earlier is left now. */
  unblock(op: T, places: readonly PathNode<T>[]): PathNode<T>[] {
    const free: PathNode<T>[] = [];
    for (const node of places) {
      node.own = laneWithout(node.own, op);
      if (isNameOperation(op)) node.names = laneWithout(node.names, op);
      this.#tellAbove(node, free);
    }
    return free;
  }

  /**
   * What `op` waits for: the latest operation on its paths or above them, because the earlier ones
   * go before that one; else the node below which something earlier is left; else null.
   */
  latestBlocker(op: T, places: readonly PathNode<T>[]): T | PathNode<T> | null {
    let latest: T | null = null;
    for (const node of places) {
      latest = later(latest, laneBefore(node.own, op.seq));
      for (let above = node.parent; above !== null; above = above.parent) {
        if (above.names !== null) latest = later(latest, laneBefore(above.names, op.seq));
      }
    }
    if (latest !== null || !gathers(op)) return latest;
    return places.find((node) => node.leastBelow < op.seq) ?? null;
  }

  /** The first of all that `op` waits for directly, or null. */
  earliestBlocker(op: T, places: readonly PathNode<T>[]): T | null {
    let earliest = op;
    for (const node of places) {
      earliest = earlier(earliest, node.head);
      for (let above = node.parent; above !== null; above = above.parent) {
        if (above.names !== null) earliest = earlier(earliest, laneFirst(above.names));
      }
      if (gathers(op) && node.leastBelow < earliest.seq) earliest = firstBelow(node) ?? earliest;
    }
    return earliest === op ? null : earliest;
  }

  /** Has `unblock` return `node` once nothing before its head is left below `place`. */
  watch(node: PathNode<T>, place: PathNode<T>): void {
    if (place.below === null) return;
    place.below.watchers ??= new Set();
    place.below.watchers.add(node);
  }

  /** Would `op`, put now, come behind anything pending, in whatever state that is? */
  conflicts(op: Orderable): boolean {
    const nodes = this.#byName.get(op.name);
    if (nodes === undefined) return false;
    const paths = hasTwoPaths(op) ? [op.path, op.path2] : [op.path];
    return paths.some((path) => {
      const exact = nodes.get(path);
      if (exact !== undefined) {
        if (gathers(op) || exact.references > (exact.below?.children ?? 0)) return true;
      }
      for (let above = deepestAbove(nodes, path); above !== null; above = above.parent) {
        if (above.nameReferences > 0) return true;
      }
      return false;
    });
  }

  #open(nodes: Map<string, PathNode<T>>, path: string): PathNode<T> {
    const found = nodes.get(path);
    if (found !== undefined) return found;
    const parent = path === '' ? null : this.#open(nodes, directoryOf(path));
    const node = new PathNode<T>(parent, path);
    if (parent !== null) {
      parent.references += 1;
      parent.below ??= new Below();
      parent.below.children += 1;
    }
    nodes.set(path, node);
    return node;
  }

  /** Passes a changed least number upward as far as it changes anything; `free` gets watchers. */
  #tellAbove(node: PathNode<T>, free: PathNode<T>[]): void {
    for (let at = node; at.parent?.below; at = at.parent) {
      const { heap, watchers } = at.parent.below;
      const before = heap.least;
      const least = Math.min(at.head?.seq ?? Infinity, at.leastBelow);
      if (least === Infinity) heap.delete(at);
      else heap.set(at, least);
      if (heap.least === before) return;
      if (watchers === null || heap.least < Math.max(before, at.parent.head?.seq ?? 0)) continue;
      at.parent.below.watchers = null;
      for (const watcher of watchers) free.push(watcher);
    }
  }
}

export function isNameOperation(op: Orderable): boolean {
  return op.kind !== KIND.write;
}

/** Does it wait for everything earlier below its paths? */
export function gathers(op: Orderable): boolean {
  if (op.kind !== KIND.write) return true;
  const { MODE, MTIME, CREATE } = FLAGS;
  return (op.flags & (MODE | MTIME)) !== 0 && (op.flags & CREATE) === 0 && op.payloadBytes === 0;
}

function hasTwoPaths(op: Orderable): boolean {
  return op.kind === KIND.rename && op.path2 !== op.path;
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function deepestAbove<T extends Orderable>(
  nodes: ReadonlyMap<string, PathNode<T>>,
  path: string,
): PathNode<T> | null {
  for (let above = path; above !== '';) {
    above = directoryOf(above);
    const node = nodes.get(above);
    if (node !== undefined) return node;
  }
  return null;
}

/** The operation with the least number strictly below `node`. */
function firstBelow<T extends Orderable>(node: PathNode<T>): T | null {
  let at = node.below?.heap.first ?? null;
  while (at !== null) {
    const head = at.head;
    if (head !== null && head.seq <= at.leastBelow) return head;
    at = at.below?.heap.first ?? null;
  }
  return null;
}

function later<T extends Orderable>(one: T | null, other: T | null): T | null {
  if (one === null || other === null) return one ?? other;
  return one.seq > other.seq ? one : other;
}

function earlier<T extends Orderable>(one: T, other: T | null): T {
  return other !== null && other.seq < one.seq ? other : one;
}
