/**
 * Short ways to write operations down in a test, and to ask what a call fails with.
 *
 * Whatever `parts` does not say is left at nothing; no payload is looked at, checksums are zero.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { errnoOf } from '../../src/base/errors.ts';
import { FLAGS, KIND, operation, type Operation } from '../../src/protocol/operation.ts';

type Parts = Partial<Operation>;

export function write(path: string, parts: Parts = {}): Operation {
  return operation({ kind: KIND.write, name: 'here', path, ...parts });
}

/** A whole new file, as put sends a small one. */
export function create(path: string, parts: Parts = {}): Operation {
  const flags = FLAGS.CREATE | FLAGS.TRUNCATE | (parts.flags ?? 0);
  return write(path, { ...parts, flags });
}

export function mkdir(path: string, parts: Parts = {}): Operation {
  return operation({ kind: KIND.mkdir, name: 'here', path, ...parts });
}

export function rename(path: string, path2: string, parts: Parts = {}): Operation {
  return operation({ kind: KIND.rename, name: 'here', path, path2, ...parts });
}

export function remove(path: string, parts: Parts = {}): Operation {
  return operation({ kind: KIND.remove, name: 'here', path, ...parts });
}

/** The errno that the call fails with, '' when it does not. */
export function errnoFrom(call: () => void): string {
  try {
    call();
    return '';
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === null) throw error;
    return errno;
  }
}

/** Memory where there is some: these tests are about names and bytes, not about the disk. */
export const scratch = fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
