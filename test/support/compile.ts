/**
 * Makes a program of a test runnable by plain Node: strips the types of a file and of what it
 * imports with relative paths, into a directory of the test's own.
 *
 * Node 20 does not run TypeScript, and a test's child process has no vitest around it. Only types
 * are taken away; nothing is checked, that is `npm run check`'s business.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { root } from './kangaroo.ts';

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
};

/** Writes `file` (absolute) and its imports below `directory`; returns the path of the program. */
export function compileProgram(file: string, directory: string): string {
  const seen = new Set<string>();
  const visit = (source: string): string => {
    const target = join(directory, relative(root, source)).replace(/\.ts$/, '.js');
    if (seen.has(source)) return target;
    seen.add(source);
    const { outputText } = ts.transpileModule(readFileSync(source, 'utf8'), {
      compilerOptions: OPTIONS,
      fileName: source,
    });
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, outputText);
    for (const { fileName } of ts.preProcessFile(outputText).importedFiles) {
      if (fileName.startsWith('.')) visit(join(dirname(source), fileName.replace(/\.js$/, '.ts')));
    }
    return target;
  };
  // The program is ESM wherever the directory lies.
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}\n');
  return visit(file);
}
