/**
 * What one server's files look like with the pending operations of this spool laid over what the
 * next hop answers, so that a reader sees what was written before it asked.
 *
 * Operations are applied in the order of the log. The next hop applies and commits them in any
 * order that keeps those on the same path, on an ancestor or in the subtree in log order, and keeps
 * an operation that needs a directory behind the one whose PARENTS flag makes it. A sight is right
 * whichever pending operations the next hop has applied already, provided that the sight is taken
 * first and the next hop asked afterwards. Three things make it so:
 *  - what a pending operation made here has nothing beneath it, so nobody is asked ("fresh");
 *  - what a pending rename moved may be at the next hop under either name, so the caller waits for
 *    that rename ("unsettled"), unless all of its bytes are here;
 *  - the name it left, and a removed one, are absent until the next hop has done it too.
 * An operation that the view knows will be refused there (no such file, not empty, in the way)
 * counts as pending and changes nothing. One given up on purpose needs a new view without it.
 *
 * Pure: no clock, no I/O. Memory follows the pending operations, not the files.
 */
import { FLAGS, KIND } from '../protocol/operation.ts';
import { isWithin } from '../route/address.ts';
import type { FileOverlay, LiveOperation } from './extents.ts';
import { KNOWN, ViewNode, type KnownCode } from './view-node.ts';

export type { LiveOperation } from './extents.ts';

export type Known = 'absent' | 'file' | 'directory' | 'unknown';
/**
 * none: ask nobody. natural: ask for the same path. unsettled: wait for the renames in `settle`.
 */
export type Beneath = 'none' | 'natural' | 'unsettled';

export interface Sight {
  /** unknown: it is whatever the next hop says. */
  readonly known: Known;
  readonly beneath: Beneath;
  /** Numbers of the pending renames to wait for when unsettled. */
  readonly settle: readonly number[];
  /**
   * Pending content; null: all is the next hop's. It changes with the view: who is going to wait
   * takes a plan and the size rule first.
   */
  readonly file: FileOverlay | null;
  /** What pending operations set; null: the next hop's, or nobody has said. */
  readonly mode: number | null;
  /** As `mode`; also null when a pending write did not say its time. */
  readonly mtimeNs: bigint | null;
  readonly pendingBytes: number;
}

export interface DirectorySight {
  readonly known: Known;
  readonly beneath: Beneath;
  readonly settle: readonly number[];
  /** A directory of which everything is here: what is not in `entries` is absent. */
  readonly complete: boolean;
  /** Children with something pending, absent ones too, in byte order. */
  readonly entries: ReadonlyMap<string, Sight>;
  /** Are there further ones behind these? */
  readonly more: boolean;
}

/** Where a path leads. */
interface Place {
  /** The last node on the way. */
  node: ViewNode;
  /** Where in the path the part without a node starts; -1 when the path has its node. */
  rest: number;
  /** A pending operation because of which nothing of the next hop shows here. */
  cover: LiveOperation | null;
  /** Pending renames of what lies on the way: also of what is fresh, which may not stay so. */
  settle: readonly number[];
}

/** The node an operation is about, or both of a rename; null for one without effect. */
type Pinned = ViewNode | readonly ViewNode[] | null;

const NAMES = ['unknown', 'absent', 'file', 'directory'] as const satisfies readonly Known[];
const NOTHING: readonly number[] = [];
const NO_ENTRIES: ReadonlyMap<string, Sight> = new Map();
const ABSENT: Sight = {
  known: 'absent',
  beneath: 'none',
  settle: NOTHING,
  file: null,
  mode: null,
  mtimeNs: null,
  pendingBytes: 0,
};

export class View {
  readonly #root = new ViewNode(null, '');
  /** By number, what each pending operation pins. */
  readonly #pending = new Map<number, Pinned>();
  /** Names of the directory listed last, sorted, so that its next page need not sort again. */
  #listed: { readonly node: ViewNode; readonly names: readonly string[] } | null = null;

  constructor() {
    this.#root.known = KNOWN.directory;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The next operation of the log, with a higher `seq` than all before. */
  apply(op: LiveOperation): void {
    const pinned = this.#act(op);
    this.#pending.set(op.seq, pinned);
    if (pinned === null) return;
    for (const node of pinned instanceof ViewNode ? [pinned] : pinned) node.pins += 1;
  }

  /** All of these have been committed by the next hop. Those not pending here are ignored. */
  release(ops: Iterable<LiveOperation>): void {
    const touched: ViewNode[] = [];
    for (const op of ops) {
      const pinned = this.#pending.get(op.seq);
      if (!this.#pending.delete(op.seq) || pinned === null || pinned === undefined) continue;
      for (const node of pinned instanceof ViewNode ? [pinned] : pinned) {
        node.release(op);
        touched.push(node);
      }
    }
    for (const node of touched) {
      node.sweep();
      this.#prune(node);
    }
  }

  lookup(path: string): Sight {
    return this.#sight(this.#find(path));
  }

  /** The directory at `path`: of its entries those after the name `after`, at most `max`. */
  list(path: string, after = '', max = Infinity): DirectorySight {
    const place = this.#find(path);
    const { known, beneath, settle } = this.#sight(place);
    const complete = known === 'directory' && beneath === 'none';
    const head = { known, beneath, settle, complete };
    if (place.rest >= 0 || !place.node.hasChildren) {
      return { ...head, entries: NO_ENTRIES, more: false };
    }
    const children = place.node.children as Map<string, ViewNode>;
    const names = this.#sortedNames(place.node, children);
    const first = firstAfter(names, after);
    const last = Math.min(names.length, first + max);
    const entries = new Map<string, Sight>();
    for (let i = first; i < last; i++) {
      const name = names[i] as string;
      const child = { ...place };
      this.#enter(child, children.get(name) as ViewNode);
      entries.set(name, this.#sight(child));
    }
    return { ...head, entries, more: last < names.length };
  }

  /** What the operation changes here; returns what has to stay in the tree until its release. */
  #act(op: LiveOperation): Pinned {
    switch (op.kind) {
      case KIND.write:
        return this.#write(op);
      case KIND.mkdir:
        return this.#mkdir(op);
      case KIND.rename:
        return this.#rename(op);
      case KIND.remove:
        return this.#remove(op);
    }
  }

  #write(op: LiveOperation): Pinned {
    const place = this.#find(op.path);
    const known = knownAt(place);
    const creates = (op.flags & FLAGS.CREATE) !== 0;
    const isContent = creates || op.payloadBytes > 0 || (op.flags & FLAGS.TRUNCATE) !== 0;
    if (known === KNOWN.absent && !creates) return null;
    const isDirectory = known === KNOWN.directory || (place.rest < 0 && place.node.hasChildren);
    if (isDirectory && isContent) return null;
    if (!isReachable(place, op.path, op)) return null;
    const node = this.#make(place, op.path);
    if (creates) {
      node.known = KNOWN.file;
      if (known === KNOWN.absent) node.fresh = op;
    }
    if (creates || (op.flags & FLAGS.PARENTS) !== 0) this.#markParents(node);
    if (isContent) node.write(op);
    node.setAttributes(op);
    return node;
  }

  #mkdir(op: LiveOperation): Pinned {
    const place = this.#find(op.path);
    const known = knownAt(place);
    if (known === KNOWN.file || known === KNOWN.directory) return null;
    const mayExist = (op.flags & FLAGS.PARENTS) !== 0;
    // A node not known to be absent is there because something was done to it or below it.
    if (known === KNOWN.unknown && place.rest < 0 && !mayExist) return null;
    if (!isReachable(place, op.path, op)) return null;
    const node = this.#make(place, op.path);
    node.known = KNOWN.directory;
    this.#markParents(node);
    if (mayExist && known === KNOWN.unknown) return node;
    node.fresh = op;
    node.setAttributes(op);
    return node;
  }

  #remove(op: LiveOperation): Pinned {
    const place = this.#find(op.path);
    const known = knownAt(place);
    if (known === KNOWN.absent) return null;
    const isDirectory = (op.flags & FLAGS.DIRECTORY) !== 0;
    if (known === (isDirectory ? KNOWN.file : KNOWN.directory)) return null;
    if (place.rest < 0 && place.node.hasLiveChild()) return null;
    return this.#bury(this.#make(place, op.path), op);
  }

  #rename(op: LiveOperation): Pinned {
    const { path, path2 } = op;
    // Onto itself: nothing happens. Into itself, or over what it lies in: refused.
    if (isWithin(path, path2) || isWithin(path2, path)) return null;
    const source = this.#find(path);
    const target = this.#find(path2);
    const sourceKnown = knownAt(source);
    const targetKnown = knownAt(target);
    if (sourceKnown === KNOWN.absent || !isReachable(target, path2, op)) return null;
    if (sourceKnown === KNOWN.file && targetKnown === KNOWN.directory) return null;
    if (sourceKnown === KNOWN.directory && targetKnown === KNOWN.file) return null;
    if (target.rest < 0 && target.node.hasLiveChild()) return null;
    const node = this.#make(source, path);
    // Making the source may have made a part of the way to the target.
    const replaced = this.#make(this.#find(path2), path2);
    this.#markParents(replaced);
    const tombstone = this.#bury(node, op);
    node.name = replaced.name;
    this.#replace(replaced, node);
    node.renamedBy = op;
    return [tombstone, node];
  }

  #find(path: string): Place {
    const rest = path === '' ? -1 : 0;
    const place: Place = { node: this.#root, rest, cover: null, settle: NOTHING };
    while (place.rest >= 0) {
      const slash = path.indexOf('/', place.rest);
      const name = path.slice(place.rest, slash < 0 ? undefined : slash);
      const child = place.node.children?.get(name);
      if (child === undefined) break;
      place.rest = slash < 0 ? -1 : slash + 1;
      this.#enter(place, child);
    }
    return place;
  }

  /** One step down. What is fresh does not care what it lies in; the rest inherits. */
  #enter(place: Place, node: ViewNode): void {
    place.node = node;
    const isFresh = node.fresh !== null && this.#pending.has(node.fresh.seq);
    if (isFresh) place.cover = node.fresh;
    if (node.renamedBy === null) return;
    if (!isFresh) place.cover = null;
    place.settle = [...place.settle, node.renamedBy.seq];
  }

  #sight(place: Place): Sight {
    const known = knownAt(place);
    if (known === KNOWN.absent) return ABSENT;
    const node = place.rest < 0 ? place.node : null;
    const file = node !== null && known !== KNOWN.directory ? node.overlay() : null;
    // Cut to nothing and written again: whatever name the next hop has it under, all bytes are
    // here.
    const isWhole = known === KNOWN.file && file !== null && file.baseLimit === 0;
    const isSettled = place.settle.length === 0;
    const isCovered = place.cover !== null || (isWhole && !isSettled);
    return {
      known: NAMES[known],
      beneath: isCovered ? 'none' : isSettled ? 'natural' : 'unsettled',
      settle: isCovered ? NOTHING : place.settle,
      file,
      mode: node?.modeOp?.mode ?? null,
      mtimeNs: node?.mtimeOp?.mtimeNs ?? null,
      pendingBytes: file?.pendingBytes ?? 0,
    };
  }

  /**
   * The node of a path, made with those on the way to it. On the way through what is known to be
   * absent they are new directories. Operations in them may overtake this one and make them
   * instead, so they are fresh only until the reason for the absence is gone; from then on the
   * next hop has these directories at their paths or none.
   */
  #make(place: Place, path: string): ViewNode {
    let node = place.node;
    for (let rest = place.rest; rest >= 0;) {
      // A tombstone: it is fresh because of what took the former one away, and stays so.
      if (node.known === KNOWN.absent) node.known = KNOWN.directory;
      const slash = path.indexOf('/', rest);
      const child = new ViewNode(node, path.slice(rest, slash < 0 ? undefined : slash));
      this.#attach(child);
      if (slash >= 0 && place.cover !== null) {
        child.known = KNOWN.directory;
        child.fresh = place.cover;
      }
      rest = slash < 0 ? -1 : slash + 1;
      node = child;
    }
    return node;
  }

  /**
   * What lies above `node` are directories if the operation succeeds. They stay known while it is
   * pending: the node, or a tombstone that depends on it, keeps them in the tree.
   */
  #markParents(node: ViewNode): void {
    let parent = node.parent;
    while (parent !== null && parent.known === KNOWN.unknown) {
      parent.known = KNOWN.directory;
      parent = parent.parent;
    }
  }

  /** Takes a node out of the tree; the tombstone says for `op` that its name is absent. */
  #bury(node: ViewNode, op: LiveOperation): ViewNode {
    const tombstone = new ViewNode(node.parent, node.name);
    tombstone.known = KNOWN.absent;
    tombstone.fresh = op;
    this.#replace(node, tombstone);
    return tombstone;
  }

  #replace(node: ViewNode, by: ViewNode): void {
    by.parent = node.parent;
    node.parent = null;
    this.#attach(by);
  }

  #attach(node: ViewNode): void {
    const parent = node.parent as ViewNode;
    parent.children ??= new Map();
    parent.children.set(node.name, node);
    if (this.#listed?.node === parent) this.#listed = null;
  }

  /** Takes out a node that nothing needs, and the ones above that were there for it alone. */
  #prune(from: ViewNode): void {
    let node = from;
    while (node.pins === 0 && !node.hasChildren && node.parent !== null) {
      const parent = node.parent;
      parent.children?.delete(node.name);
      if (this.#listed?.node === parent) this.#listed = null;
      node.parent = null;
      node = parent;
    }
  }

  #sortedNames(node: ViewNode, children: ReadonlyMap<string, ViewNode>): readonly string[] {
    if (this.#listed?.node !== node) {
      // One character is one byte, so the order of strings is the order of bytes.
      this.#listed = { node, names: [...children.keys()].sort() };
    }
    return this.#listed.names;
  }
}

/** What the pending operations say about the path itself. */
function knownAt(place: Place): KnownCode {
  const { node } = place;
  if (place.rest < 0) return node.known;
  if (place.cover !== null || node.known === KNOWN.file) return KNOWN.absent;
  return KNOWN.unknown;
}

/** Are the directories above the path there, or may they be, or does `op` make them? */
function isReachable(place: Place, path: string, op: LiveOperation): boolean {
  if (place.rest < 0) return true;
  if (place.node.known === KNOWN.file) return false;
  if (place.cover === null || (op.flags & FLAGS.PARENTS) !== 0) return true;
  return place.node.known === KNOWN.directory && path.indexOf('/', place.rest) < 0;
}

/** Index of the first of the sorted names behind `after`. */
function firstAfter(names: readonly string[], after: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] as string) <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}
