/**
 * Do PROTOCOL.md and SPOOL.md tell the truth? Their tables are compared with the code: messages and
 * fields, the layout of records, segments and marks, kinds, flags, error codes, limits, constants,
 * the columns of the index, and the names of tests that are said to show something.
 *
 * It does not read sentences. What a failure names is wrong in the document or in the code.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ERRORS } from '../../src/base/errors.ts';
import { limits } from '../../src/base/limits.ts';
import { PREFIX_BYTES } from '../../src/protocol/frame.ts';
import { ROLES } from '../../src/protocol/hello.ts';
import { FOUND_KIND, HELLO_MAGIC, MESSAGES } from '../../src/protocol/messages.ts';
import { FLAGS, HEADER_BYTES, KIND } from '../../src/protocol/operation.ts';
import { LOG_HEADER_BYTES, MARK_BYTES } from '../../src/spool/segment.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

const protocol = read('src/protocol/PROTOCOL.md');
const spool = read('src/spool/SPOOL.md');
const documents = [
  { name: 'PROTOCOL.md', text: protocol },
  { name: 'SPOOL.md', text: spool },
];

/** The rows of the first table in `text` whose head is that, as cells. */
function table(text: string, head: string): string[][] {
  const lines = text.split('\n');
  const start = lines.indexOf(head);
  const rows: string[][] = [];
  for (const line of start < 0 ? [] : lines.slice(start + 2)) {
    if (!line.startsWith('|')) break;
    rows.push(
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  }
  expect(rows.length, `a table with the head ${head}`).toBeGreaterThan(0);
  return rows;
}

/** What stands in `backticks`, outside of fenced blocks. */
function quoted(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '');
  return [...prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '');
}

const bare = (cell: string | undefined): string => (cell ?? '').replaceAll('`', '');

type Kind = string | { readonly list: Readonly<Record<string, Kind>> };

/** Fields as the document has them: 'seq u64', and of a list also 'list[].field kind'. */
function flat(fields: Readonly<Record<string, Kind>>, before = ''): string[] {
  return Object.entries(fields).flatMap(([field, kind]) =>
    typeof kind === 'string'
      ? [`${before}${field} ${kind}`]
      : [`${before}${field} list`, ...flat(kind.list, `${before}${field}[].`)],
  );
}

describe('PROTOCOL.md', () => {
  test('has every message with its type, and no other', () => {
    const told = table(protocol, '| name | type | from, to | answer | meaning |').map(
      ([name, type]) => [bare(name), Number(type)],
    );
    const known = Object.entries(MESSAGES).map(([name, { type }]) => [name, type] as const);
    expect(told).toEqual(known.sort(([, a], [, b]) => a - b));
  });

  test('has every field with its kind, in order, and no other', () => {
    const told = new Map<string, string[]>();
    for (const [message, fields] of table(protocol, '| message | fields and kinds | meaning |')) {
      const name = bare(message);
      told.set(name, [...(told.get(name) ?? []), ...bare(fields).split(', ')]);
    }
    const known = Object.entries(MESSAGES).map(
      ([name, { fields }]) => [name, flat(fields)] as const,
    );
    const withFields = known.filter(([, fields]) => fields.length > 0);
    expect(Object.fromEntries(told)).toEqual(Object.fromEntries(withFields));
  });

  test('has the answers that are messages', () => {
    for (const [, , , answer] of table(protocol, '| name | type | from, to | answer | meaning |')) {
      for (const name of quoted(answer ?? '')) expect(Object.keys(MESSAGES)).toContain(name);
    }
  });

  test('draws the prefix and the record as the code has them', () => {
    const [prefix, record] = layouts(protocol, '| offset | size | field | meaning |');
    expect(prefix?.end).toBe(PREFIX_BYTES);
    expect(prefix?.rows).toEqual(drawnIn('src/protocol/frame.ts'));
    expect(record?.end).toBe(HEADER_BYTES);
    expect(record?.rows).toEqual(drawnIn('src/protocol/operation.ts'));
    for (const layout of [prefix, record]) expect(layout?.gaps).toEqual([]);
  });

  test('has the kinds, flags and roles, and no other', () => {
    const values = (head: string): unknown =>
      Object.fromEntries(table(protocol, head).map(([name, value]) => [bare(name), Number(value)]));
    expect(values('| kind | value | does |')).toEqual(KIND);
    expect(values('| flag | value | meaning |')).toEqual(FLAGS);
    const roles = table(protocol, '| role | who | senderId | may |').map(([role]) => bare(role));
    expect(roles).toEqual(ROLES);
    const found = Object.entries(FOUND_KIND).map(([name, value]) => `${value} ${name}`);
    expect(protocol).toContain(`| ${found.join(', ')} |`);
    expect(protocol).toContain(`0x${HELLO_MAGIC.toString(16)}`);
  });

  test('has every error code, and no other', () => {
    const section = protocol.split('\n## Errors\n')[1]?.split('|')[0] ?? '';
    const list = /`:([^.]*)\./.exec(section.slice(section.indexOf('errors.ts')))?.[1] ?? '';
    expect(list.split(',').map((code) => code.trim())).toEqual(Object.keys(ERRORS));
  });
});

describe('SPOOL.md', () => {
  test('draws the segment header and the mark in their sizes', () => {
    const [header, mark] = layouts(spool, '| offset | size | field |');
    expect([header?.end, header?.gaps]).toEqual([LOG_HEADER_BYTES, []]);
    expect([mark?.end, mark?.gaps]).toEqual([MARK_BYTES, []]);
  });

  test('has every table and column of the index, and no other', () => {
    const told = table(spool, '| table | column | holds |').map(([name, column]) => {
      return `${bare(name)}.${bare(column)}`;
    });
    const schema = read('src/spool/schema.sql').replace(/--.*$/gm, '');
    const known: string[] = [];
    for (const [, name, body] of schema.matchAll(/CREATE TABLE IF NOT EXISTS (\w+) \(([^;]*)\)/g)) {
      for (const [, column] of (body ?? '').matchAll(/^\s+(?!UNIQUE\b)(\w+)\s/gm)) {
        known.push(`${name}.${column}`);
      }
    }
    expect(told).toEqual(known);
  });

  test('has constants with their values', () => {
    for (const [name, value, file] of table(spool, '| name | value | in |')) {
      const source = read(`src/spool/${bare(file)}`);
      expect(source, bare(name)).toContain(`const ${bare(name)} = ${bare(value)};`);
    }
  });
});

describe.each(documents)('$name', ({ text }) => {
  test('has the limits that it names, with their values', () => {
    const told = new Map(
      table(text, '| name | value |').map(([name, value]) => [bare(name), value]),
    );
    for (const [name, value] of told) {
      expect(Object.keys(limits)).toContain(name);
      expect(amount(value ?? ''), name).toBe(limits[name as keyof typeof limits]);
    }
    const named = quoted(text).filter((word) => Object.hasOwn(limits, word));
    for (const name of named) expect([...told.keys()]).toContain(name);
    for (const name of told.keys()) {
      expect(named.filter((word) => word === name).length, `${name} is used`).toBeGreaterThan(0);
    }
  });

  test('names tests that there are', () => {
    for (const [path] of text.matchAll(/\btest\/[\w/.-]+\.ts\b/g)) {
      expect(existsSync(join(root, path)), path).toBe(true);
    }
    const oneLine = text.replace(/\s+/g, ' ');
    const shown = [...oneLine.matchAll(/`([\w/.-]+\.test\.ts)`: "([^"]+)"/g)];
    for (const [, path, title] of shown) {
      const source = read(`test/${path}`);
      const isThere = [`'${title}'`, `"${title}"`, `\`${title}\``, `\`${title},`];
      expect(
        isThere.some((form) => source.includes(form)),
        `${path}: ${title}`,
      ).toBe(true);
    }
    // Each mention has a title, so that it cannot go unnoticed.
    const mentions = quoted(text).filter((word) => /^(unit|fault|integration)\/.*\.ts$/.test(word));
    expect(mentions.length).toBe(shown.length);
  });

  test('is wrapped, but for its tables, and not endless', () => {
    const lines = text.split('\n');
    const long = lines.filter((line) => [...line].length > 100 && !/^[|`]/.test(line));
    expect(long).toEqual([]);
    expect(lines.length).toBeLessThan(500);
  });
});

interface Layout {
  readonly rows: string[];
  /** Behind the last field that has a size. */
  readonly end: number;
  /** Offsets at which a field does not begin where the one before it ends. */
  readonly gaps: number[];
}

/** All tables of bytes with that head. */
function layouts(text: string, head: string): Layout[] {
  return text
    .split(head)
    .slice(1)
    .map((rest) => {
      let end = 0;
      const rows: string[] = [];
      const gaps: number[] = [];
      for (const [offset, size, field] of table(`${head}${rest}`, head)) {
        if (Number(offset) !== end) gaps.push(Number(offset));
        if (size === '..') continue;
        end += Number(size);
        rows.push(`${offset} ${size} ${field}`);
      }
      return { rows, end, gaps };
    });
}

/** The rows of the same table in a source file's header comment. */
function drawnIn(file: string): string[] {
  const comment = read(file).split('*/')[0] ?? '';
  const rows = comment.matchAll(/^ \* {3}(\d+) +(\d+) +(\w+)/gm);
  return [...rows].map(([, offset, size, field]) => `${offset} ${size} ${field}`);
}

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  ms: 1,
  s: 1_000,
};

/** '64 KiB', '10 s' or a bare number, in the unit of limits.ts. */
function amount(text: string): number {
  const [number = '', unit] = text.split(' ');
  return Number(number) * (unit === undefined ? 1 : (UNITS[unit] ?? NaN));
}
