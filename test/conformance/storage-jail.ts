/**
 * No path leads out of the export directory: not by '..', not by a symbolic link of any kind. Links
 * that stay below are either followed or refused, never half of both.
 *
 * That links are swapped in while an operation runs is storage-faults.test.ts's.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FOUND_KIND } from '../../src/protocol/messages.ts';
import { FLAGS, type Operation } from '../../src/protocol/operation.ts';
import type { Storage } from '../../src/server/storage.ts';
import { create, errnoFrom, mkdir, remove, rename, scratch, write } from './operations.ts';

export function storageJail(open: (directory: string) => Storage, followsLinks: boolean): void {
  describe('the jail', () => {
    let directory: string;
    let outside: string;
    let storage: Storage;
    beforeEach(() => {
      directory = fs.mkdtempSync(join(scratch, 'kangaroo-jail-'));
      storage = open(directory);
      outside = fs.mkdtempSync(join(scratch, 'kangaroo-outside-'));
      fs.writeFileSync(join(outside, 'secret'), 'secret');
      fs.symlinkSync(outside, at('out'));
      fs.symlinkSync(join(outside, 'secret'), at('file'));
      fs.symlinkSync('/', at('slash'));
      fs.symlinkSync('../'.repeat(20) + outside.slice(1), at('up'));
      fs.symlinkSync(join(outside, 'made'), at('dangling'));
      fs.symlinkSync('/proc/self/root', at('magic'));
      fs.symlinkSync('loop', at('loop'));
    });
    afterEach(() => {
      storage.close();
      fs.rmSync(directory, { recursive: true, force: true });
      fs.rmSync(outside, { recursive: true, force: true });
    });

    const at = (path: string): string => join(directory, path);
    const text = (path: string): string => fs.readFileSync(at(path), 'latin1');
    const apply = (op: Operation, payload: string | null = null): void => {
      storage.apply(op, payload === null ? null : Buffer.from(payload, 'latin1'));
    };

    test('refuses paths that are no paths', () => {
      const bad = ['..', '../x', 'a/../../x', '/etc', 'a//b', './a', 'a/.', 'a/', 'a\0b'];
      for (const path of bad) {
        for (const op of [create(path), mkdir(path), rename(path, 'b'), remove(path)]) {
          expect(
            errnoFrom(() => apply(op)),
            path,
          ).toBe('EINVAL');
        }
        expect(
          errnoFrom(() => apply(rename('a', path))),
          path,
        ).toBe('EINVAL');
        expect(
          errnoFrom(() => void storage.stat(path)),
          path,
        ).toBe('EINVAL');
        expect(
          errnoFrom(() => void storage.identity(path)),
          path,
        ).toBe('EINVAL');
        expect(
          errnoFrom(() => void storage.list(path, '', 10)),
          path,
        ).toBe('EINVAL');
      }
    });

    test('no operation passes a link that leads out', () => {
      apply(create('mine'), 'x');
      const ways = ['out', 'up', `slash${outside}`, `magic${outside}`];
      for (const way of ways) {
        const flags = FLAGS.PARENTS;
        for (const op of [
          create(`${way}/made`, { flags }),
          create(`${way}/secret`),
          write(`${way}/secret`, { flags: FLAGS.MODE, mode: 0 }),
          mkdir(`${way}/made`, { flags }),
          mkdir(`${way}/deep/made`, { flags }),
          rename('mine', `${way}/made`, { flags }),
          rename(`${way}/secret`, 'stolen'),
          remove(`${way}/secret`),
        ]) {
          const payload = op.flags & FLAGS.CREATE ? 'x' : null;
          expect(errnoFrom(() => apply(op, payload))).toMatch(/EXDEV|ELOOP/);
        }
        expect(errnoFrom(() => void storage.list(way, '', 9))).toMatch(/EXDEV|ELOOP/);
        expect(errnoFrom(() => void storage.stat(`${way}/secret`))).toMatch(/EXDEV|ELOOP/);
      }
      expect(fs.readdirSync(outside)).toEqual(['secret']);
      expect(fs.readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    });

    test('no write passes a link of that name', async () => {
      for (const path of ['file', 'dangling', 'loop']) {
        for (const op of [create(path), write(path, { flags: FLAGS.CREATE }), write(path)]) {
          expect(
            errnoFrom(() => apply(op, 'x')),
            path,
          ).toMatch(/EXDEV|ELOOP/);
        }
        await expect(storage.read(path, 0, 9)).rejects.toMatchObject({
          code: expect.stringMatching(/EXDEV|ELOOP/) as string,
        });
      }
      const op = write('file', { flags: FLAGS.MODE, mode: 0o777 });
      expect(errnoFrom(() => apply(op))).toMatch(/EXDEV|ELOOP/);
      expect(fs.readdirSync(outside)).toEqual(['secret']);
      expect(fs.readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    });

    test('links themselves are seen, renamed and removed', () => {
      expect(storage.stat('file')?.kind).toBe(FOUND_KIND.symlink);
      expect(storage.stat('loop')?.kind).toBe(FOUND_KIND.symlink);
      apply(rename('file', 'renamed'));
      apply(remove('renamed'));
      apply(create('plain'), 'x');
      apply(rename('plain', 'out'));
      expect(text('out')).toBe('x');
      expect(fs.readdirSync(outside)).toEqual(['secret']);
    });

    test('links that stay below are followed, or refused: as the traits say', () => {
      fs.mkdirSync(at('real'));
      fs.writeFileSync(at('real/f'), 'old');
      fs.symlinkSync('real', at('link'));
      fs.symlinkSync('../real/f', at('real/g'));
      fs.symlinkSync('real/new', at('promise'));
      const calls = [
        (): void => apply(write('link/f'), 'new'),
        (): void => apply(write('real/g', { offset: 3 }), '+'),
        (): void => apply(create('promise'), 'kept'),
        (): void => apply(mkdir('link/sub')),
      ];
      const outcomes = calls.map((call) => errnoFrom(call));
      if (followsLinks) {
        expect(outcomes).toEqual(['', '', '', '']);
        expect([text('real/f'), text('real/new')]).toEqual(['new+', 'kept']);
        expect(storage.stat('link/f')?.size).toBe(4);
        apply(mkdir('link'));
        expect(fs.lstatSync(at('promise')).isSymbolicLink()).toBe(true);
      } else {
        expect(outcomes).toEqual(['ELOOP', 'ELOOP', 'ELOOP', 'ELOOP']);
        expect(errnoFrom(() => apply(mkdir('link')))).toBe('EEXIST');
      }
    });
  });
}
