/**
 * A storage against plain file calls: any sequence of operations gives the same tree and the same
 * errors, and each operation that comes a second time changes nothing.
 *
 * Renames are left out of the repetition: their repeats are the caller's to recognise.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FLAGS, KIND, type Operation } from '../../src/protocol/operation.ts';
import type { Storage } from '../../src/server/storage.ts';
import { errnoFrom, mkdir, remove, rename, scratch, write } from './operations.ts';

export function storageAtRandom(open: (directory: string) => Storage): void {
  test('at random: does what plain file calls do, also when each operation comes twice', () => {
    const directory = fs.mkdtempSync(join(scratch, 'kangaroo-random-'));
    try {
      fc.assert(
        fc.property(fc.array(anyOperation(), { maxLength: 40 }), (operations) => {
          const mine = fs.mkdtempSync(join(directory, 'mine-'));
          const theirs = fs.mkdtempSync(join(directory, 'theirs-'));
          const subject = open(mine);
          try {
            for (const { op, payload } of operations) {
              const bytes = payload === null ? null : Buffer.from(payload);
              const expected = errnoFrom(() => plain(theirs, op, payload));
              expect(errnoFrom(() => subject.apply(op, bytes))).toBe(expected);
              const again = errnoFrom(() => subject.apply(op, bytes));
              if (op.kind !== KIND.rename) expect(again).toBe(expected);
            }
            expect(tree(mine)).toEqual(tree(theirs));
          } finally {
            subject.close();
          }
        }),
        { numRuns: 150 },
      );
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  });
}

const PATHS = ['a', 'b', 'd', 'd/a', 'd/e', 'd/e/f', 'g/h'];

function anyOperation(): fc.Arbitrary<{ op: Operation; payload: string | null }> {
  const path = fc.constantFrom(...PATHS);
  const parents = fc.constantFrom(0, FLAGS.PARENTS);
  const writes = fc
    .record({
      path,
      parents,
      flags: fc.constantFrom(0, FLAGS.CREATE, FLAGS.TRUNCATE, FLAGS.CREATE | FLAGS.TRUNCATE),
      size: fc.nat(12),
      offset: fc.nat(12),
      payload: fc.option(fc.constantFrom('x', 'yes', 'longer text')),
    })
    .map((w) => {
      const flags = w.flags | w.parents;
      return { op: write(w.path, { flags, size: w.size, offset: w.offset }), payload: w.payload };
    })
    // Without any of the three it is an operation on attributes, and says none.
    .filter(({ op, payload }) => payload !== null || (op.flags & 3) !== 0);
  const names = fc.oneof(
    fc.tuple(path, parents).map(([p, flags]) => mkdir(p, { flags })),
    fc.tuple(path, path, parents).map(([p, q, flags]) => rename(p, q, { flags })),
    fc.tuple(path, fc.constantFrom(0, FLAGS.DIRECTORY)).map(([p, flags]) => remove(p, { flags })),
  );
  return fc.oneof(
    writes,
    names.map((op) => ({ op, payload: null })),
  );
}

/** The same by Node's calls, for a directory that nobody else touches. */
function plain(root: string, op: Operation, payload: string | null): void {
  const path = join(root, op.path);
  const above = join(path, '..');
  const hasParents = (op.flags & FLAGS.PARENTS) !== 0;
  if (op.kind === KIND.rename) {
    fs.accessSync(above);
    if (!fs.statSync(above).isDirectory()) fs.accessSync(path);
    const path2 = join(root, op.path2);
    if (hasParents) makeAbove(join(path2, '..'), root);
    fs.renameSync(path, path2);
  } else if (op.kind === KIND.remove) {
    const errno = errnoFrom(() => fs.lstatSync(path));
    if (errno !== '') return;
    if ((op.flags & FLAGS.DIRECTORY) !== 0) fs.rmdirSync(path);
    else fs.unlinkSync(path);
  } else if (op.kind === KIND.mkdir) {
    if (hasParents) makeAbove(above, root);
    if (fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) fs.mkdirSync(path);
  } else {
    const creates = (op.flags & FLAGS.CREATE) !== 0;
    if (creates && hasParents) makeAbove(above, root);
    const fd = fs.openSync(path, fs.constants.O_WRONLY | (creates ? fs.constants.O_CREAT : 0));
    if ((op.flags & FLAGS.TRUNCATE) !== 0) fs.ftruncateSync(fd, op.size);
    if (payload !== null) fs.writeSync(fd, payload, op.offset);
    fs.closeSync(fd);
  }
}

/** mkdir -p with the errno of plain calls: Node's own recursive mode has others. */
function makeAbove(path: string, root: string): void {
  const found = fs.statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true || path === root) return;
  makeAbove(join(path, '..'), root);
  if (found !== undefined) throw Object.assign(new Error('a file'), { code: 'ENOTDIR' });
  fs.mkdirSync(path);
}

function tree(root: string): Record<string, string> {
  const all = fs.readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  const content = (path: string): string => {
    const full = join(root, path);
    return fs.statSync(full).isDirectory() ? '/' : fs.readFileSync(full, 'latin1');
  };
  return Object.fromEntries(all.map((path) => [path, content(path)]));
}
