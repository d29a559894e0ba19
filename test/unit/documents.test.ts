/**
 * Do README.md, ARCHITECTURE.md, CONTRIBUTING.md and CHANGELOG.md tell the truth? Names and numbers
 * in them are compared with the code: commands and their options, exit statuses and error codes,
 * environment variables, limits, npm scripts, file names, links, the import law.
 *
 * It does not read sentences. What a failure names is wrong in the document or in the code.
 */
import { Command } from 'commander';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { LOG_LEVELS } from '../../src/base/log.ts';
import { ERRORS } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { parseDuration, parseSize } from '../../src/base/units.ts';
import { COMMANDS } from '../../src/client/cli/commands.ts';
import { EXIT_STATUSES } from '../../src/client/cli/exit-status.ts';
import * as library from '../../src/index.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

const OURS = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'];
const documents = OURS.map((name) => ({ name, text: read(name) }));
const readme = read('README.md');
const architecture = read('ARCHITECTURE.md');
const contributing = read('CONTRIBUTING.md');
const manifest = JSON.parse(read('package.json')) as {
  version: string;
  scripts: Record<string, string>;
};

/** All files below `start`, relative to the root. */
function filesBelow(start: string): string[] {
  if (!statSync(join(root, start)).isDirectory()) return [start];
  return readdirSync(join(root, start)).flatMap((name) => filesBelow(`${start}/${name}`));
}

const NOT_WALKED = new Set(['node_modules', 'dist', 'scratch', '.git']);
const isWalked = (name: string): boolean => !NOT_WALKED.has(name) && !name.startsWith('dist.');
const allFiles = readdirSync(root)
  .filter(isWalked)
  .flatMap((name) => filesBelow(name))
  .filter((path) => !path.startsWith('native/build/'));
const sourceText = allFiles
  .filter((path) => path.startsWith('src/') && path.endsWith('.ts'))
  .map(read)
  .join('\n');
const testText = allFiles
  .filter((path) => /^test\/.*\.ts$/.test(path) && !path.endsWith('documents.test.ts'))
  .map(read)
  .join('\n');

/** The rows of the table below `heading`, as cells; the heading row and the rule are left out. */
function table(text: string, heading: string): string[][] {
  const section = text.split(new RegExp(`^#+ ${heading}$`, 'm'))[1]?.split(/^#/m)[0] ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** What stands in `backticks`, outside of fenced blocks. */
function quoted(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '');
  return [...prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
}

function names(text: string, pattern: RegExp): Set<string> {
  return new Set([...text.matchAll(pattern)].map((match) => match[0]));
}

describe('commands', () => {
  const rows = new Map(
    table(readme, 'Commands').map((cells) => [/^`kangaroo (\w+)/.exec(cells[0] ?? '')?.[1], cells]),
  );
  const program = new Command('kangaroo');

  beforeAll(async () => {
    const modules = new Set(await Promise.all(COMMANDS.map(async ({ load }) => await load())));
    const io = {} as Parameters<Awaited<ReturnType<(typeof COMMANDS)[0]['load']>>['define']>[1];
    for (const { define } of modules) define(program, io);
  });

  test('every command has a row in README.md, and every row is a command', () => {
    expect([...rows.keys()].sort()).toEqual(COMMANDS.map(({ name }) => name).sort());
    expect(program.commands.map((command) => command.name()).sort()).toEqual(
      [...rows.keys()].sort(),
    );
  });

  test('every option is in the row of its command, and no other', () => {
    for (const command of program.commands) {
      const row = rows.get(command.name())?.[2] ?? '';
      const flags = command.options
        .flatMap(({ long, short }) => [long ?? null, short ?? null])
        .filter((flag) => flag !== null && flag !== '--server');
      const inRow = [...names(row, /(?<=`)--?[a-z][a-z-]*/g)];
      expect(inRow.sort(), command.name()).toEqual([...flags].sort());
    }
  });

  test('the options that clients share are told', () => {
    for (const flag of ['--server', '--help']) expect(quoted(readme).join(' ')).toContain(flag);
  });

  test('command lines in the documents name commands', () => {
    const known = new Set([...COMMANDS.map(({ name }) => name), 'help']);
    for (const { name, text } of documents) {
      const calls = [...text.matchAll(/(?:^|[`$(]) ?kangaroo ([a-z]+)\b/gm)].map((m) => m[1] ?? '');
      expect(
        calls.filter((word) => !known.has(word)),
        name,
      ).toEqual([]);
    }
  });
});

test('exit statuses and error codes are those of errors.ts', () => {
  const wanted = Object.keys(EXIT_STATUSES).map((status) => {
    const codes = Object.entries(ERRORS)
      .filter(([, { exitStatus }]) => exitStatus === Number(status))
      .map(([code]) => code);
    return [Number(status), codes.sort()];
  });
  const told = table(readme, 'Exit statuses').map(([status = '', , codes = '']) => {
    return [Number(status), quoted(codes).sort()];
  });
  expect(told).toEqual(wanted);
  for (const [status = '', meaning = ''] of table(readme, 'Exit statuses')) {
    const start = (EXIT_STATUSES[Number(status)] ?? '').split(/[:;]/)[0] ?? '?';
    expect(meaning.startsWith(start), `${status}: ${meaning}`).toBe(true);
  }
});

describe('environment', () => {
  const told = table(readme, 'Environment').map(([name = '']) => quoted(name)[0] ?? '');

  test('variables that README.md tells are read by the code', () => {
    expect(told.length).toBeGreaterThan(3);
    const unread = told.filter((name) => !sourceText.includes(name) && name !== 'HOME');
    expect(unread).toEqual([]);
  });

  test('variables that the code reads are told', () => {
    const used = names(sourceText, /(?<=env\??\.?\[?['"]?)KANGAROO_[A-Z_]+/g);
    for (const setting of names(sourceText, /(?<=env: ')[A-Z_]+/g)) used.add(setting);
    expect([...used].filter((name) => !told.includes(name))).toEqual([]);
  });

  test('variables of the tests are read by tests or code', () => {
    const inText = names(contributing, /\bKANGAROO_[A-Z_]+/g);
    const known = testText + sourceText;
    expect([...inText].filter((name) => !known.includes(name))).toEqual([]);
  });

  test('log levels', () => {
    const row = table(readme, 'Environment').find(([name]) => name === '`KANGAROO_LOG`');
    for (const level of LOG_LEVELS) expect(row?.[1]).toContain(`\`${level}\``);
  });
});

test('limits in ARCHITECTURE.md are those of limits.ts', () => {
  const rows = table(architecture, 'Limits');
  expect(rows.length).toBeGreaterThan(15);
  for (const [quotedName = '', value = ''] of rows) {
    const name = quoted(quotedName)[0] ?? '';
    expect(limits, name).toHaveProperty(name);
    expect(valueOf(name, value), name).toBe(limits[name as keyof typeof limits]);
  }
});

/** '64 KiB' of a size, '30 s' of a time, '1,024' of a count. */
function valueOf(name: string, text: string): number {
  if (name.endsWith('Ms')) return parseDuration(text.replace(' ', ''));
  const size = /^(\d+) ([KMGT])iB$/.exec(text);
  return size === null ? Number(text.replaceAll(',', '')) : parseSize(`${size[1]}${size[2]}`);
}

test('npm scripts exist, and CONTRIBUTING.md has all that are for people', () => {
  for (const { name, text } of documents) {
    const used = [...text.matchAll(/npm run ([a-z:]+)/g)].map((match) => match[1] ?? '');
    expect(
      used.filter((script) => !(script in manifest.scripts)),
      name,
    ).toEqual([]);
  }
  const people = Object.keys(manifest.scripts).filter((script) => script !== 'prepack');
  const commands = quoted(contributing);
  const isTold = (script: string): boolean => {
    return commands.includes(`npm run ${script}`) || commands.includes(`npm ${script}`);
  };
  expect(people.filter((script) => !isTold(script))).toEqual([]);
});

describe('files', () => {
  test('every file that is named exists', () => {
    const bases = new Set(allFiles.map((path) => basename(path)));
    for (const { name, text } of documents) {
      const named = quoted(text)
        .map((word) => word.replace(/#.*$/, ''))
        .filter((word) => /^[\w./-]+\.(ts|mjs|js|c|cc|sql|md|toml|json)$/.test(word))
        // A place in a name that the reader fills in.
        .filter((word) => !/[A-Z]{4}\.ts$/.test(word));
      const missing = named.filter((word) => {
        return word.includes('/') ? !existsSync(join(root, word)) : !bases.has(word);
      });
      expect(missing, name).toEqual([]);
    }
  });

  test('every folder that is named exists', () => {
    const folders = quoted(architecture + contributing).filter((word) =>
      /^(src|test)\//.test(word),
    );
    const missing = folders.filter((word) => !existsSync(join(root, word.replace(/\/$/, ''))));
    expect(missing).toEqual([]);
  });

  test('links to files and headings lead somewhere', () => {
    for (const { name, text } of documents) {
      const links = [...text.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] ?? '');
      const broken = links.filter((link) => !/^https?:/.test(link) && !leadsSomewhere(name, link));
      expect(broken, name).toEqual([]);
    }
  });

  test('no line numbers, no path of one machine, no place that packages come from', () => {
    const place = /\/(?:work|root|home|tmp)\/|\b(?:registry\.|artifactory|nexus\.)\S/;
    for (const { name, text } of documents) {
      const bad = text.split('\n').filter((line) => place.test(line) || /\.ts:\d/.test(line));
      expect(bad, name).toEqual([]);
    }
  });
});

function leadsSomewhere(from: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const file = path === '' ? from : join(dirname(from), path);
  if (!existsSync(join(root, file))) return false;
  if (anchor === undefined) return true;
  const headings = [...read(file).matchAll(/^#+ (.*)$/gm)].map((match) => match[1] ?? '');
  const anchors = headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
  return anchors.includes(anchor);
}

test('the import law of CONTRIBUTING.md is that of the tidy test', () => {
  const source = /const importLaw[^{]*\{([\s\S]*?)\n\};/.exec(read('test/unit/tidy.test.ts'))?.[1];
  const law = [...(source ?? '').matchAll(/(\w+): \[([^\]]*)\]/g)].map((match) => {
    const allowed = [...(match[2] ?? '').matchAll(/'(\w+)'/g)].map((one) => one[1]);
    return [match[1], allowed.length === 0 ? 'nothing' : allowed.join(', ')];
  });
  expect(law.length).toBeGreaterThan(5);
  const told = table(contributing, 'Import law').map(([folder = '', may]) => [
    quoted(folder)[0],
    may,
  ]);
  expect(told).toEqual(law);
});

test('the example imports what the library exports', () => {
  const imported = /import \{([^}]*)\} from 'kangaroo'/.exec(readme)?.[1]?.split(',') ?? [];
  expect(imported.length).toBeGreaterThan(0);
  for (const name of imported) expect(library).toHaveProperty(name.trim());
  const methods = names(readme, /(?<=\bclient\.)\w+/g);
  const missing = [...methods].filter((method) => !(method in library.Kangaroo.prototype));
  expect(missing).toEqual([]);
});

test('CHANGELOG.md begins with this version, and each version with Upgrading', () => {
  const [first] = /^## (.*)$/m.exec(read('CHANGELOG.md'))?.slice(1) ?? [];
  expect(first).toBe(manifest.version);
  for (const section of read('CHANGELOG.md').split(/^## /m).slice(1)) {
    expect(/^### (.*)$/m.exec(section)?.[1]).toBe('Upgrading');
  }
});
