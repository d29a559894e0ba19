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
import { View, type LiveOperation } from '../../../src/spool/view.ts';
import { operation, Model, PATHS, World, type Command } from './view-model.ts';

const { CREATE, TRUNCATE, MODE, MTIME, PARENTS, DIRECTORY } = FLAGS;

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
