/**
 * The view of a server's files, against a model file system.
 *
 * The heart is the first test: operations arrive, are applied at the next hop and are released in
 * every order the movers may choose; at each moment the view over the next hop's answer must be
 * what the model is with all operations applied. The tests behind it tell single cases by name.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLAGS, KIND, type Kind } from '../../../src/protocol/operation.ts';
import { isWithin, joinPath, splitPath } from '../../../src/route/address.ts';
import type { FileOverlay } from '../../../src/spool/extents.ts';
import { View, type LiveOperation, type Sight } from '../../../src/spool/view.ts';

const { CREATE, TRUNCATE, MODE, MTIME, PARENTS, DIRECTORY } = FLAGS;

function operation(
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
function payloadByte(seq: number, at: number): number {
  return ((seq * 31 + at * 7) % 255) + 1;
}

interface Thing {
  readonly kind: 'file' | 'directory';
  readonly bytes: readonly number[];
  readonly mode: number | null;
}

/** A file system in which an operation succeeds whole or fails whole. */
class Model {
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

function written(before: readonly number[], op: LiveOperation): number[] {
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

const TOP = ['a', 'b', 'c'];
const LOW = ['a', 'b'];
const SECOND = TOP.flatMap((top) => LOW.map((low) => `${top}/${low}`));
const PATHS = [...TOP, ...SECOND, ...SECOND.flatMap((path) => LOW.map((low) => `${path}/${low}`))];

/** One line of a script, as numbers, so that it shrinks. */
interface Command {
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

interface Tracked {
  readonly op: LiveOperation;
  /** Directories it made on the way. */
  readonly made: readonly string[];
  /** Operations that have to be delivered, and released, before it. */
  readonly after: readonly Tracked[];
  delivered: boolean;
  released: boolean;
}

function related(a: LiveOperation, b: LiveOperation): boolean {
  const paths = (op: LiveOperation) => (op.path2 === '' ? [op.path] : [op.path, op.path2]);
  return paths(a).some((p) => paths(b).some((q) => isWithin(p, q) || isWithin(q, p)));
}

/** Does `later` stand in a directory that only `earlier` made? With PARENTS it makes its own. */
function needsParents(later: LiveOperation, made: readonly string[]): boolean {
  if ((later.flags & PARENTS) !== 0) return false;
  return made.some(
    (path) => isWithin(later.path, path) || (later.path2 !== '' && isWithin(later.path2, path)),
  );
}

/** `expect` takes too long for the millions of comparisons here. */
function same(actual: unknown, expected: unknown, what: string): void {
  if (actual === expected) return;
  throw new Error(`${what}: ${String(actual)} in the view, ${String(expected)} in the model`);
}

/** The bytes of a file as a reader puts them together. */
function merged(file: FileOverlay, size: number, under: readonly number[]): number[] {
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

class World {
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

const command: fc.Arbitrary<Command> = fc.record({
  verb: fc.constantFrom('apply', 'apply', 'apply', 'deliver', 'release'),
  kind: fc.constantFrom<Kind>(1, 1, 1, 2, 3, 3, 4),
  path: fc.nat(PATHS.length - 1),
  path2: fc.nat(PATHS.length - 1),
  flags: fc.nat(255),
  offset: fc.nat(12),
  size: fc.oneof(fc.constant(0), fc.nat(12)),
  payloadBytes: fc.nat(6),
  pick: fc.nat(40),
  count: fc.integer({ min: 1, max: 4 }),
});

const runs = process.env['KANGAROO_LONG'] === '1' ? 30_000 : 2_500;

/** What the next hop has in the beginning: true for a directory. */
const baseTree = fc.array(fc.tuple(fc.constantFrom(...PATHS), fc.boolean()), { maxLength: 8 });

function baseModel(entries: readonly (readonly [string, boolean])[]): Model {
  const model = new Model();
  entries.forEach(([path, isDirectory], i) => {
    const kind = isDirectory ? KIND.mkdir : KIND.write;
    const flags = CREATE | MODE | PARENTS;
    // Numbers no operation of a script has, so that its bytes are told apart.
    model.apply(operation(100 + i, kind, path, { flags, mode: 0o640 + i, payloadBytes: 9 }));
  });
  return model;
}

describe('view over next hop is the model', () => {
  test('whatever has been delivered and released', () => {
    let unsettledSeen = 0;
    fc.assert(
      fc.property(
        baseTree,
        fc.array(command, { minLength: 1, maxLength: 40, size: 'max' }),
        (base, script) => {
          const world = new World(baseModel(base));
          let unsettled: string[] = [];
          for (const line of script) {
            world.run(line);
            unsettled = world.check();
          }
          world.check(world.rebuilt());
          unsettledSeen += unsettled.length;
          for (const path of unsettled.slice(0, 2)) {
            const again = new World(baseModel(base));
            for (const line of script) again.run(line);
            again.finish(new Set(again.view.lookup(path).settle));
            expect(again.view.lookup(path).beneath, `${path} settles`).not.toBe('unsettled');
            again.check();
          }
          world.finish(new Set(world.ops.map((tracked) => tracked.op.seq)));
          world.check();
          expect(world.view.pendingCount).toBe(0);
          expect(world.view.list('').entries.size, 'nothing is left behind').toBe(0);
        },
      ),
      { numRuns: runs },
    );
    expect(unsettledSeen).toBeGreaterThan(1000);
  }, 300_000);

  test('operations that make no sense, released in no order, leave nothing behind', () => {
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 60, size: 'max' }), (script) => {
        const view = new View();
        const pending: LiveOperation[] = [];
        script.forEach((line, i) => {
          const path = PATHS[line.path] as string;
          const path2 = line.kind === KIND.rename ? (PATHS[line.path2] as string) : '';
          const op = operation(i + 1, line.kind, path, { ...line, path, path2 });
          view.apply(op);
          pending.push(op);
          if (line.verb === 'release') {
            const at = line.pick % pending.length;
            view.release(pending.splice(at, line.count));
          }
          for (const path of PATHS) view.list(path);
        });
        expect(view.pendingCount).toBe(pending.length);
        view.release(pending.reverse());
        expect(view.pendingCount).toBe(0);
        expect(view.list('').entries.size).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});

/** A view and a short way to say operations; each is numbered and returned. */
class Script {
  readonly view = new View();
  #seq = 0;

  put(path: string, flags = 0, parts: Partial<LiveOperation> = {}): LiveOperation {
    return this.#apply(KIND.write, path, { payloadBytes: 10, flags, ...parts });
  }

  mkdir(path: string, flags = 0): LiveOperation {
    return this.#apply(KIND.mkdir, path, { flags, mode: 0o750 });
  }

  rename(path: string, path2: string, flags = 0): LiveOperation {
    return this.#apply(KIND.rename, path, { path2, flags });
  }

  remove(path: string, flags = 0): LiveOperation {
    return this.#apply(KIND.remove, path, { flags });
  }

  /** known/beneath of a path, with what it waits for. */
  see(path: string): string {
    const { known, beneath, settle } = this.view.lookup(path);
    return [known, beneath, ...settle].join(' ');
  }

  #apply(kind: Kind, path: string, parts: Partial<LiveOperation>): LiveOperation {
    this.#seq += 1;
    const op = operation(this.#seq, kind, path, parts);
    this.view.apply(op);
    return op;
  }
}

describe('a sight', () => {
  test("of an untouched path is the next hop's", () => {
    const s = new Script();
    expect(s.see('a/b')).toBe('unknown natural');
    expect(s.see('')).toBe('directory natural');
    expect(s.view.list('a')).toEqual({
      known: 'unknown',
      beneath: 'natural',
      settle: [],
      complete: false,
      entries: new Map(),
      more: false,
    });
  });

  test('of a write without CREATE leaves existence to the next hop', () => {
    const s = new Script();
    s.put('a/f');
    expect(s.see('a/f')).toBe('unknown natural');
    expect(s.see('a')).toBe('unknown natural');
    expect(s.view.lookup('a/f').file?.size(3)).toBe(10);
    expect(s.view.lookup('a/f').pendingBytes).toBe(10);
  });

  test("of a created file shows the next hop's bytes beside the pending ones", () => {
    const s = new Script();
    const made = s.put('d/f', CREATE, { offset: 5 });
    expect(s.see('d/f')).toBe('file natural');
    expect(s.see('d')).toBe('directory natural');
    expect(s.see('d/f/x')).toBe('absent none');
    expect(s.view.lookup('d/f').file?.baseLimit).toBe(Infinity);
    s.view.release([made]);
    expect(s.see('d/f')).toBe('unknown natural');
    expect(s.see('d')).toBe('unknown natural');
  });

  test('of a file in a directory made here needs nobody', () => {
    const s = new Script();
    const made = s.mkdir('d');
    expect(s.see('d/f')).toBe('absent none');
    s.put('d/f', CREATE);
    s.put('d/g');
    expect(s.see('d/f')).toBe('file none');
    expect(s.see('d/g')).toBe('absent none');
    expect(s.view.list('d')).toMatchObject({ complete: true, beneath: 'none' });
    expect([...s.view.list('d').entries.keys()]).toEqual(['f']);
    s.view.release([made]);
    expect(s.see('d')).toBe('directory natural');
    expect(s.see('d/g')).toBe('unknown natural');
    expect(s.see('d/f')).toBe('file none');
  });

  test('of a directory that may exist already is natural', () => {
    const s = new Script();
    s.mkdir('d/e', PARENTS);
    expect([s.see('d'), s.see('d/e'), s.see('d/e/f')]).toEqual([
      'directory natural',
      'directory natural',
      'unknown natural',
    ]);
    s.mkdir('d/e');
    expect(s.see('d/e')).toBe('directory natural');
  });

  test('keeps parents that a pending PARENTS made, also when nothing is left in them', () => {
    const s = new Script();
    const made = s.put('d/e/f', CREATE | PARENTS);
    const removed = s.remove('d/e/f');
    expect(s.see('d')).toBe('directory natural');
    expect(s.see('d/e/f')).toBe('absent none');
    s.view.release([made]);
    expect(s.see('d/e/f')).toBe('absent none');
    s.view.release([removed]);
    expect(s.see('d')).toBe('unknown natural');
    expect(s.view.list('').entries.size).toBe(0);
  });

  test('of a tree removed and put again shows nothing of the old one', () => {
    const s = new Script();
    const gone = [s.remove('d/old'), s.remove('d', DIRECTORY)];
    s.put('d/new', CREATE | PARENTS);
    const second = s.put('d/next', CREATE | PARENTS);
    expect([s.see('d'), s.see('d/old')]).toEqual(['directory none', 'absent none']);
    // The second put overtakes the first and is released: it must still be found.
    s.view.release([...gone, second]);
    expect([s.see('d'), s.see('d/next')]).toEqual(['directory natural', 'unknown natural']);
    expect(s.see('d/new')).toBe('file none');
  });

  test('of attributes does not make a directory a file', () => {
    const s = new Script();
    s.mkdir('d');
    s.put('d', MODE | MTIME, { payloadBytes: 0, mode: 0o700, mtimeNs: 5n });
    expect(s.view.lookup('d')).toMatchObject({ known: 'directory', mode: 0o700, mtimeNs: 5n });
    s.put('x', MODE, { payloadBytes: 0, mode: 0o600 });
    expect(s.view.lookup('x')).toMatchObject({ known: 'unknown', file: null, mode: 0o600 });
    const root = s.put('', MODE, { payloadBytes: 0, mode: 0o711 });
    expect(s.view.lookup('')).toMatchObject({ known: 'directory', mode: 0o711 });
    s.view.release([root]);
    expect(s.view.lookup('').mode).toBe(null);
  });

  test('of a time is forgotten with the next write that does not say it', () => {
    const s = new Script();
    const timed = s.put('f', CREATE | MTIME | MODE, { mtimeNs: 7n, mode: 0o640 });
    expect(s.view.lookup('f').mtimeNs).toBe(7n);
    s.put('f', MODE, { payloadBytes: 0, mode: 0o600 });
    expect(s.view.lookup('f')).toMatchObject({ mode: 0o600, mtimeNs: 7n });
    s.put('f');
    expect(s.view.lookup('f')).toMatchObject({ mode: 0o600, mtimeNs: null, pendingBytes: 20 });
    s.view.release([timed]);
    expect(s.view.lookup('f')).toMatchObject({ known: 'file', mode: 0o600, pendingBytes: 10 });
  });

  test('of a renamed unknown path waits for the rename', () => {
    const s = new Script();
    const first = s.rename('a', 'b');
    const second = s.rename('b', 'c');
    expect([s.see('a'), s.see('b'), s.see('c'), s.see('c/x')]).toEqual([
      'absent none',
      'absent none',
      'unknown unsettled 2',
      'unknown unsettled 2',
    ]);
    s.view.release([first]);
    expect([s.see('a'), s.see('b'), s.see('c')]).toEqual([
      'unknown natural',
      'absent none',
      'unknown unsettled 2',
    ]);
    s.view.release([second]);
    expect(s.view.list('').entries.size).toBe(0);
  });

  test('of a swap waits on both sides', () => {
    const s = new Script();
    const ops = [s.rename('a', 't'), s.rename('b', 'a'), s.rename('t', 'b')] as const;
    expect([s.see('a'), s.see('b'), s.see('t')]).toEqual([
      'unknown unsettled 2',
      'unknown unsettled 3',
      'absent none',
    ]);
    s.view.release([ops[0], ops[1]]);
    expect([s.see('a'), s.see('b')]).toEqual(['unknown natural', 'unknown unsettled 3']);
  });

  test('of a new file follows renames and becomes unsettled when it is at the next hop', () => {
    const s = new Script();
    const made = s.mkdir('d');
    const put = s.put('d/tmp', CREATE);
    const moved = s.rename('d/tmp', 'final');
    expect([s.see('final'), s.see('d/tmp')]).toEqual(['file none', 'absent none']);
    expect(s.view.lookup('final').file?.size(99)).toBe(10);
    s.view.release([made, put]);
    expect(s.see('final')).toBe('file unsettled 3');
    expect(s.see('d/tmp')).toBe('absent none');
    s.view.release([moved]);
    expect(s.see('final')).toBe('unknown natural');
  });

  test('of a file cut to nothing does not wait for the rename that moved it', () => {
    const s = new Script();
    const put = s.put('tmp', CREATE | TRUNCATE);
    expect(s.see('tmp')).toBe('file natural');
    const moved = s.rename('tmp', 'final');
    expect(s.see('final')).toBe('file none');
    s.put('final', 0, { offset: 10 });
    expect(s.view.lookup('final').file?.size(99)).toBe(20);
    s.view.release([put]);
    expect(s.see('final')).toBe('file unsettled 2');
    s.view.release([moved]);
    expect(s.see('final')).toBe('file natural');
  });

  test('of a directory renamed, made again and released in pieces', () => {
    const s = new Script();
    const inside = s.put('d/f', CREATE);
    const moved = s.rename('d', 'e');
    const again = s.mkdir('d');
    const anew = s.put('d/f', CREATE);
    expect([s.see('e'), s.see('e/f'), s.see('d'), s.see('d/f'), s.see('d/g')]).toEqual([
      'directory unsettled 2',
      'file unsettled 2',
      'directory none',
      'file none',
      'absent none',
    ]);
    s.view.release([inside, moved]);
    expect([s.see('e/f'), s.see('d/f')]).toEqual(['unknown natural', 'file none']);
    s.view.release([again]);
    expect([s.see('d'), s.see('d/f')]).toEqual(['directory natural', 'file none']);
    s.view.release([anew]);
    expect(s.view.list('').entries.size).toBe(0);
  });

  test('of what was moved into a directory made and renamed here waits for both renames', () => {
    const s = new Script();
    const ops = [s.mkdir('d'), s.rename('x', 'd/x'), s.rename('d', 'e')] as const;
    expect([s.see('e'), s.see('e/x'), s.see('e/y')]).toEqual([
      'directory none',
      'unknown unsettled 3 2',
      'absent none',
    ]);
    s.view.release([ops[0], ops[1]]);
    expect([s.see('e'), s.see('e/x')]).toEqual(['directory unsettled 3', 'unknown unsettled 3']);
  });

  test('of what lies in a new directory waits for a later rename further up, too', () => {
    const s = new Script();
    const ops = [s.rename('a', 'b'), s.mkdir('b/d'), s.rename('x', 'b/d/x')] as const;
    s.rename('b', 'c');
    expect([s.see('c/d'), s.see('c/d/x')]).toEqual(['directory none', 'unknown unsettled 4 3']);
    s.view.release(ops);
    expect(s.see('c/d/x')).toBe('unknown unsettled 4');
  });

  test('of a directory made with PARENTS where one was removed is a new one', () => {
    const s = new Script();
    const gone = s.remove('d', DIRECTORY);
    const made = s.mkdir('d', PARENTS | MODE);
    s.rename('d', 'e');
    s.view.release([gone]);
    expect(s.view.lookup('e')).toMatchObject({ known: 'directory', beneath: 'none', mode: 0o750 });
    s.view.release([made]);
    expect(s.view.lookup('e')).toMatchObject({ beneath: 'unsettled', mode: null });
  });

  test('of a replaced file is the new one, and its own operations go quietly', () => {
    const s = new Script();
    const old = [s.put('y', CREATE), s.put('y', 0, { offset: 50 })];
    s.put('x', CREATE | TRUNCATE, { payloadBytes: 3 });
    s.rename('x', 'y');
    expect(s.view.lookup('y').file?.size(0)).toBe(3);
    s.view.release(old);
    expect(s.view.lookup('y')).toMatchObject({ known: 'file', pendingBytes: 3 });
    expect(s.view.pendingCount).toBe(2);
  });

  test('is not changed by what will be refused', () => {
    const s = new Script();
    s.mkdir('d');
    s.put('d/f', CREATE);
    const refused = [
      s.put('d', CREATE),
      s.put('d/none'),
      s.put('d/no/f', CREATE),
      s.put('d/f/x', CREATE | PARENTS),
      s.mkdir('d/f', PARENTS),
      s.remove('d', DIRECTORY),
      s.remove('d'),
      s.remove('d/none'),
      s.remove('d/f', DIRECTORY),
      s.rename('d', 'd/e'),
      s.rename('d/f', 'd'),
      s.rename('d/f', 'd/f'),
      s.rename('d/none', 'x'),
      s.rename('x', 'd'),
      s.rename('d', 'd/f'),
    ];
    expect([...s.view.list('').entries.keys()]).toEqual(['d']);
    expect([...s.view.list('d').entries.keys()]).toEqual(['f']);
    expect(s.view.lookup('d/f').pendingBytes).toBe(10);
    expect(s.view.pendingCount).toBe(17);
    s.view.release(refused);
    s.view.release(refused);
    expect(s.view.pendingCount).toBe(2);
  });
});

describe('a listing', () => {
  test('comes in pages, in byte order, and sees what changed between them', () => {
    const s = new Script();
    const names = Array.from(
      { length: 100 },
      (_, i) => `${String.fromCharCode(48 + ((i * 37) % 200))}${i}`,
    );
    names.forEach((name) => s.put(`d/${name}`, CREATE));
    s.remove('d/gone');
    const sorted = [...names, 'gone'].sort();
    const seen: string[] = [];
    for (let more = true; more;) {
      const page = s.view.list('d', seen.at(-1), 7);
      expect(page.entries.size).toBeLessThanOrEqual(7);
      seen.push(...page.entries.keys());
      more = page.more;
    }
    expect(seen).toEqual(sorted);
    expect(s.view.list('d').entries.get('gone')?.known).toBe('absent');
    const last = s.put('d/\xff\xff', CREATE);
    expect([...s.view.list('d', sorted.at(-1)).entries.keys()]).toEqual(['\xff\xff']);
    s.view.release([last]);
    expect(s.view.list('d', sorted.at(-1)).entries.size).toBe(0);
  });
});
