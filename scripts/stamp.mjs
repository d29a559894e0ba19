/**
 * Is a build result older than what it was made from? Answered by content, not by time, because a
 * checkout, a copy or a changed clock makes modification times lie.
 *
 * A stamp is a small file beside the result that holds the hash of its inputs. Reading and hashing
 * all of src takes some milliseconds. Only Node's own modules are used: this runs before any
 * package is installed.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** All files below `start`, sorted, relative to the root as `start` is; `skip` sees each path. */
export function filesBelow(start, skip = () => false) {
  const stat = statSync(join(root, start), { throwIfNoEntry: false });
  if (stat === undefined || skip(start)) return [];
  if (!stat.isDirectory()) return [start];
  return readdirSync(join(root, start))
    .sort()
    .flatMap((name) => filesBelow(`${start}/${name}`, skip));
}

/** Hex hash over the names and contents of `files` and over `facts`, such as the platform. */
export function hashOf(files, facts = []) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\0`).update(readFileSync(join(root, file)));
  for (const fact of facts) hash.update(`\0${fact}`);
  return hash.digest('hex');
}

/** The stamp's text, or undefined where there is none. */
export function readStamp(path) {
  try {
    return readFileSync(join(root, path), 'utf8').trim();
  } catch {
    return undefined;
  }
}

export function writeStamp(path, text) {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), `${text}\n`);
}

/** One progress line on standard error. */
export function say(text) {
  process.stderr.write(`kangaroo: ${text}\n`);
}
