/**
 * What readers are told when the destination's file system refuses: a code that a script can act
 * on, and the errno's name where it is not one of the everyday ones. Never INTERNAL.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { constants } from 'node:os';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NEVER } from '../../../src/base/deadline.ts';
import { type ErrorCode, KangarooError } from '../../../src/base/errors.ts';
import { errnoError } from '../../../src/server/errno-error.ts';
import { beneathStorage } from '../../../src/server/reader.ts';
import { knownRefusals, readError } from '../../../src/server/refusal.ts';
import type { Storage } from '../../../src/server/storage.ts';
import { openLocalStorage } from '../../../src/server/storage-local.ts';

type Errno = keyof typeof constants.errno;

let directory: string;
let storage: Storage;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kg-beneath-'));
  mkdirSync(join(directory, 'd'));
  writeFileSync(join(directory, 'f'), 'bytes');
  storage = openLocalStorage(directory);
});
afterEach(() => {
  storage.close();
  rmSync(directory, { recursive: true });
});

/** The three ways of asking about `path`. */
function asked(path: string): Record<'stat' | 'read' | 'list', () => Promise<unknown>> {
  const beneath = beneathStorage('dest', storage);
  return {
    stat: async () => await beneath.stat(path, NEVER, true),
    read: async () => await beneath.read(path, 0, 10, NEVER),
    list: async () => await beneath.list(path, '', 10, NEVER),
  };
}

describe('asked about', () => {
  test('a directory, a file and nothing', async () => {
    await expect(asked('d').read()).rejects.toMatchObject({ code: 'IS_DIRECTORY' });
    await expect(asked('f').list()).rejects.toMatchObject({ code: 'NOT_DIRECTORY' });
    await expect(asked('no').list()).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect([await asked('no').stat(), await asked('no').read()]).toEqual([null, null]);
  });

  const CODES: readonly (readonly [Errno, ErrorCode])[] = [
    ['EACCES', 'DENIED'],
    ['EPERM', 'DENIED'],
    ['EIO', 'NOT_YET'],
    ['ESTALE', 'NOT_YET'],
    ['EMFILE', 'BUSY'],
    ['EINVAL', 'NOT_SUPPORTED'],
  ];
  test.each(CODES)(
    'what fails with %s: %s, and the text says where and why',
    async (errno, code) => {
      const failing = (): never => {
        throw errnoError(errno, 'read', 'somewhere inside');
      };
      Object.assign(storage, { read: failing, list: failing, stat: storage.stat.bind(storage) });
      for (const ask of [asked('f').read, asked('f').list]) {
        const error = await ask().catch((caught: unknown) => caught);
        expect(error).toBeInstanceOf(KangarooError);
        expect(error).toMatchObject({ code });
        expect((error as Error).message).toContain('kangaroo://dest/f: ');
        expect((error as Error).message).toContain(errno);
        expect((error as Error).message).not.toContain('inside');
      }
      Object.assign(storage, { stat: failing });
      await expect(asked('f').stat()).rejects.toMatchObject({ code });
    },
  );
});

test('every errno of the table has a code, and what is no errno stays what it is', () => {
  for (const errno of knownRefusals()) {
    const error = readError(errnoError(errno as Errno, 'read', 'f'), 'kangaroo://dest/f');
    expect((error as KangarooError).code).not.toBe('INTERNAL');
    expect((error as KangarooError).message).toContain(errno);
  }
  const bug = new TypeError('a bug');
  expect(readError(bug, '')).toBe(bug);
  const known = new KangarooError('NOT_FOUND', 'known');
  expect(readError(known, '')).toBe(known);
});
