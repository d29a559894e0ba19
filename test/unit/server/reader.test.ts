/**
 * Reads at a hop against a model file system: real spooled operations, some of them delivered, some
 * released, over a next hop in memory that delivers and releases more while it is being asked. What
 * a reader is told must be the file system with all operations applied, whatever happens meanwhile.
 * 50 scripts; KANGAROO_LONG=1 makes them 2,000.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/deadline.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { FOUND_KIND } from '../../../src/protocol/messages.ts';
import { FLAGS, KIND } from '../../../src/protocol/operation.ts';
import { joinPath } from '../../../src/route/address.ts';
import { type Beneath, type Facts, type ListedEntry, Reader } from '../../../src/server/reader.ts';
import { placesOf } from '../../../src/server/verb-locate.ts';
import type { Entry } from '../../../src/spool/entry.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { incoming, SpoolCase } from '../../support/spool-case.ts';
import {
  type Command,
  Model,
  operation,
  PATHS,
  payloadByte,
  type Thing,
  World,
} from '../spool/view-model.ts';

const isLong = process.env['KANGAROO_LONG'] === '1';
const NAME = 'dest';
const { CREATE, TRUNCATE, MODE, PARENTS } = FLAGS;
const scene = new SpoolCase();
let spools = 0;
/** Bytes that were found in segments. */
let placed = 0;
afterAll(async () => {
  await scene.end();
});

/** A world whose operations lie in a spool too. */
class Hop {
  readonly world: World;
  readonly reader: Reader;
  readonly beneath: Beneath;
  readonly spool: Spool;
  readonly #entries: Entry[] = [];
  /** What happens while the next hop is being asked, before and after it looks, in turn. */
  #meanwhile: (readonly Command[])[] = [];
  settled = 0;

  constructor(spool: Spool, base: Model) {
    this.spool = spool;
    this.world = new World(base);
    this.reader = new Reader(spool, async (seqs) => {
      this.settled += 1;
      await Promise.resolve();
      this.world.finish(new Set(seqs));
      this.#follow();
    });
    this.beneath = this.#makeBeneath();
  }

  run(command: Command): void {
    this.world.run(command);
    for (const { op } of this.world.ops.slice(this.#entries.length)) {
      const payload = Buffer.alloc(op.payloadBytes);
      for (let at = 0; at < payload.length; at++) payload[at] = payloadByte(op.seq, at);
      const { kind, flags, path2, offset, size, mode } = op;
      const parts = { kind, flags, path2, offset, size, mode };
      const [entry] = this.spool.append([incoming(op.seq, op.path, payload, parts)]) as [Entry];
      expect(entry.seq).toBe(op.seq);
      this.#entries.push(entry);
    }
    this.#follow();
  }

  disturbWith(groups: readonly (readonly Command[])[]): void {
    this.#meanwhile = groups.map((group) => group.filter(({ verb }) => verb !== 'apply'));
  }

  #follow(): void {
    const gone = this.world.ops.flatMap(({ released, op }) => {
      const entry = this.#entries[op.seq - 1] as Entry;
      return released && !entry.released ? [entry] : [];
    });
    if (gone.length > 0) this.spool.release(gone);
  }

  #disturb(): void {
    for (const one of this.#meanwhile.shift() ?? []) this.run(one);
  }

  async #asked<T>(answer: () => T): Promise<T> {
    await Promise.resolve();
    this.#disturb();
    const given = answer();
    this.#disturb();
    await Promise.resolve();
    return given;
  }

  #makeBeneath(): Beneath {
    const thingAt = (path: string): Thing | undefined => this.world.next.things.get(path);
    const facts = (thing: Thing): Facts => ({
      kind: thing.kind === 'file' ? FOUND_KIND.file : FOUND_KIND.directory,
      size: thing.kind === 'file' ? thing.bytes.length : 0,
      mode: thing.mode ?? 0o644,
      mtimeNs: 5n,
      pendingBytes: 0,
    });
    return {
      stat: async (path) => {
        return await this.#asked(() => {
          const thing = thingAt(path);
          return thing === undefined ? null : facts(thing);
        });
      },
      read: async (path, offset, length) => {
        return await this.#asked(() => {
          const thing = thingAt(path);
          if (thing === undefined) return null;
          return Buffer.from(thing.bytes.slice(offset, offset + length));
        });
      },
      list: async (path, after, max) => {
        return await this.#asked(() => {
          if (thingAt(path)?.kind !== 'directory') {
            throw new KangarooError('NOT_FOUND', 'no such directory');
          }
          const names = this.world.next
            .children(path)
            .sort()
            .filter((name) => name > after);
          const entries = names.slice(0, max).map((name): ListedEntry => {
            return { name, ...facts(thingAt(joinPath(path, name)) as Thing) };
          });
          return { entries, more: names.length > max };
        });
      },
    };
  }
}

async function orCode<T>(work: Promise<T>): Promise<T | string> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof KangarooError) return error.code;
    throw error;
  }
}

async function checkPath(hop: Hop, path: string, offset: number, length: number): Promise<void> {
  const { reader, beneath, world } = hop;
  const thing = world.all.things.get(path);
  placed += checkPlaces(hop, path, offset, length) + checkPlaces(hop, path, 0, 100);
  // Before a stat, which may have to wait for what a read could do without.
  if (thing?.kind === 'file' && offset % 2 === 0) {
    const bytes = await reader.read(NAME, path, offset, length, beneath, NEVER);
    expect([path, [...bytes]]).toEqual([path, thing.bytes.slice(offset, offset + length)]);
  }
  const found = await orCode(reader.stat(NAME, path, beneath, NEVER));
  if (thing === undefined) {
    expect([path, found]).toEqual([path, 'NOT_FOUND']);
    expect(await orCode(reader.read(NAME, path, 0, 10, beneath, NEVER))).toBe('NOT_FOUND');
    return;
  }
  if (typeof found === 'string') throw new Error(`stat ${path}: ${found}`);
  expect([path, found.kind]).toEqual([path, FOUND_KIND[thing.kind]]);
  // Of a file that was cut to nothing here nobody is asked, so that its mode may be a guess.
  const isGuess = found.mode === 0o666;
  if (thing.mode !== null && !isGuess) expect([path, found.mode]).toEqual([path, thing.mode]);
  if (thing.kind === 'directory') {
    await checkList(hop, path);
    return;
  }
  expect([path, found.size]).toEqual([path, thing.bytes.length]);
  for (const [from, count] of [
    [0, 100],
    [offset, length],
  ] as const) {
    const bytes = await reader.read(NAME, path, from, count, beneath, NEVER);
    const what = `${path} ${from}+${count}`;
    expect([what, [...bytes]]).toEqual([what, thing.bytes.slice(from, from + count)]);
  }
}

/** What PLACES says is what the model has, up to where it ends. Returns how much that is. */
function checkPlaces({ spool, world }: Hop, path: string, offset: number, length: number): number {
  const thing = world.all.things.get(path);
  const pieces = placesOf(spool, NAME, path, offset, length);
  if (thing?.kind !== 'file') {
    expect([path, pieces]).toEqual([path, []]);
    return 0;
  }
  const bytes: number[] = [];
  const files = new Map<number, string>();
  for (const piece of pieces) {
    expect(piece.offset).toBe(offset + bytes.length);
    if (piece.file !== '') files.set(piece.segment, piece.file);
    const there = Buffer.alloc(piece.bytes);
    if (piece.segment !== 0) {
      const fd = openSync(files.get(piece.segment) as string, 'r');
      expect(readSync(fd, there, 0, piece.bytes, piece.at)).toBe(piece.bytes);
      expect(fstatSync(fd).ino).toBe(piece.ino);
      closeSync(fd);
    }
    bytes.push(...there);
  }
  const what = `places of ${path} ${offset}+${length}`;
  const wanted = thing.bytes.slice(offset, offset + Math.min(length, bytes.length));
  expect([what, bytes]).toEqual([what, wanted]);
  return bytes.length;
}

async function checkList({ reader, beneath, world }: Hop, path: string): Promise<void> {
  const listed = new Map<string, ListedEntry>();
  for (let after = '', more = true; more;) {
    const most = 1 + (listed.size % 2);
    const page = await reader.list(NAME, path, after, most, beneath, NEVER);
    for (const entry of page.entries) listed.set(entry.name, entry);
    expect(page.entries.length > 0 || !page.more).toBe(true);
    after = page.entries.at(-1)?.name ?? after;
    more = page.more;
  }
  expect([path, [...listed.keys()]]).toEqual([path, world.all.children(path).sort()]);
  for (const [name, entry] of listed) {
    const thing = world.all.things.get(joinPath(path, name)) as Thing;
    expect([name, entry.kind]).toEqual([name, FOUND_KIND[thing.kind]]);
    if (thing.kind === 'file') expect([name, entry.size]).toEqual([name, thing.bytes.length]);
  }
}

const command: fc.Arbitrary<Command> = fc.record({
  verb: fc.constantFrom('apply', 'apply', 'deliver', 'release'),
  kind: fc.constantFrom(KIND.write, KIND.write, KIND.write, KIND.mkdir, KIND.rename, KIND.remove),
  path: fc.nat(PATHS.length - 1),
  path2: fc.nat(PATHS.length - 1),
  flags: fc.nat(255),
  offset: fc.nat(12),
  size: fc.nat(14),
  payloadBytes: fc.nat(6),
  pick: fc.nat(20),
  count: fc.integer({ min: 1, max: 4 }),
});

/** Some files and directories that the next hop has had for ever. */
function baseOf(picks: readonly number[]): Model {
  const model = new Model();
  for (const [i, pick] of picks.entries()) {
    const parts = { flags: CREATE | MODE | PARENTS, mode: 0o640, payloadBytes: 9 };
    model.apply(operation(100 + i, KIND.write, PATHS[pick] as string, parts));
  }
  return model;
}

async function hopOver(base: Model): Promise<{ readonly hop: Hop; readonly spool: Spool }> {
  const spool = await scene.open(`${scene.root}/reader-${++spools}`);
  return { hop: new Hop(spool, base), spool };
}

test(
  'what is read is what the model has, whatever is on its way meanwhile',
  async () => {
    let settled = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(PATHS.length - 1), { maxLength: 4 }),
        fc.array(command, { minLength: 1, maxLength: 25, size: 'max' }),
        fc.array(fc.array(command, { maxLength: 4 }), { maxLength: 8 }),
        fc.nat(15),
        fc.nat(15),
        async (base, script, meanwhile, offset, length) => {
          const { hop, spool } = await hopOver(baseOf(base));
          try {
            for (const [i, line] of script.entries()) {
              hop.run(line);
              if (i % 5 > 0 && i < script.length - 1) continue;
              const path = PATHS[line.path] as string;
              hop.disturbWith(meanwhile);
              await checkPath(hop, path, offset, length);
            }
            hop.disturbWith(meanwhile);
            for (const path of ['', ...PATHS]) await checkPath(hop, path, offset, length);
            settled += hop.settled;
          } finally {
            await scene.close(spool);
          }
        },
      ),
      { numRuns: isLong ? 2_000 : 50 },
    );
    expect(settled).toBeGreaterThan(0);
    expect(placed).toBeGreaterThan(0);
  },
  isLong ? 3_600_000 : 300_000,
);

describe('while the next hop is asked', () => {
  const write: Command = {
    verb: 'apply',
    kind: KIND.write,
    path: 0,
    path2: 0,
    flags: 0,
    offset: 0,
    size: 0,
    payloadBytes: 0,
    pick: 0,
    count: 1,
  };
  const deliver: Command = { ...write, verb: 'deliver' };
  const release: Command = { ...write, verb: 'release' };

  test('a file does not end early because what made it long has left', async () => {
    const { hop, spool } = await hopOver(baseOf([0]));
    hop.run({ ...write, offset: 30, payloadBytes: 5 });
    hop.disturbWith([[], [deliver, release]]);
    // All of it lies before the pending bytes.
    const bytes = await hop.reader.read(NAME, 'a', 0, 20, hop.beneath, NEVER);
    expect(bytes.length).toBe(20);
    await scene.close(spool);
  });

  test('a stat with one pending write ends, though each look at it is another', async () => {
    const { hop, spool } = await hopOver(baseOf([0]));
    hop.run({ ...write, offset: 3, payloadBytes: 2 });
    const facts = await hop.reader.stat(NAME, 'a', hop.beneath, NEVER);
    expect([facts.size, facts.pendingBytes]).toEqual([9, 2]);
    await scene.close(spool);
  });

  test('of a file that is cut to nothing here, its mode is asked for', async () => {
    const { hop, spool } = await hopOver(new Model());
    hop.run({ ...write, flags: CREATE | MODE, payloadBytes: 9 });
    hop.run({ ...write, flags: TRUNCATE, payloadBytes: 6 });
    // What made it has arrived and left, with the mode that it had.
    hop.run(deliver);
    hop.run(release);
    const { mode } = hop.world.all.things.get('a') as Thing;
    expect(mode).not.toBe(null);
    const facts = await hop.reader.stat(NAME, 'a', hop.beneath, NEVER);
    expect([facts.size, facts.mode]).toEqual([6, mode]);
    await scene.close(spool);
  });

  test('nobody is asked where everything is here', async () => {
    const { hop, spool } = await hopOver(new Model());
    hop.run({ ...write, flags: CREATE | TRUNCATE | MODE, payloadBytes: 6 });
    const nobody: Beneath = {
      stat: async () => await Promise.reject(new Error('asked')),
      read: async () => await Promise.reject(new Error('asked')),
      list: async () => await Promise.reject(new Error('asked')),
    };
    expect((await hop.reader.stat(NAME, 'a', nobody, NEVER)).size).toBe(6);
    expect((await hop.reader.read(NAME, 'a', 0, 100, nobody, NEVER)).length).toBe(6);
    await scene.close(spool);
  });

  test('the size of a file has to be known; what a directory has beneath can be done without', async () => {
    const spool = await scene.open();
    const beneath = (needed: boolean[]): Beneath => ({
      stat: async (_path, _deadline, isNeeded) => {
        needed.push(isNeeded);
        return await Promise.resolve(null);
      },
      read: async () => await Promise.reject(new Error('asked')),
      list: async () => await Promise.reject(new Error('asked')),
    });
    const reader = new Reader(spool, async () => await Promise.resolve());
    spool.append([
      incoming(1, 'file', Buffer.from('behind'), { flags: CREATE, offset: 100 }),
      incoming(2, 'directory', Buffer.alloc(0), { kind: KIND.mkdir, flags: FLAGS.PARENTS }),
    ]);
    for (const [path, isNeeded] of [
      ['file', true],
      ['directory', false],
      ['other', true],
    ] as const) {
      const needed: boolean[] = [];
      await reader.stat(NAME, path, beneath(needed), NEVER).catch(() => null);
      expect([path, needed]).toEqual([path, [isNeeded]]);
    }
    await scene.close(spool);
  });

  test('an operation may leave with its segment, and is then read where it arrived', async () => {
    const small = new SpoolCase(512 * 1024);
    try {
      const spool = await small.open();
      const text = Buffer.alloc(66_000, 'x');
      const [entry] = spool.append([incoming(1, 'a', text, { offset: 100 })]) as [Entry];
      // Begins another segment.
      spool.append([incoming(2, 'b', Buffer.from('y'))]);
      let arrived = Buffer.alloc(100, 'o');
      const beneath: Beneath = {
        stat: async () => await Promise.reject(new Error('asked')),
        list: async () => await Promise.reject(new Error('asked')),
        read: async (_, offset, length) => {
          const given = Buffer.from(arrived.subarray(offset, offset + length));
          arrived = Buffer.concat([Buffer.alloc(100, 'o'), text]);
          spool.release([entry]);
          await spool.tidy();
          return given;
        },
      };
      const reader = new Reader(spool, async () => await Promise.resolve());
      const bytes = await reader.read(NAME, 'a', 0, 200, beneath, NEVER);
      expect(bytes).toEqual(arrived.subarray(0, 200));
    } finally {
      await small.end();
    }
  });

  test('a directory is no file and a file no directory', async () => {
    const { hop, spool } = await hopOver(new Model());
    hop.run({ ...write, kind: KIND.mkdir });
    hop.run({ ...write, path: 1, flags: CREATE });
    expect(await orCode(hop.reader.read(NAME, 'a', 0, 1, hop.beneath, NEVER))).toBe('IS_DIRECTORY');
    const listed = hop.reader.list(NAME, 'b', '', 9, hop.beneath, NEVER);
    expect(await orCode(listed)).toBe('NOT_DIRECTORY');
    await scene.close(spool);
  });
});
