/**
 * The oracle of the fault campaigns: what a client did, and what of it must be there.
 *
 * A client writes a journal beside its work, outside of the system under test: a step before it is
 * put, and an acknowledgement after commit or push has returned. The oracle replays the journal in
 * a model and compares it with the files found. Steps of one client take effect in order, so the
 * files must be those after the last acknowledged step, or after any later one that was tried:
 * un-acknowledged means "may or may not", acknowledged means "must". See Tail for what a power cut
 * makes of the former.
 *
 * Files are compared byte by byte; modes and times are not. Pure but for `readTree`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { difference, payload } from './pattern.ts';

/** One operation of a client; paths are relative to the client's own directory. */
export type Step =
  | {
      readonly do: 'write';
      readonly path: string;
      readonly file: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly do: 'stream'; readonly path: string; readonly file: number; readonly length: number }
  | { readonly do: 'truncate'; readonly path: string; readonly size: number }
  | { readonly do: 'rename'; readonly path: string; readonly to: string }
  | { readonly do: 'remove'; readonly path: string }
  | { readonly do: 'mkdir'; readonly path: string }
  | { readonly do: 'rmdir'; readonly path: string };

/** A line of a journal. */
export type Line =
  /** Steps are numbered 1, 2, 3 ...; a put is known by the number of its step. */
  | { readonly n: number; readonly step: Step }
  | { readonly acked: 'commit' | 'push'; readonly n: number }
  /** Something that the client itself saw and that must not be. */
  | { readonly problem: string }
  | { readonly note: string };

/** Paths to contents; directories have null. */
export type Tree = Map<string, Buffer | null>;

export interface Journal {
  readonly seed: number;
  readonly generation: number;
  readonly lines: readonly Line[];
}

export interface Verdict {
  readonly steps: number;
  readonly acked: number;
  /** Acknowledged and not there. */
  readonly lost: readonly string[];
  /** There, with bytes or under a name that no order of events explains. */
  readonly wrong: readonly string[];
  /** There although nobody put it, or after it was removed. */
  readonly invented: readonly string[];
}

/** The files of one client after some of its steps. */
export class Model {
  readonly files: Tree = new Map();
  readonly #seed: number;
  readonly #generation: number;

  constructor(seed: number, generation: number) {
    this.#seed = seed;
    this.#generation = generation;
  }

  apply(n: number, step: Step): void {
    const { files } = this;
    switch (step.do) {
      case 'write': {
        const bytes = this.#grown(step.path, step.offset + step.length);
        this.content(n, step).copy(bytes, step.offset);
        return;
      }
      case 'stream':
        files.set(step.path, this.content(n, step));
        return;
      case 'truncate': {
        const after = Buffer.alloc(step.size);
        files.get(step.path)?.copy(after);
        files.set(step.path, after);
        return;
      }
      case 'rename':
        files.set(step.to, files.get(step.path) ?? null);
        files.delete(step.path);
        return;
      case 'mkdir':
        files.set(step.path, null);
        return;
      case 'remove':
      case 'rmdir':
        files.delete(step.path);
    }
  }

  /** The same for some of the paths; what it is told later does not reach this one. */
  copyOf(paths: ReadonlySet<string>): Model {
    const copy = new Model(this.#seed, this.#generation);
    for (const [path, bytes] of this.files) {
      if (paths.has(path)) copy.files.set(path, bytes === null ? null : Buffer.from(bytes));
    }
    return copy;
  }

  /** The content of a file, made if it is not there, and at least `size` bytes long. */
  #grown(path: string, size: number): Buffer {
    const before = this.files.get(path) ?? Buffer.alloc(0);
    if (before.length >= size) return before;
    const after = Buffer.alloc(size);
    before.copy(after);
    this.files.set(path, after);
    return after;
  }

  /** The bytes that a step puts. */
  content(n: number, step: Step & { do: 'write' | 'stream' }): Buffer {
    const source = { seed: this.#seed, generation: this.#generation, file: step.file, put: n };
    return payload(source, step.do === 'write' ? step.offset : 0, step.length);
  }
}

/** Parses a journal's text; a torn last line is what a kill leaves, and is no line. */
export function parseJournal(seed: number, generation: number, text: string): Journal {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const lines = whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
  return { seed, generation, lines };
}

/**
 * What may be there of the steps that nobody acknowledged: the first few of them, or the first few
 * of those on each group of paths. A hop whose power fails loses what was not committed there, but
 * some of it had gone on, and different files may overtake each other.
 */
export type Tail = 'in order' | 'in order by path';

type Numbered = { readonly n: number; readonly step: Step };

/** Compares what a client did with the files of its directory. */
export function verify(journal: Journal, found: Tree, tail: Tail = 'in order'): Verdict {
  const steps = journal.lines.flatMap((line) => ('step' in line ? [line] : []));
  const acks = journal.lines.flatMap((line) => ('acked' in line ? [line.n] : []));
  const acked = Math.max(0, ...acks);
  const model = new Model(journal.seed, journal.generation);
  for (const { n, step } of steps) if (n <= acked) model.apply(n, step);
  const rest = steps.filter(({ n }) => n > acked);
  for (const group of tail === 'in order' ? [rest] : groupsOf(rest)) believe(model, group, found);
  const { lost, wrong, invented } = compare(model.files, found);
  return { steps: steps.length, acked, lost, wrong, invented };
}

/** Applies as many steps of the group to the model as explain best what was found. */
function believe(model: Model, group: readonly Numbered[], found: Tree): void {
  const paths = new Set(group.flatMap(({ step }) => pathsOf(step)));
  const there = new Map([...found].filter(([path]) => paths.has(path)));
  const trial = model.copyOf(paths);
  let best = { steps: 0, count: compare(trial.files, there).count };
  for (const [i, { n, step }] of group.entries()) {
    if (best.count === 0) break;
    // A stream is many operations: it may have come in part.
    if (step.do === 'stream' && isPart(trial, n, step, there)) {
      for (const before of group.slice(0, i)) model.apply(before.n, before.step);
      model.files.set(step.path, there.get(step.path) ?? null);
      return;
    }
    trial.apply(n, step);
    const { count } = compare(trial.files, there);
    if (count < best.count) best = { steps: i + 1, count };
  }
  for (const { n, step } of group.slice(0, best.steps)) model.apply(n, step);
}

/** Steps that have a path in common, directly or by way of others, stay together. */
function groupsOf(steps: readonly Numbered[]): Numbered[][] {
  let groups: { paths: Set<string>; steps: Numbered[] }[] = [];
  for (const numbered of steps) {
    const paths = pathsOf(numbered.step);
    const own = { paths: new Set(paths), steps: [] as Numbered[] };
    const others = groups.filter((group) => !paths.some((path) => group.paths.has(path)));
    for (const group of groups) {
      if (others.includes(group)) continue;
      for (const path of group.paths) own.paths.add(path);
      own.steps.push(...group.steps);
    }
    own.steps.sort((a, b) => a.n - b.n);
    own.steps.push(numbered);
    groups = [...others, own];
  }
  return groups.map((group) => group.steps);
}

/** What a step touches; a file belongs to its directory. */
function pathsOf(step: Step): string[] {
  const paths = step.do === 'rename' ? [step.path, step.to] : [step.path];
  return paths.flatMap((path) => (path.includes('/') ? [path, path.split('/')[0] ?? ''] : [path]));
}

interface Differences {
  readonly lost: readonly string[];
  readonly wrong: readonly string[];
  readonly invented: readonly string[];
  readonly count: number;
}

function isPart(model: Model, n: number, step: Step & { do: 'stream' }, found: Tree): boolean {
  const got = found.get(step.path);
  if (got === undefined || got === null || got.length > step.length) return false;
  const partly: Tree = new Map(model.files);
  partly.set(step.path, model.content(n, step).subarray(0, got.length));
  return compare(partly, found).count === 0;
}

/** What differs between the files expected and those found. */
export function compare(expected: Tree, found: Tree): Differences {
  const lost: string[] = [];
  const wrong: string[] = [];
  const invented: string[] = [];
  for (const [path, bytes] of expected) {
    const got = found.get(path);
    if (got === undefined) lost.push(`${path}: is not there`);
    else if (bytes === null || got === null) {
      if (bytes !== got) wrong.push(`${path}: a file for a directory, or the other way round`);
    } else {
      const text = difference(bytes, got);
      if (text !== null) wrong.push(`${path}: ${text}`);
    }
  }
  for (const path of found.keys()) if (!expected.has(path)) invented.push(`${path}: is there`);
  return { lost, wrong, invented, count: lost.length + wrong.length + invented.length };
}

/** All files and directories below `directory`. */
export function readTree(directory: string, below = '', into: Tree = new Map()): Tree {
  for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) {
      into.set(path, null);
      readTree(directory, path, into);
    } else {
      into.set(path, readFileSync(join(directory, path)));
    }
  }
  return into;
}
