/**
 * What reviewers forget, checked over every source file: headers, widths, lengths, names,
 * leftovers, and the import law that keeps the processes apart. A rule's failure lists the files
 * that break it.
 *
 * Files are found by walking the source folders, so that it also works in an unpacked archive.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folders = ['src', 'native', 'test', 'bench', 'scripts', 'bin', '.ci'];
const notSources = new Set(['native/build', 'test/vectors']);
const codeExtensions = new Set(['.ts', '.mjs', '.js', '.c', '.cc', '.h']);
const columnsMax = 100;
const linesMax = 600;

/** A folder of src may import the ones listed, itself, and nothing else of src. */
const importLaw: Record<string, readonly string[]> = {
  client: ['adapter', 'route', 'protocol', 'base'],
  adapter: ['base'],
  server: ['spool', 'route', 'protocol', 'base'],
  mover: ['spool', 'route', 'protocol', 'base'],
  spool: ['route', 'protocol', 'base'],
  route: ['protocol', 'base'],
  protocol: ['base'],
  base: [],
};

/** The command starts the programs; these three files are where it does. */
const programStarts: Record<string, string> = {
  'src/client/cli/cmd-server.ts': 'server',
  'src/client/cli/cmd-mover.ts': 'mover',
  'src/client/cli/cmd-check.ts': 'spool',
};

/** Nobody imports these: programs, and the public face. */
const entries = new Set([
  'src/index.ts',
  'src/client/cli/main.ts',
  'src/server/main.ts',
  'src/mover/child.ts',
]);

interface SourceFile {
  /** Relative to the root, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
}

function walk(path: string): string[] {
  if (notSources.has(path)) return [];
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (!stat.isDirectory()) return [path];
  return readdirSync(join(root, path)).flatMap((name) => walk(`${path}/${name}`));
}

const files: readonly SourceFile[] = folders.flatMap(walk).map((path) => {
  const text = readFileSync(join(root, path), 'utf8');
  return { path, text, lines: text.replace(/\n$/, '').split('\n') };
});
const code = files.filter(({ path }) => codeExtensions.has(extname(path)) || isProgram(path));
const typescript = files.filter(({ path }) => path.endsWith('.ts'));
const product = typescript.filter(({ path }) => path.startsWith('src/'));

function isProgram(path: string): boolean {
  return path.startsWith('bin/');
}

function importsOf(file: SourceFile): string[] {
  return ts.preProcessFile(file.text, true, true).importedFiles.map((found) => found.fileName);
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith('.');
}

function resolve(file: SourceFile, specifier: string): string {
  return normalize(join(dirname(file.path), specifier));
}

/** `client` for src/client/cli/main.ts; empty for src/index.ts. */
function folderOf(path: string): string {
  const parts = path.split('/');
  return parts.length > 2 ? (parts[1] ?? '') : '';
}

/** `path:line: text` of the lines that match, the form that editors jump to. */
function linesWhere(list: readonly SourceFile[], bad: (line: string) => boolean): string[] {
  return list.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) =>
      bad(line) ? [`${path}:${index + 1}: ${line.trim().slice(0, 60)}`] : [],
    ),
  );
}

test('there are files to look at', () => {
  expect(product.length).toBeGreaterThan(3);
  expect(code.length).toBeGreaterThan(product.length);
});

describe('form', () => {
  test('every file opens with a comment that says what it is', () => {
    const bad = code.filter(({ lines }) => {
      const first = lines[0]?.startsWith('#!') ? lines[1] : lines[0];
      const opening = lines
        .slice(0, 4)
        .join(' ')
        .replace(/[^a-z]/gi, '');
      return !/^(\/\*|\/\/)/.test(first ?? '') || opening.length < 20;
    });
    expect(bad.map(({ path }) => path)).toEqual([]);
  });

  test(`no line has more than ${columnsMax} columns, but for an address of the web`, () => {
    // A test's title is a sentence that nothing can wrap.
    const mayBeLong = /https?:\/\/|^\s*test\(/;
    const bad = (line: string) => [...line].length > columnsMax && !mayBeLong.test(line);
    expect(linesWhere(code, bad)).toEqual([]);
  });

  test(`no file has more than ${linesMax} lines`, () => {
    const bad = code.filter(({ lines }) => lines.length > linesMax);
    expect(bad.map(({ path, lines }) => `${path}: ${lines.length}`)).toEqual([]);
  });

  test('no tab, no space at the end of a line', () => {
    expect(linesWhere(code, (line) => /\t|\s$/.test(line))).toEqual([]);
  });

  test('no name that says nothing', () => {
    const empty = /^(utils?|helpers?|misc|common|managers?)$/i;
    const bad = files.filter(({ path }) =>
      path.split('/').some((part) => part.split(/[-.]/).some((word) => empty.test(word))),
    );
    expect(bad.map(({ path }) => path)).toEqual([]);
  });

  test('nothing left to do, no test that silences the others', () => {
    // Put together here, or this file would break its own rule.
    const marks = new RegExp(
      `\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`,
    );
    const silencer = '.on' + 'ly(';
    const bad = (line: string) => marks.test(line) || line.includes(silencer);
    expect(linesWhere(code, bad)).toEqual([]);
  });
});

describe('imports', () => {
  test('a relative import names a file with its extension', () => {
    const bad = typescript.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => isRelative(specifier) && !/\.(ts|mjs)$/.test(specifier))
        .map((specifier) => `${file.path}: ${specifier}`),
    );
    expect(bad).toEqual([]);
  });

  test('the import law holds', () => {
    const bad = product.flatMap((file) => {
      const from = folderOf(file.path);
      if (from === '') return [];
      const allowed = importLaw[from];
      if (allowed === undefined) return [`${file.path}: src/${from} has no row in the law`];
      return importsOf(file)
        .filter(isRelative)
        .map((specifier) => folderOf(resolve(file, specifier)))
        .filter((to) => to !== from && !allowed.includes(to))
        .filter((to) => programStarts[file.path] !== to)
        .map((to) => `${file.path} imports ${to === '' ? 'src/index.ts' : to}`);
    });
    expect(bad).toEqual([]);
  });

  test('src imports Node by node: and otherwise only what package.json installs', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    const bad = product.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => !isRelative(specifier) && !specifier.startsWith('node:'))
        .filter((specifier) => {
          const parts = specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1);
          return !(parts.join('/') in manifest.dependencies);
        })
        .map((specifier) => `${file.path}: ${specifier}`),
    );
    expect(bad).toEqual([]);
  });

  test('every file of src is imported by another one', () => {
    const imported = new Set(
      product.flatMap((file) =>
        importsOf(file)
          .filter(isRelative)
          .map((specifier) => resolve(file, specifier))
          .filter((path) => path !== file.path),
      ),
    );
    const dead = product.filter(({ path }) => !entries.has(path) && !imported.has(path));
    expect(dead.map(({ path }) => path)).toEqual([]);
  });
});

describe('packages', () => {
  test('versions are exact and the lock file names no place to fetch from', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<
      'dependencies' | 'devDependencies',
      Record<string, string>
    >;
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })
      .filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))
      .map(([name]) => name);
    expect(loose).toEqual([]);
    expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
  });

  test('a test file is one of the four suites', () => {
    const bad = files
      .map(({ path }) => path)
      .filter((path) => basename(path).endsWith('.test.ts'))
      .filter((path) => !/^test\/(unit|integration|adapter|fault)\//.test(path));
    expect(bad).toEqual([]);
  });
});
