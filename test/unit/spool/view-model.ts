/**
 * A file system of a few paths in memory, and a world of it in which a view's answers laid over the
 * next hop's must be what the model says: for view.test.ts. It shares no code with the view.
 */
import { FLAGS, KIND, type Kind } from '../../../src/protocol/operation.ts';
import { isWithin, joinPath, splitPath } from '../../../src/route/address.ts';
import type { FileOverlay } from '../../../src/spool/extents.ts';
import { View, type LiveOperation, type Sight } from '../../../src/spool/view.ts';

const { CREATE, TRUNCATE, MODE, PARENTS, DIRECTORY } = FLAGS;

export function operation(
  seq: number,
  kind: Kind,
  path: string,
  parts: Partial<LiveOperation> = {},
): LiveOperation {
  return {
    seq,
    kind,
    flags: 0,
    path,
    path2: '',
    offset: 0,
    size: 0,
    mode: 0,
    mtimeNs: 0n,
    payloadBytes: 0,
    payloadSegment: 1,
    payloadOffset: 0,
    ...parts,
  };
}

/** Byte `at` of the payload of operation `seq`; never zero. */
export function payloadByte(seq: number, at: number): number {
  return ((seq * 31 + at * 7) % 255) + 1;
}

export interface Thing {
  readonly kind: 'file' | 'directory';
  readonly bytes: readonly number[];
  readonly mode: number | null;
}

/** A file system in which an operation succeeds whole or fails whole. */
export class Model {
  readonly things = new Map<string, Thing>([['', { kind: 'directory', bytes: [], mode: null }]]);

  /** Names in the directory. */
  children(path: string): string[] {
    const names: string[] = [];
    for (const key of this.things.keys()) {
      const [parent, name] = splitPath(key);
      if (parent === path && key !== '') names.push(name);
    }
    return names;
  }

  /** Directories made on the way, or null when it fails, and then nothing is changed. */
  apply(op: LiveOperation): string[] | null {
    const made = this.missingParents(op);
    if (made === null) return null;
    const thing = this.things.get(op.path);
    const parents = () => {
      for (const path of made) this.things.set(path, { kind: 'directory', bytes: [], mode: null });
      return made;
    };
    const mode = (op.flags & MODE) !== 0 ? op.mode : (thing?.mode ?? null);
    if (op.kind === KIND.write) {
      if (thing === undefined && (op.flags & CREATE) === 0) return null;
      const isContent = (op.flags & (CREATE | TRUNCATE)) !== 0 || op.payloadBytes > 0;
      if (thing?.kind === 'directory' && isContent) return null;
      const bytes = written(thing?.bytes ?? [], op);
      this.things.set(op.path, { kind: thing?.kind ?? 'file', bytes, mode });
      return parents();
    }
    if (op.kind === KIND.mkdir) {
      if (thing !== undefined) {
        return thing.kind === 'directory' && (op.flags & PARENTS) !== 0 ? [] : null;
      }
      this.things.set(op.path, { kind: 'directory', bytes: [], mode });
      return parents();
    }
    if (thing === undefined) return null;
    if (op.kind === KIND.remove) {
      if ((thing.kind === 'directory') !== ((op.flags & DIRECTORY) !== 0)) return null;
      if (this.children(op.path).length > 0) return null;
      this.things.delete(op.path);
      return [];
    }
    return this.rename(op, thing, parents);
  }

  private rename(op: LiveOperation, thing: Thing, parents: () => string[]): string[] | null {
    const { path, path2 } = op;
    if (path === path2) return [];
    if (isWithin(path, path2) || isWithin(path2, path)) return null;
    const target = this.things.get(path2);
    if (target !== undefined && target.kind !== thing.kind) return null;
    if (this.children(path2).length > 0) return null;
    const moved = [...this.things].filter(([key]) => isWithin(key, path));
    for (const [key] of moved) this.things.delete(key);
    for (const [key, value] of moved) this.things.set(path2 + key.slice(path.length), value);
    return parents();
  }

  /** Of the path that comes into being; null when they are not there and are not to be made. */
  private missingParents(op: LiveOperation): string[] | null {
    const missing: string[] = [];
    let path = op.kind === KIND.rename ? op.path2 : op.path;
    while (path !== '') {
      path = splitPath(path)[0];
      const thing = this.things.get(path);
      if (thing?.kind === 'file') return null;
      if (thing === undefined) missing.push(path);
    }
    return missing.length > 0 && (op.flags & PARENTS) === 0 ? null : missing;
  }

  clone(): Model {
    const copy = new Model();
    for (const [path, thing] of this.things) copy.things.set(path, thing);
    return copy;
  }
}

export function written(before: readonly number[], op: LiveOperation): number[] {
  const bytes = before.slice();
  const grow = (size: number) => {
    while (bytes.length < size) bytes.push(0);
  };
  if ((op.flags & TRUNCATE) !== 0) {
    bytes.length = Math.min(bytes.length, op.size);
    grow(op.size);
  }
  if (op.payloadBytes > 0) grow(op.offset + op.payloadBytes);
  for (let i = 0; i < op.payloadBytes; i++) bytes[op.offset + i] = payloadByte(op.seq, i);
  return bytes;
}

export const TOP = ['a', 'b', 'c'];
export const LOW = ['a', 'b'];
export const SECOND = TOP.flatMap((top) => LOW.map((low) => `${top}/${low}`));
export const PATHS = [
  ...TOP,
  ...SECOND,
  ...SECOND.flatMap((path) => LOW.map((low) => `${path}/${low}`)),
];

/** One line of a script, as numbers, so that it shrinks. */
export interface Command {
  readonly verb: 'apply' | 'deliver' | 'release';
  readonly kind: Kind;
  readonly path: number;
  readonly path2: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly payloadBytes: number;
  /** Which of those that may be delivered or released, and how many in one batch. */
  readonly pick: number;
  readonly count: number;
}

export interface Tracked {
  readonly op: LiveOperation;
  /** Directories it made on the way. */
  readonly made: readonly string[];
  /** Operations that have to be delivered, and released, before it. */
  readonly after: readonly Tracked[];
  delivered: boolean;
  released: boolean;
}

export function related(a: LiveOperation, b: LiveOperation): boolean {
  const paths = (op: LiveOperation) => (op.path2 === '' ? [op.path] : [op.path, op.path2]);
  return paths(a).some((p) => paths(b).some((q) => isWithin(p, q) || isWithin(q, p)));
}

/** Does `later` stand in a directory that only `earlier` made? With PARENTS it makes its own. */
export function needsParents(later: LiveOperation, made: readonly string[]): boolean {
  if ((later.flags & PARENTS) !== 0) return false;
  return made.some(
    (path) => isWithin(later.path, path) || (later.path2 !== '' && isWithin(later.path2, path)),
  );
}

/** `expect` takes too long for the millions of comparisons here. */
export function same(actual: unknown, expected: unknown, what: string): void {
  if (actual === expected) return;
  throw new Error(`${what}: ${String(actual)} in the view, ${String(expected)} in the model`);
}

/** The bytes of a file as a reader puts them together. */
export function merged(file: FileOverlay, size: number, under: readonly number[]): number[] {
  const bytes: number[] = [];
  for (const piece of file.plan(0, size, under.length)) {
    same(piece.start, bytes.length, 'start of a piece');
    for (let at = piece.start; at < piece.end; at++) {
      if (piece.from === 'hole') bytes.push(0);
      else if (piece.from === 'base') bytes.push(under[at] ?? 0);
      else bytes.push(payloadByte(piece.op.seq, piece.at + at - piece.start));
    }
  }
  return bytes;
}

export class World {
  /** What is at the next hop. */
  readonly next: Model;
  /** What is there once everything is delivered. */
  readonly all: Model;
  readonly view = new View();
  readonly ops: Tracked[] = [];

  constructor(base: Model) {
    this.next = base.clone();
    this.all = base.clone();
  }

  run(command: Command): void {
    if (command.verb === 'apply') this.applySome(command);
    else if (command.verb === 'deliver') this.deliverSome(command);
    else this.releaseSome(command);
  }

  /** The operation of the command, at the first path where it succeeds. */
  private applySome(command: Command): void {
    for (let shift = 0; shift < PATHS.length; shift++) {
      const op = this.build(command, PATHS[(command.path + shift) % PATHS.length] as string);
      const made = this.all.apply(op);
      if (made === null) continue;
      const after = this.ops.filter((t) => related(t.op, op) || needsParents(op, t.made));
      this.ops.push({ op, made, after, delivered: false, released: false });
      this.view.apply(op);
      return;
    }
  }

  private build(command: Command, path: string): LiveOperation {
    const seq = this.ops.length + 1;
    const { kind, offset, size, payloadBytes } = command;
    const path2 = PATHS[command.path2 % PATHS.length] as string;
    let flags = command.flags & PARENTS;
    if (kind === KIND.write) {
      flags = command.flags & (CREATE | TRUNCATE | MODE | PARENTS);
      const mode = 0o600 + (seq % 8);
      return operation(seq, kind, path, { flags, offset, size, payloadBytes, mode });
    }
    if (kind === KIND.rename) return operation(seq, kind, path, { flags, path2 });
    if (kind === KIND.remove) flags = command.flags & DIRECTORY;
    // Whether the mode of a mkdir with PARENTS comes to bear is for the next hop to know.
    else if (flags === 0) flags = command.flags & MODE;
    return operation(seq, kind, path, { flags, mode: 0o700 + (seq % 8) });
  }

  private deliverSome({ pick, count }: Command): void {
    for (let i = 0; i < count; i++) {
      const ready = this.ops.filter((t) => !t.delivered && t.after.every((a) => a.delivered));
      if (ready.length === 0) return;
      this.deliver(ready[(pick + i * 5) % ready.length] as Tracked);
    }
  }

  private releaseSome({ pick, count }: Command): void {
    const batch: Tracked[] = [];
    for (let i = 0; i < count; i++) {
      const ready = this.ops.filter(
        (t) => t.delivered && !t.released && t.after.every((a) => a.released),
      );
      if (ready.length === 0) break;
      const chosen = ready[(pick + i * 5) % ready.length] as Tracked;
      chosen.released = true;
      // The order within a batch must not matter.
      if (i % 2 === 0) batch.push(chosen);
      else batch.unshift(chosen);
    }
    this.view.release(batch.map((t) => t.op));
  }

  private deliver(tracked: Tracked): void {
    const made = this.next.apply(tracked.op);
    if (made === null) throw new Error(`the model refuses ${tracked.op.seq} at the next hop`);
    tracked.delivered = true;
  }

  /** Delivers and releases these and what they depend on. */
  finish(wanted: ReadonlySet<number>): void {
    const needed = new Set<Tracked>();
    const need = (t: Tracked) => {
      if (needed.has(t)) return;
      needed.add(t);
      t.after.forEach(need);
    };
    this.ops.filter((t) => wanted.has(t.op.seq)).forEach(need);
    const batch = this.ops.filter((t) => needed.has(t) && !t.released);
    for (const tracked of batch) {
      if (!tracked.delivered) this.deliver(tracked);
      tracked.released = true;
    }
    this.view.release(batch.map((t) => t.op));
  }

  /** Compares everything, and returns the paths whose sight is unsettled. */
  check(view = this.view): string[] {
    const unsettled: string[] = [];
    for (const path of ['', ...PATHS]) {
      const sight = view.lookup(path);
      if (sight.beneath === 'unsettled') {
        this.checkSettle(sight, path);
        unsettled.push(path);
      } else {
        this.checkSight(sight, path);
      }
      this.checkList(view, path, sight);
    }
    return unsettled;
  }

  private checkSettle(sight: Sight, path: string): void {
    same(sight.settle.length > 0, true, `${path}: is there something to wait for`);
    for (const seq of sight.settle) {
      const tracked = this.ops[seq - 1];
      const isPendingRename = tracked?.op.kind === KIND.rename && !tracked.released;
      same(isPendingRename, true, `${path}: is ${seq} a pending rename`);
    }
    const thing = this.all.things.get(path);
    if (sight.known !== 'unknown') same(sight.known, thing?.kind, `${path}: kind`);
  }

  private checkSight(sight: Sight, path: string): void {
    const base = sight.beneath === 'natural' ? this.next.things.get(path) : undefined;
    const kind = sight.known === 'unknown' ? (base?.kind ?? 'absent') : sight.known;
    const thing = this.all.things.get(path);
    const what = `${path}: ${sight.known}/${sight.beneath}`;
    same(kind, thing?.kind ?? 'absent', what);
    same(sight.settle.length, 0, `${what}, nothing to wait for`);
    if (thing === undefined) return;
    if (base !== undefined) same(base.kind, kind, `${what}, the kind beneath`);
    if (sight.beneath === 'natural' || kind === 'directory') {
      same(sight.mode ?? base?.mode ?? null, thing.mode, `${what}, mode`);
    }
    if (kind === 'directory') return;
    const under = base?.bytes ?? [];
    const size = sight.file === null ? under.length : sight.file.size(under.length);
    same(size, thing.bytes.length, `${what}, size`);
    const bytes = sight.file === null ? under : merged(sight.file, size, under);
    same(bytes.join(), thing.bytes.join(), `${what}, bytes`);
  }

  private checkList(view: View, path: string, sight: Sight): void {
    const listed = view.list(path);
    same(listed.known, sight.known, `${path}: listed`);
    same(listed.beneath, sight.beneath, `${path}: listed`);
    const isComplete = sight.known === 'directory' && sight.beneath === 'none';
    same(listed.complete, isComplete, `${path}: complete`);
    for (const [name, entry] of listed.entries) {
      const child = view.lookup(joinPath(path, name));
      for (const key of ['known', 'beneath', 'mode', 'mtimeNs', 'pendingBytes'] as const) {
        same(entry[key], child[key], `${path}: entry ${name}, ${key}`);
      }
      same(entry.settle.join(), child.settle.join(), `${path}: entry ${name}, settle`);
    }
    if (this.all.things.get(path)?.kind !== 'directory' || listed.beneath === 'unsettled') return;
    const names = new Set(listed.complete ? [] : this.next.children(path));
    for (const [name, entry] of listed.entries) {
      if (entry.known === 'absent') names.delete(name);
      else if (entry.known !== 'unknown' || entry.beneath === 'unsettled') names.add(name);
    }
    same([...names].sort().join(), this.all.children(path).sort().join(), `${path}: names`);
  }

  /** A view made anew from what is still pending, as after a restart. */
  rebuilt(): View {
    const view = new View();
    for (const tracked of this.ops) if (!tracked.released) view.apply(tracked.op);
    return view;
  }
}
