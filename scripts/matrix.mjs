/**
 * npm run matrix: the programs that the adapter is tried with, as the Markdown table of
 * src/adapter/ADAPTER.md: program, verdict, why.
 *
 * It prints what test/adapter/programs.ts expects; that this is true is the business of
 * test/adapter/programs.test.ts. Types are stripped as test programs' are, since Node 20 does not.
 *
 * npm run matrix -- --sanitize [ROWS]: builds the adapter with AddressSanitizer and UBSan and runs
 * with it the small C programs and the rows whose names match the regular expression ROWS. That
 * takes some minutes and is no part of CI.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { root } from './stamp.mjs';

const SOURCE = join(root, 'test/adapter/programs.ts');
const OPTIONS = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
};

/** The rows of the table, from the sources. */
export async function readPrograms() {
  const directory = mkdtempSync(join(tmpdir(), 'kangaroo-matrix-'));
  try {
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}\n');
    const strip = (source) => {
      const { outputText } = ts.transpileModule(readFileSync(source, 'utf8'), {
        compilerOptions: OPTIONS,
      });
      const target = join(directory, basename(source).replace(/\.ts$/, '.js'));
      writeFileSync(target, outputText);
      for (const { fileName } of ts.preProcessFile(outputText).importedFiles) {
        strip(join(dirname(source), fileName.replace(/\.js$/, '.ts')));
      }
      return target;
    };
    const module = await import(pathToFileURL(strip(SOURCE)).href);
    return module.PROGRAMS;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function markdownOf(programs) {
  const rows = programs.map(({ name, expect = 'same', why = '' }) => {
    return `| ${name} | ${expect} | ${why} |`;
  });
  return ['| program | verdict | why |', '|---|---|---|', ...rows].join('\n');
}

/** Returns the exit status. */
function sanitize(rows) {
  const make = ['-C', join(root, 'native/preload'), '-j2', 'asan'];
  const built = spawnSync(process.env['MAKE'] || 'make', make, { stdio: ['ignore', 2, 2] });
  if (built.status !== 0) return 1;
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const argv = [vitest, 'run', '--project', 'adapter', 'test/adapter/programs.test.ts'];
  const env = { ...process.env, KANGAROO_SANITIZE: '1' };
  if (rows === undefined) argv.push('test/adapter/calls.test.ts');
  else env.KANGAROO_ROWS = rows;
  return spawnSync(process.execPath, argv, { cwd: root, env, stdio: 'inherit' }).status ?? 1;
}

const isMain = import.meta.url === pathToFileURL(process.argv[1] ?? '').href;
if (isMain && process.argv[2] === '--sanitize') {
  process.exitCode = sanitize(process.argv[3]);
} else if (isMain) {
  process.stdout.write(`${markdownOf(await readPrograms())}\n`);
}
