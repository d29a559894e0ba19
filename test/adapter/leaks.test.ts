/**
 * Memory and descriptors of a program that does the same thing very often: neither may grow.
 * KANGAROO_LONG=1 does each thing 10,000 times instead of 2,000.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Site, whyNoAdapter } from '../support/adapted.ts';
import { compileC, whyNoCompiler } from '../support/c-program.ts';
import { IS_SANITIZED } from '../support/sanitizer.ts';

function whyNot(): string | null {
  if (IS_SANITIZED) return 'a sanitizer keeps what is freed';
  return whyNoAdapter() ?? whyNoCompiler();
}

const why = whyNot();
if (why !== null) process.stderr.write(`tests of leaks are skipped: ${why}\n`);

const isLong = process.env['KANGAROO_LONG'] === '1';
const ROUNDS = isLong ? 10_000 : 2_000;
/** A leak of some ten bytes a round is more; pages that are used once some time are less. */
const ANONYMOUS_KIB_MAX = isLong ? 160 : 64;
/** In a third of the rounds: a page that stays mapped in each is more, a grant or two are less. */
const VIRTUAL_KIB_MAX = isLong ? 8_192 : 2_048;
const DESCRIPTORS_MAX = 4;

describe.skipIf(why !== null)('leaks', () => {
  let site: Site;
  let scratch: string;

  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'kangaroo-leaks-'));
    site = await Site.open(2);
  });

  afterAll(async () => {
    await site?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  test('none in a program that goes on for long', { timeout: 600_000 }, async () => {
    const program = compileC('leak-cycles', scratch, ['-D_GNU_SOURCE']);
    const options = { env: { ROUNDS: String(ROUNDS) }, deadlineMs: 590_000 };
    const ended = await site.run([program, site.makeDirectory('leaks')], options);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const grown = ended.stdout
      .trim()
      .split('\n')
      .map((line) => {
        const [name, rounds, , anonymous, , virtual, , descriptors] = line.split(' ');
        return {
          name,
          rounds: Number(rounds),
          anonymous: Math.max(0, Number(anonymous) - ANONYMOUS_KIB_MAX),
          virtual: Math.max(0, Number(virtual) - VIRTUAL_KIB_MAX),
          descriptors: Math.max(0, Number(descriptors) - DESCRIPTORS_MAX),
        };
      });
    const few = { anonymous: 0, virtual: 0, descriptors: 0 };
    expect(grown).toEqual([
      ...['write', 'read', 'list', 'map', 'stream'].map((name) => ({
        ...{ name, rounds: ROUNDS },
        ...few,
      })),
      ...['copy', 'name', 'lock'].map((name) => ({
        ...{ name, rounds: Math.floor(ROUNDS / 3) },
        ...few,
      })),
      { name: 'walk', rounds: ROUNDS / 20, ...few },
    ]);
  });
});
