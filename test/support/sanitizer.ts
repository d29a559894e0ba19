/**
 * The adapter under AddressSanitizer and UBSan, for KANGAROO_SANITIZE=1 (`npm run matrix --
 * --sanitize`): any program can be run so, because the sanitizers' own libraries are preloaded
 * before the adapter's.
 *
 * Only the adapter is instrumented, but malloc and the string functions of the whole program are
 * looked after. AddressSanitizer's reports go to files, UBSan's to standard error, and both end the
 * program. Leaks are no matter here: most programs leave memory to their exit. leaks.test.ts counts
 * them.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './kangaroo.ts';

export const IS_SANITIZED = process.env['KANGAROO_SANITIZE'] === '1';
export const SANITIZED_LIBRARY = join(root, 'native/build/preload/libkangaroo-asan.so');

/** null, or why it cannot be done here. */
export function whyNotSanitized(): string | null {
  if (!existsSync(SANITIZED_LIBRARY)) return `${SANITIZED_LIBRARY} was not built`;
  return runtimes() === null ? 'gcc has no libasan and libubsan here' : null;
}

/** What a program needs in its environment; reports of it are then files in `directory`. */
export function sanitizerEnvironment(directory: string): Record<string, string> {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, 'report');
  return {
    LD_PRELOAD: [lenientAlloc(`${directory}-alloc.so`), ...(runtimes() ?? [])].join(':'),
    ASAN_OPTIONS: 'detect_leaks=0:verify_asan_link_order=0',
    KANGAROO_SANITIZER_REPORTS: path,
    UBSAN_OPTIONS: 'print_stacktrace=1',
  };
}

/** What has been reported since the last time, '' for nothing. */
export function takeReports(directory: string): string {
  if (!existsSync(directory)) return '';
  return readdirSync(directory)
    .map((name) => {
      const text = readFileSync(join(directory, name), 'utf8');
      rmSync(join(directory, name));
      return text;
    })
    .join('\n');
}

function lenientAlloc(path: string): string {
  const source = join(root, 'native/test/lenient-alloc.c');
  if (!existsSync(path)) spawnSync('gcc', ['-shared', '-fPIC', '-o', path, source]);
  return path;
}

/** AddressSanitizer's library wants to be the first that knows of memory. */
function runtimes(): string[] | null {
  const found = ['libasan.so', 'libubsan.so'].map((name) => {
    const { stdout } = spawnSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' });
    const path = (stdout ?? '').trim();
    return path.startsWith('/') ? realpathSync(path) : null;
  });
  return found.every((path) => path !== null) ? found : null;
}
