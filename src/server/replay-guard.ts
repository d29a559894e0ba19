/**
 * Which operations must not share a sync, so that applying them a second time does no harm.
 *
 * A destination that is killed gets everything again that it applied since its last sync, in order.
 * For bytes at absolute offsets that changes nothing. For names it would:
 *
 *   applied since the sync    comes now                     what a second time would do
 *   anything on or below p    rename or remove of p         make p again, or find no p to change
 *   remove of p               mkdir of p, anything below    find a directory where a file was
 *   remove of directory p     write of p                    find a file where a directory was
 *
 * In these cases the destination syncs first; then the older one never comes again. A rename that
 * nothing older touches knows by its noted intent whether it was done (destination.ts), and what
 * is written behind it may simply be written again. Pure. Memory is bounded by
 * limits.unsyncedNamesMax paths: with more than that, everything waits for a sync.
 */
import { limits } from '../base/limits.ts';
import { FLAGS, KIND, type Operation } from '../protocol/operation.ts';

type Touching = Pick<Operation, 'kind' | 'flags' | 'path' | 'path2'>;

/** What was touched between two syncs. */
class Touched {
  readonly paths = new Set<string>();
  /** Directories in which, at any depth, something was touched. */
  readonly above = new Set<string>();
  /** Removed names; true: it was a directory. */
  readonly removed = new Map<string, boolean>();

  add(path: string): void {
    if (this.paths.has(path)) return;
    this.paths.add(path);
    for (let up = parentOf(path); up !== null && !this.above.has(up); up = parentOf(up)) {
      this.above.add(up);
    }
  }

  remove(path: string, isDirectory: boolean): void {
    this.add(path);
    this.removed.set(path, isDirectory || this.removed.get(path) === true);
  }

  /** Was something touched there or below? */
  isAtOrBelow(path: string): boolean {
    return this.paths.has(path) || this.above.has(path);
  }

  /** Was a name above the path removed, whatever it stood for? */
  isRemovedAbove(path: string): boolean {
    if (this.removed.size === 0) return false;
    for (let up = parentOf(path); up !== null; up = parentOf(up)) {
      if (this.removed.has(up)) return true;
    }
    return false;
  }
}

export class ReplayGuard {
  #now = new Touched();
  /** What the sync that runs will have covered. */
  #syncing: Touched | null = null;

  /** Has to be synced before `op` may be applied? */
  forbids(op: Touching): boolean {
    if (this.#now.paths.size >= limits.unsyncedNamesMax) return true;
    return conflicts(this.#now, op) || (this.#syncing !== null && conflicts(this.#syncing, op));
  }

  /** `op` is about to be applied. */
  note(op: Touching): void {
    if (op.kind === KIND.remove) this.#now.remove(op.path, (op.flags & FLAGS.DIRECTORY) !== 0);
    else this.#now.add(op.path);
    if (op.kind === KIND.rename) this.#now.add(op.path2);
  }

  /** A sync of all that was noted so far begins; there is one at a time. */
  begin(): void {
    this.#syncing = this.#now;
    this.#now = new Touched();
  }

  /**
   * It has ended. Also when it failed: then all of it comes again from those who sent it, and is
   * noted again before anything that follows it.
   */
  end(): void {
    this.#syncing = null;
  }

  /** It is durable, but what says so is not: as if the sync had not been. */
  resume(): void {
    const touched = this.#syncing;
    this.#syncing = null;
    if (touched === null) return;
    for (const path of touched.paths) this.#now.add(path);
    for (const [path, isDirectory] of touched.removed) this.#now.remove(path, isDirectory);
  }
}

function conflicts(touched: Touched, op: Touching): boolean {
  const { kind, path, path2 } = op;
  if (touched.paths.size === 0) return false;
  if (touched.isRemovedAbove(path)) return true;
  switch (kind) {
    case KIND.write:
      return touched.removed.get(path) === true;
    case KIND.mkdir:
      return touched.removed.has(path);
    case KIND.remove:
      return touched.isAtOrBelow(path);
    case KIND.rename:
      return (
        touched.isAtOrBelow(path) || touched.isAtOrBelow(path2) || touched.isRemovedAbove(path2)
      );
  }
}

/** 'a/b' of 'a/b/c', '' of 'a', null of ''. */
function parentOf(path: string): string | null {
  if (path === '') return null;
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}
