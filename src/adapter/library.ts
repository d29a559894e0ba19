/**
 * Where the adapter's library is: native/build/preload/libkangaroo.so of the package this module
 * belongs to, from the sources and from a build alike.
 *
 * It is found by name, not loaded: only the programs that are started with it do that. A library
 * that was not built is an error with the way to build it, never a program that runs without it.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KangarooError } from '../base/errors.ts';

/** Below the package's root. */
const PLACE = 'native/build/preload/libkangaroo.so';

/**
 * The absolute path of the library.
 * @throws KangarooError NOT_SUPPORTED when it was not built
 */
export function libraryPath(from: string = dirname(fileURLToPath(import.meta.url))): string {
  const root = packageRoot(from);
  const path = join(root, PLACE);
  if (existsSync(path)) return path;
  throw new KangarooError('NOT_SUPPORTED', `the adapter's library was not built: no ${path}`, {
    hint: 'npm run build, on Linux with a C compiler and make',
  });
}

/** The folder with package.json, at `from` or above it. */
function packageRoot(from: string): string {
  for (let directory = from; ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return directory;
    if (dirname(directory) === directory) return from;
  }
}
