/**
 * What the tests of Order share: short ways to make operations, and a model that is too simple to
 * be wrong: a list of operations, the table of conflicts written out on path strings, and a scan
 * for everything.
 */

import { FLAGS, KIND, type Kind } from '../../../src/protocol/operation.ts';
import type { Order, Orderable } from '../../../src/spool/order.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
const { CREATE, MODE, MTIME } = FLAGS;

export type What = Omit<Orderable, 'seq'>;

export function what(kind: Kind, path: string, more: Partial<What> = {}): What {
  return { kind, path, flags: 0, name: 'host', path2: '', payloadBytes: 0, ...more };
}

export function write(path: string, payloadBytes = 100): What {
  return what(KIND.write, path, { flags: CREATE, payloadBytes });
}

export function attributes(path: string): What {
  return what(KIND.write, path, { flags: MODE | MTIME });
}

export function rename(path: string, path2: string): What {
  return what(KIND.rename, path, { path2 });
}

/** Adds them, numbered from `first`. */
export function fill(order: Order<Orderable>, list: readonly What[], first = 1): Orderable[] {
  const ops = list.map((op, index) => ({ ...op, seq: first + index }));
  for (const op of ops) order.add(op);
  return ops;
}

export function drain(order: Order<Orderable>): number[] {
  const seqs: number[] = [];
  for (let op = order.next(); op !== null; op = order.next()) seqs.push(op.seq);
  return seqs;
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function isAbove(one: string, other: string): boolean {
  return one !== other && (one === '' || other.startsWith(`${one}/`));
}

export function mustWait(late: Orderable, early: Orderable): boolean {
  if (late.name !== early.name) return false;
  const isName = (op: Orderable) => op.kind !== KIND.write;
  const paths = (op: Orderable) => (op.kind === KIND.rename ? [op.path, op.path2] : [op.path]);
  const setsAttributes =
    late.kind === KIND.write &&
    late.payloadBytes === 0 &&
    (late.flags & CREATE) === 0 &&
    (late.flags & (MODE | MTIME)) !== 0;
  return paths(late).some((ours) =>
    paths(early).some(
      (theirs) =>
        ours === theirs ||
        (isAbove(theirs, ours) && isName(early)) ||
        (isAbove(ours, theirs) && (isName(late) || setsAttributes)),
    ),
  );
}

export interface Entry {
  readonly op: Orderable;
  /** What it must stay behind, as long as that blocks. */
  readonly behind: Entry[];
  state: 'waiting' | 'in flight' | 'held' | 'gone';
  /** By a call of hurry. */
  hurried: boolean;
  /** Hurried, or once needed by something hurried. */
  mayBeHurried: boolean;
}

export class Model {
  readonly entries = new Map<number, Entry>();

  in(state: Entry['state']): Entry[] {
    return [...this.entries.values()].filter((entry) => entry.state === state);
  }

  add(op: Orderable): void {
    const entry: Entry = {
      op,
      behind: [],
      state: 'waiting',
      hurried: false,
      mayBeHurried: false,
    };
    for (const other of this.entries.values()) {
      const [late, early] = other.op.seq < op.seq ? [entry, other] : [other, entry];
      if (mustWait(late.op, early.op)) late.behind.push(early);
    }
    this.entries.set(op.seq, entry);
  }

  remove(op: Orderable): void {
    (this.entries.get(op.seq) as Entry).state = 'gone';
    this.entries.delete(op.seq);
  }

  blockers(late: Entry): Entry[] {
    return late.behind.filter(({ state }) => state === 'waiting' || state === 'held');
  }

  ready(): Entry[] {
    return this.in('waiting').filter((entry) => this.blockers(entry).length === 0);
  }

  /** Everything blocking that `entry` waits for, directly or not, itself included. */
  closure(entry: Entry, found = new Set<Entry>()): Set<Entry> {
    if (found.has(entry)) return found;
    found.add(entry);
    for (const blocker of this.blockers(entry)) this.closure(blocker, found);
    return found;
  }
}
