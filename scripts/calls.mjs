/**
 * The table of calls, native/preload/calls.def: reads it, and writes native/preload/CALLS.md, the
 * document of what is and is not supported, from it. test/adapter/coverage.test.ts holds libc, the
 * library and the document to it.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, say } from './stamp.mjs';

export const tablePath = join(root, 'native/preload/calls.def');
export const documentPath = join(root, 'native/preload/CALLS.md');

const takes = new Set(['PATH', 'FD', 'BOTH', 'NONE']);
const done = new Set(['HANDLED', 'ANSWERED', 'REFUSED', 'WATCHED']);
const callRow = /^CALL\((\w+), "([^"]*)", (\w+), (\w+), "([^"]*)"\)$/;
const passedRow = /^PASSED\("([^"]*)", "([^"]*)"\)$/;
const heading = /^\/\* -- (.*?) -+ \*\/$/;

const words = (text) => text.split(' ').filter((word) => word !== '');

/**
 * Sections of the table in its order: {title, calls: [{name, aliases, takes, done, remark}],
 * passed: [{names, why}]}. A line that is neither a row nor a heading is an Error.
 */
export function parseCalls(text) {
  const sections = [];
  // The comment at the top ends where the first section begins.
  for (const line of text.slice(text.indexOf('\n/* -- ')).split('\n')) {
    const title = heading.exec(line)?.[1];
    const call = callRow.exec(line);
    const passed = passedRow.exec(line);
    if (title !== undefined) {
      sections.push({ title, calls: [], passed: [] });
    } else if (call !== null && takes.has(call[3]) && done.has(call[4])) {
      const [, name, aliases, kind, how, remark] = call;
      const row = { name, aliases: words(aliases), takes: kind, done: how, remark };
      sections.at(-1).calls.push(row);
    } else if (passed !== null) {
      sections.at(-1).passed.push({ names: words(passed[1]), why: passed[2] });
    } else if (line.trim() !== '') {
      throw new Error(`calls.def: not a row: ${line}`);
    }
  }
  return sections;
}

const nameOf = { PATH: 'path', FD: 'descriptor', BOTH: 'both', NONE: 'neither' };

function sectionText({ title, calls, passed }) {
  const rows = calls.map(({ name, aliases, takes: kind, done: how, remark }) => {
    const names = [name, ...aliases].map((each) => `\`${each}\``).join(' ');
    return `| ${names} | ${nameOf[kind]} | ${how.toLowerCase()} | ${remark} |`;
  });
  const table = rows.length === 0 ? [] : ['| call | takes | | |', '|---|---|---|---|', ...rows, ''];
  const others = passed.map(
    ({ names, why }) => `Passed by: ${names.map((name) => `\`${name}\``).join(' ')}: ${why}.\n`,
  );
  return [`## ${title[0].toUpperCase()}${title.slice(1)}`, '', ...table, ...others].join('\n');
}

/** CALLS.md, whole. */
export function callsDocument(sections) {
  const count = sections.reduce((sum, { calls }) => sum + calls.length, 0);
  const names = sections.reduce(
    (sum, { calls }) => sum + calls.reduce((all, { aliases }) => all + 1 + aliases.length, 0),
    0,
  );
  return [
    '# Calls',
    '',
    'Made from `calls.def` by `node scripts/calls.mjs`; do not edit.',
    '',
    `The library catches ${count} calls by ${names} names. What becomes of one on a file of ours:`,
    '',
    '- **handled**: what it does on a local file, but for the remark;',
    '- **answered**: nothing is done, the answer is the one a file would give;',
    '- **refused**: it fails, with the errno in the remark;',
    '- **watched**: the kernel does it on the placeholder; the library sees it and remembers.',
    '',
    ...sections.map(sectionText),
  ].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const text = callsDocument(parseCalls(readFileSync(tablePath, 'utf8')));
  writeFileSync(documentPath, text);
  say('wrote native/preload/CALLS.md');
}
