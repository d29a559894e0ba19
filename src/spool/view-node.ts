/**
 * One name in a view's tree: what pending operations say about it.
 *
 * A node stands for one object, a file or a directory, and moves with it: a rename takes it along
 * with everything below, a removal or a replacement drops it and puts a new one in its place. So
 * an operation that is released later finds the object it was about, or a dropped node, where it
 * does no harm. There may be a million nodes: the fields are few, what most nodes lack is null,
 * and a file with a single write keeps the operation itself instead of an overlay.
 *
 * Whether an operation that a node refers to is still pending is for the view to know.
 */
import { FLAGS } from '../protocol/operation.ts';
import { FileOverlay, type LiveOperation } from './extents.ts';

export const KNOWN = { unknown: 0, absent: 1, file: 2, directory: 3 } as const;
export type KnownCode = (typeof KNOWN)[keyof typeof KNOWN];

export class ViewNode {
  /** null: the root, or dropped from the tree. */
  parent: ViewNode | null;
  name: string;
  known: KnownCode = KNOWN.unknown;
  /** Pending operations that need this node; with none, and no children, it is pruned. */
  pins = 0;
  children: Map<string, ViewNode> | null = null;
  content: LiveOperation | FileOverlay | null = null;
  /**
   * As long as this is pending, nothing the next hop has at any path is this object or lies in it:
   * what made the object, or what took the former one away. Of an absent node: what took it away.
   */
  fresh: LiveOperation | null = null;
  /** The newest rename of this very object: the next hop may have it at the old path or the new. */
  renamedBy: LiveOperation | null = null;
  modeOp: LiveOperation | null = null;
  mtimeOp: LiveOperation | null = null;

  constructor(parent: ViewNode | null, name: string) {
    this.parent = parent;
    this.name = name;
  }

  get hasChildren(): boolean {
    return this.children !== null && this.children.size > 0;
  }

  /** Is there something below that is known to exist? */
  hasLiveChild(): boolean {
    for (const child of this.children?.values() ?? []) {
      if (child.known === KNOWN.file || child.known === KNOWN.directory) return true;
    }
    return false;
  }

  /** The pending content, put together for this call when it is a single operation. */
  overlay(): FileOverlay | null {
    const content = this.content;
    if (content === null || content instanceof FileOverlay) return content;
    const overlay = new FileOverlay();
    overlay.apply(content, content === this.fresh);
    return overlay;
  }

  /** A write to the content; `fresh` has been set before when it makes the file. */
  write(op: LiveOperation): void {
    if (this.content === null) {
      this.content = op;
      return;
    }
    const overlay = this.overlay() as FileOverlay;
    overlay.apply(op, false);
    this.content = overlay;
  }

  /** Mode and time that `op` leaves. A write that does not say its time leaves it unknown. */
  setAttributes(op: LiveOperation): void {
    if ((op.flags & FLAGS.MODE) !== 0) this.modeOp = op;
    if ((op.flags & FLAGS.MTIME) !== 0) this.mtimeOp = op;
    else if (op.payloadBytes > 0 || (op.flags & FLAGS.TRUNCATE) !== 0) this.mtimeOp = null;
  }

  /** `op`, one of those that pinned this node, has been committed by the next hop. */
  release(op: LiveOperation): void {
    this.pins -= 1;
    if (this.fresh?.seq === op.seq) this.fresh = null;
    if (this.renamedBy?.seq === op.seq) this.renamedBy = null;
    if (this.modeOp?.seq === op.seq) this.modeOp = null;
    if (this.mtimeOp?.seq === op.seq) this.mtimeOp = null;
    if (this.content instanceof FileOverlay) this.content.release(op);
    else if (this.content?.seq === op.seq) this.content = null;
  }

  /** After the releases of a batch: drops the extents they held, in one pass. */
  sweep(): void {
    if (this.pins === 0) this.content = null;
    if (!(this.content instanceof FileOverlay)) return;
    this.content.sweep();
    if (this.content.isEmpty) this.content = null;
  }
}
