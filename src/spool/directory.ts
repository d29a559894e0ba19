/** The spool's directory: made as it has to be, and the names in it made durable. */
import {
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errnoOf, KangarooError } from '../base/errors.ts';

/**
 * Makes it, private to its owner, durably, and not somebody's symbolic link to elsewhere.
 * @throws KangarooError SPOOL_FAILED, DENIED
 */
export function prepareDirectory(directory: string): void {
  try {
    const segments = resolve(directory, 'segments');
    const firstMade = mkdirSync(segments, { recursive: true, mode: 0o700 });
    // What is made has to be there after a power cut, with all that it lies in.
    const above = firstMade === undefined ? segments : dirname(firstMade);
    for (let made = segments; made.length > above.length; made = dirname(made)) {
      syncDirectory(dirname(made));
    }
    const stat = lstatSync(directory);
    if (stat.isSymbolicLink()) {
      throw new KangarooError('SPOOL_FAILED', `${directory} is a symbolic link`, {
        hint: 'name the directory itself with --spool',
      });
    }
    if (stat.uid !== process.getuid?.()) {
      throw new KangarooError('DENIED', `${directory} belongs to another account`);
    }
    chmodSync(directory, 0o700);
  } catch (error) {
    if (errnoOf(error) === null) throw error;
    throw new KangarooError('SPOOL_FAILED', `${directory}: ${(error as Error).message}`, {
      cause: error,
      hint: 'name a directory you may write with --spool',
    });
  }
}

/** Makes durable which names are in it. fsync(2): that of a file does not do it. */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
