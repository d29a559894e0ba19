/** The spool's directory as it has to be before anything is opened in it. */
import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { syncDirectory } from './recover.ts';

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
