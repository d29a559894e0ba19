/**
 * Runs a few lines against a local storage in a process of its own: under strace, in its own mount
 * name space, or both. The sources are stripped of their types into a directory of the caller's.
 *
 * The lines have what `prelude` defines: `open()` gives the storage, `op` and `write` apply to it.
 * What they pass to `report` comes back as JSON values, in order.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folders = ['base', 'protocol', 'server'];

export interface ChildResult {
  readonly reports: readonly unknown[];
  readonly status: number | null;
  readonly errors: string;
}

/** Makes `into` a directory that plain Node can import src/server/storage-local.js from. */
export function stripSources(into: string): void {
  for (const folder of folders) {
    const source = join(root, 'src', folder);
    const target = join(into, 'src', folder);
    fs.mkdirSync(target, { recursive: true });
    for (const file of fs.readdirSync(source).filter((name) => name.endsWith('.ts'))) {
      const { outputText } = ts.transpileModule(fs.readFileSync(join(source, file), 'utf8'), {
        compilerOptions: {
          target: ts.ScriptTarget.ES2023,
          module: ts.ModuleKind.ESNext,
          verbatimModuleSyntax: true,
          rewriteRelativeImportExtensions: true,
        },
      });
      fs.writeFileSync(join(target, file.replace(/ts$/, 'js')), outputText);
    }
  }
  fs.writeFileSync(join(into, 'package.json'), '{"type":"module"}');
  fs.symlinkSync(join(root, 'native'), join(into, 'native'));
}

/** `before`: the command that starts Node, as ['strace', '-f']. */
export function runChild(options: {
  readonly stripped: string;
  readonly directory: string;
  readonly withAddon: boolean;
  readonly before: readonly string[];
  readonly lines: string;
}): ChildResult {
  const script = join(options.stripped, 'child.js');
  fs.writeFileSync(script, prelude + options.lines);
  const [command = process.execPath, ...rest] = [...options.before, process.execPath, script];
  const result = spawnSync(command, [...rest, options.directory], {
    encoding: 'utf8',
    cwd: dirname(script),
    timeout: 60_000,
    env: {
      ...process.env,
      // strace counts calls by thread: one thread makes "the first fsync" one and the same.
      UV_THREADPOOL_SIZE: '1',
      KANGAROO_NO_ADDON: options.withAddon ? '' : '1',
    },
  });
  const reports = result.stdout.split('\n').filter((line) => line.startsWith('report '));
  return {
    reports: reports.map((line) => JSON.parse(line.slice('report '.length)) as unknown),
    status: result.status,
    errors: result.stderr,
  };
}

/** Why the command cannot be used here, null when it can. */
export function whyNot(command: string, args: readonly string[]): string | null {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.error !== undefined) return `${command} is not here`;
  return result.status === 0 ? null : `${command}: ${result.stderr.trim()}`;
}

const prelude = `
import * as fs from 'node:fs';
import { native } from './src/base/addon.js';
import { FLAGS, KIND, operation } from './src/protocol/operation.js';
import { openLocalStorage } from './src/server/storage-local.js';
const directory = process.argv[2];
const report = (value) => fs.writeSync(1, 'report ' + JSON.stringify(value ?? null) + '\\n');
const outcome = (promise) => promise.then(
  () => 'good',
  (error) => ({ code: error.code, failed: error.failed }),
);
const attempt = (call) => {
  try {
    call();
    return 'good';
  } catch (error) {
    return error.code;
  }
};
const open = () => openLocalStorage(directory, native);
const op = (kind, path, parts) => operation({ kind, name: 'here', path, ...parts });
const write = (storage, path, text, parts = {}) => {
  const flags = FLAGS.CREATE | FLAGS.PARENTS | (parts.flags ?? 0);
  storage.apply(op(KIND.write, path, { ...parts, flags }), Buffer.from(text));
};
`;
