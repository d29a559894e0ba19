/**
 * What of a put or get did not go, told file by file, so that one bad file neither hides nor stops
 * the others.
 */
import { KangarooError } from '../../base/errors.ts';
import type { PutResult } from '../put-tree.ts';
import type { Context } from './commands.ts';
import { visible } from './text.ts';

type Parts = Pick<PutResult, 'failures' | 'failureCount' | 'skipped' | 'skippedCount'>;

/** A line for each; failures count for the exit status, what was left out does not. */
export function reportParts(verb: string, parts: Parts, { io, fail }: Context): void {
  for (const { error } of parts.failures) fail(error);
  const failedMore = parts.failureCount - parts.failures.length;
  if (failedMore > 0) fail(new KangarooError('LOCAL_FILE', `${failedMore} more files failed`));
  for (const { path, reason } of parts.skipped) {
    io.stderr.write(`kangaroo ${verb}: ${visible(`${path}: left out: ${reason}`)}\n`);
  }
  const skippedMore = parts.skippedCount - parts.skipped.length;
  if (skippedMore > 0) io.stderr.write(`kangaroo ${verb}: ${skippedMore} more left out\n`);
}
