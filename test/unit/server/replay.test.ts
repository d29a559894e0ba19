/**
 * A destination that was killed after it had applied operations and before it had synced them gets
 * them again, in order. Whatever the names did in between, the second time must leave what the
 * first one left: nothing held, no file too many, no byte of an older operation.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogger } from '../../../src/base/log.ts';
import { FLAGS, KIND, type RecordHeader } from '../../../src/protocol/operation.ts';
import { Destination } from '../../../src/server/destination.ts';
import { openLocalStorage } from '../../../src/server/storage-local.ts';
import { incoming, SENDER, SpoolCase } from '../../support/spool-case.ts';

type Step = readonly [
  what: 'write' | 'rename' | 'remove' | 'mkdir',
  path: string,
  more?: string,
  flags?: number,
];

let scene: SpoolCase;
let directory: string;
beforeEach(() => {
  scene = new SpoolCase();
  directory = join(scene.root, 'export');
  mkdirSync(directory);
});
afterEach(async () => {
  await scene.end();
});

/** Applies the steps in a new incarnation of the destination, which then is killed. */
async function run(
  steps: readonly Step[],
  firstSeq = 1,
  syncsAtEnd = false,
): Promise<(string | null)[]> {
  const spool = await scene.open();
  const storage = openLocalStorage(directory);
  const logger = createLogger('server', { level: 'silent' });
  const destination = new Destination({ storage, spool, logger, onSyncFailed: () => {} });
  const refusals: (string | null)[] = [];
  for (const [i, [what, path, more = '', flags = FLAGS.CREATE]] of steps.entries()) {
    const seq = firstSeq + i;
    const parts: Partial<RecordHeader> =
      what === 'write'
        ? { flags }
        : {
            kind: KIND[what],
            flags: more === 'directory' ? FLAGS.DIRECTORY : 0,
            path2: what === 'rename' ? more : '',
          };
    const payload = Buffer.from(what === 'write' ? more : '', 'latin1');
    const operation = incoming(seq, path, payload, parts);
    // As verb-put.ts does: repeats are dropped, and what has to wait for a sync waits.
    if (spool.taken.has(SENDER, seq)) refusals.push(null);
    else {
      await destination.settle(operation.head);
      const reason = destination.apply(operation, payload);
      refusals.push(reason === null ? null : `${seq} ${reason.errno}`);
    }
  }
  if (syncsAtEnd) await destination.sync();
  storage.close();
  await scene.close(spool);
  return refusals;
}

function tree(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!name.isFile()) continue;
    const path = join(name.parentPath, name.name);
    found[path.slice(directory.length + 1)] = readFileSync(path, 'latin1');
  }
  return found;
}

const cases: Record<string, readonly Step[]> = {
  'a chain of renames': [
    ['write', 'a', 'one'],
    ['rename', 'a', 'b'],
    ['rename', 'b', 'c'],
  ],
  'a temporary name that is renamed': [
    ['write', 'tmp', 'whole'],
    ['rename', 'tmp', 'final'],
  ],
  'a temporary name that is renamed, twice': [
    ['write', 'tmp', 'first and longer'],
    ['rename', 'tmp', 'final'],
    ['write', 'tmp', 'second'],
    ['rename', 'tmp', 'final'],
  ],
  'a log that is rotated': [
    ['write', 'log', 'the old one, which is longer'],
    ['rename', 'log', 'log.1'],
    ['write', 'log', 'new'],
  ],
  'a rename and a removal of the target': [
    ['write', 'a', 'one'],
    ['rename', 'a', 'b'],
    ['remove', 'b'],
  ],
  'a temporary name, renamed and removed': [
    ['write', 'tmp', 'one'],
    ['rename', 'tmp', 'final'],
    ['remove', 'final'],
    ['write', 'other', 'two'],
  ],
  'two files that change places': [
    ['write', 'a', 'AAAA'],
    ['write', 'b', 'BB'],
    ['rename', 'a', 't'],
    ['rename', 'b', 'a'],
    ['rename', 't', 'b'],
  ],
  'a directory that is renamed with what is in it': [
    ['mkdir', 'd'],
    ['write', 'd/f', 'inside'],
    ['rename', 'd', 'e'],
    ['write', 'e/g', 'later'],
  ],
  'a file in a directory that comes and goes': [
    ['mkdir', 'd'],
    ['write', 'd/x', 'inside'],
    ['remove', 'd/x'],
    ['remove', 'd', 'directory'],
  ],
  'a directory that goes and becomes a file': [
    ['mkdir', 'd'],
    ['remove', 'd', 'directory'],
    ['write', 'd', 'a file'],
  ],
  'a file that goes and becomes a directory': [
    ['write', 'd', 'a file'],
    ['remove', 'd'],
    ['write', 'd/x', 'inside', FLAGS.CREATE | FLAGS.PARENTS],
  ],
  'a directory that goes and comes again': [
    ['mkdir', 'd'],
    ['remove', 'd', 'directory'],
    ['mkdir', 'd'],
    ['write', 'd/x', 'inside'],
  ],
  'a file that becomes a directory': [
    ['write', 'f', 'was a file'],
    ['remove', 'f'],
    ['mkdir', 'f'],
    ['write', 'f/x', 'inside'],
  ],
  'a directory that is removed and made again': [
    ['mkdir', 'd'],
    ['remove', 'd', 'directory'],
    ['mkdir', 'd'],
    ['write', 'd/x', 'inside'],
  ],
  'a directory that is emptied, removed and becomes a file': [
    ['mkdir', 'd'],
    ['write', 'd/x', 'inside'],
    ['remove', 'd/x'],
    ['remove', 'd', 'directory'],
    ['write', 'd', 'a file now'],
  ],
  'a file that is cut and then removed': [
    ['write', 'f', 'content'],
    ['write', 'f', '', FLAGS.TRUNCATE],
    ['remove', 'f'],
  ],
  'a file that is removed and made again': [
    ['write', 'a', 'the first, longer'],
    ['remove', 'a'],
    ['write', 'a', 'new'],
  ],
};

describe('what was applied and comes again', () => {
  for (const [name, steps] of Object.entries(cases)) {
    for (let again = 0; again <= steps.length; again++) {
      test(`${name}: killed after ${again} of ${steps.length}`, async () => {
        const want = join(scene.root, 'want');
        mkdirSync(want);
        expect(await run(steps.slice(0, again))).toEqual(steps.slice(0, again).map(() => null));
        expect(await run(steps)).toEqual(steps.map(() => null));
        const second = tree();
        directory = want;
        await run(steps, 1_000);
        expect(second).toEqual(tree());
      });
    }
  }

  test('a sync before all of it has come again', async () => {
    for (const name of ['a', 'x']) writeFileSync(join(directory, name), name);
    const steps: Step[] = [
      ['rename', 'a', 'b'],
      ['rename', 'x', 'y'],
      ['write', 'x', 'new'],
    ];
    expect(await run(steps)).toEqual([null, null, null]);
    // What shares no name with the first may come behind a sync that covers only that one.
    expect(await run(steps.slice(0, 1), 1, true)).toEqual([null]);
    expect(await run(steps)).toEqual([null, null, null]);
    expect(tree()).toEqual({ b: 'a', x: 'new', y: 'x' });
  });

  test('a rename whose source was there before', async () => {
    writeFileSync(join(directory, 'a'), 'old');
    const steps: Step[] = [
      ['rename', 'a', 'b'],
      ['write', 'a', 'new'],
    ];
    await run(steps);
    expect(await run(steps)).toEqual([null, null]);
    expect(tree()).toEqual({ a: 'new', b: 'old' });
  });
});
