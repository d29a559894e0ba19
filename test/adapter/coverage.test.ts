/**
 * The table of calls against libc, the library and its document: no function that takes a path or a
 * descriptor is overlooked, what the table claims to catch is caught, and CALLS.md says the same.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

interface Call {
  readonly name: string;
  readonly aliases: readonly string[];
}
interface Section {
  readonly calls: readonly Call[];
  readonly passed: readonly { readonly names: readonly string[]; readonly why: string }[];
}
interface Table {
  readonly tablePath: string;
  readonly documentPath: string;
  parseCalls(text: string): readonly Section[];
  callsDocument(sections: readonly Section[]): string;
}

const root = join(import.meta.dirname, '../..');
const table = (await import(join(root, 'scripts/calls.mjs'))) as Table;
const { whyHarmless } = (await import(join(root, 'scripts/harmless-calls.mjs'))) as {
  whyHarmless(name: string): string | undefined;
};

const sections = table.parseCalls(readFileSync(table.tablePath, 'utf8'));
const caught = sections.flatMap(({ calls }) => calls.flatMap((c) => [c.name, ...c.aliases]));
const passed = sections.flatMap(({ passed: rows }) => rows.flatMap(({ names }) => names));

const library = join(root, 'native/build/preload/libkangaroo.so');
const libc = ['/lib/x86_64-linux-gnu/libc.so.6', '/lib/aarch64-linux-gnu/libc.so.6'].find((path) =>
  existsSync(path),
);

/** Functions that a shared object exports: `[name, version]`, '' where there is no version. */
function exportsOf(path: string): readonly (readonly [string, string])[] {
  const text = execFileSync('nm', ['-D', '--defined-only', path], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  return text.split('\n').flatMap((line) => {
    const match = /^\S+ [TWi] ([^@\s]+)(?:@@?(\S+))?$/.exec(line);
    return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
  });
}

describe('the table', () => {
  test('has every name once', () => {
    const names = [...caught, ...passed];
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  test('has no call that a family of harmless ones would hide', () => {
    // Streams are served beneath; that some of their functions are caught besides is no mistake.
    const hidden = (name: string) => !(whyHarmless(name) ?? 'streams').startsWith('streams');
    expect(caught.filter(hidden)).toEqual([]);
  });

  test('is what CALLS.md says', () => {
    expect(readFileSync(table.documentPath, 'utf8')).toBe(table.callsDocument(sections));
  });
});

describe.skipIf(libc === undefined)('libc', () => {
  test('has no function that nobody has thought of', () => {
    const known = new Set([...caught, ...passed]);
    const names = exportsOf(libc ?? '')
      .filter(([, version]) => version !== 'GLIBC_PRIVATE')
      .map(([name]) => name);
    expect(names.length).toBeGreaterThan(2000);
    expect([
      ...new Set(names.filter((name) => !known.has(name) && whyHarmless(name) === undefined)),
    ]).toEqual([]);
  });
});

describe('the library', () => {
  test('exports what the table has, and nothing else', () => {
    const names = exportsOf(library).map(([name]) => name);
    expect([...names].sort()).toEqual([...caught].sort());
  });
});

test('ADAPTER.md has the programs that it is tried with', () => {
  const { stdout } = spawnSync(process.execPath, [join(root, 'scripts/matrix.mjs')], {
    encoding: 'utf8',
  });
  expect(stdout).toContain('| cp |');
  expect(readFileSync(join(root, 'src/adapter/ADAPTER.md'), 'utf8')).toContain(stdout.trim());
});
