/**
 * A source tree of the size of Parrot's, made by rule and the same every time: a Makefile, a main
 * program and twelve directories of small C files, each directory a library. Nothing of the system
 * is included, so that the compiler reads what lies in the tree.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const NEEDLE_EVERY = 10;
/** Stands in each tenth file. */
export const NEEDLE = 'the needle of the scan';

/**
 * Makes it in `directory`.
 * @returns {{ files: number, directories: number, bytes: number, needles: number }}
 */
export function makeSources(directory, { libraries = 12, filesEach = 23 } = {}) {
  const made = { files: 0, directories: 1 + libraries, bytes: 0, needles: 0 };
  const write = (path, text) => {
    writeFileSync(join(directory, path), text);
    made.files++;
    made.bytes += text.length;
  };
  mkdirSync(directory);
  const names = Array.from({ length: libraries }, (_, i) => `lib${String(i).padStart(2, '0')}`);
  for (const [library, name] of names.entries()) {
    mkdirSync(join(directory, name));
    write(`${name}/all.h`, headerText(name, filesEach));
    for (let file = 0; file < filesEach; file++) {
      const hasNeedle = (library * filesEach + file) % NEEDLE_EVERY === 0;
      if (hasNeedle) made.needles++;
      write(`${name}/part${file}.c`, partText(name, library, file, hasNeedle));
    }
  }
  write('main.c', mainText(names, filesEach));
  write('Makefile', makefileText(names, filesEach));
  return made;
}

const functionName = (name, file) => `${name}_part${file}`;

function headerText(name, files) {
  const lines = Array.from({ length: files }, (_, i) => `long ${functionName(name, i)}(long);`);
  return `/* What ${name} offers. */\n${lines.join('\n')}\n`;
}

/** Some 3 KiB: fourteen functions that call each other. */
function partText(name, library, file, hasNeedle) {
  const steps = 14;
  const lines = [`/* Part ${file} of ${name}${hasNeedle ? `, with ${NEEDLE}` : ''}. */`];
  lines.push('#include "all.h"', '');
  for (let step = 0; step < steps; step++) {
    const factor = ((library * 31 + file * 17 + step * 7) % 97) + 3;
    const before = step === 0 ? 'value' : `step${step - 1}(value + ${step})`;
    lines.push(
      `static long step${step}(long value) {`,
      `  long table[8] = {${Array.from({ length: 8 }, (_, i) => factor * (i + 1)).join(', ')}};`,
      '  long sum = 0;',
      `  for (int i = 0; i < 8; i++) sum += table[i] * (value % ${factor} + i);`,
      `  return sum % 1000003 + ${before} % ${factor + 100};`,
      '}',
      '',
    );
  }
  lines.push(`long ${functionName(name, file)}(long value) {`, `  return step${steps - 1}(value);`);
  return `${lines.join('\n')}\n}\n`;
}

function mainText(names, files) {
  const includes = names.map((name) => `#include "${name}/all.h"`);
  const calls = names.flatMap((name) =>
    Array.from({ length: files }, (_, i) => `  sum += ${functionName(name, i)}(sum % 1000);`),
  );
  const body = ['int main(void) {', '  long sum = 1;', ...calls, '  return sum > 0 ? 0 : 1;', '}'];
  return `/* Calls every part of every library. */\n${[...includes, '', ...body].join('\n')}\n`;
}

function makefileText(names, files) {
  const parts = Array.from({ length: files }, (_, i) => `part${i}`);
  const archives = names.map((name) => `${name}/${name}.a`);
  const rules = names.flatMap((name) => {
    const objects = parts.map((part) => `${name}/${part}.o`).join(' ');
    return [`${name}/${name}.a: ${objects}`, '\tar rcs $@ $^', `${objects}: ${name}/all.h`, ''];
  });
  return `${[
    `program: main.o ${archives.join(' ')}`,
    '\t$(CC) -o $@ $^',
    '',
    '%.o: %.c',
    '\t$(CC) -O0 -c -o $@ $<',
    '',
    ...rules,
  ].join('\n')}\n`;
}
