/**
 * Waiting for delivery, for `push` and `put --push`: one target after the other under one deadline,
 * with a progress line that says what is still on the way and why it waits.
 */
import { type Deadline } from '../../base/deadline.ts';
import { asKangarooError, KangarooError } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import type { Kangaroo, PushProgress } from '../client.ts';
import type { Context } from './commands.ts';
import type { Progress } from './progress.ts';
import { counted } from './text.ts';
import { bounds } from './with-client.ts';

/**
 * Pushes each target; '' is everything. One that fails has its line, the others go on. Resolves
 * with whether all have arrived.
 * @throws KangarooError INTERRUPTED, UNREACHABLE: what concerns all targets
 */
export async function pushTargets(
  client: Kangaroo,
  targets: readonly string[],
  context: Context,
  progress: Progress,
  deadline: Deadline,
): Promise<boolean> {
  let allArrived = true;
  for (const target of targets) {
    try {
      await pushOne(client, target, context, progress, deadline);
    } catch (error) {
      const { code } = asKangarooError(error);
      if (code === 'INTERRUPTED' || code === 'UNREACHABLE') throw error;
      allArrived = false;
      progress.aside(() => context.fail(error));
    }
  }
  return allArrived;
}

async function pushOne(
  client: Kangaroo,
  target: string,
  { io }: Context,
  progress: Progress,
  deadline: Deadline,
): Promise<void> {
  let last: PushProgress | null = null;
  let mostBytes = 0;
  progress.label(target === '' ? 'push' : `push ${target}`);
  const onProgress = (now: PushProgress): void => {
    last = now;
    // Others may put meanwhile: the total is what was ever seen at once.
    mostBytes = Math.max(mostBytes, now.bytes);
    progress.update(mostBytes - now.bytes, { totalBytes: mostBytes, note: whereItWaits(now) });
  };
  try {
    await client.push(target, { ...bounds(io, deadline), onProgress });
  } catch (error) {
    throw withProgress(error, last);
  }
}

/** 'archive: connection refused', or '' while it moves. Pure. */
export function whereItWaits({ where, reason }: PushProgress): string {
  if (reason === '') return '';
  return where === '' || reason.startsWith(where) ? reason : `${where}: ${reason}`;
}

/** A push whose time ran out says what it still waited for, unless the server's words do. */
export function withProgress(error: unknown, last: PushProgress | null): unknown {
  const known = asKangarooError(error);
  if (known.code !== 'NOT_YET' || last === null || last.operations === 0) return error;
  const operations = counted(last.operations, 'operation');
  if (known.message.includes(operations)) return error;
  const reason = whereItWaits(last);
  const why = reason === '' ? '' : `, waiting: ${reason}`;
  const text = `${known.message}; ${formatBytes(last.bytes)} in ${operations} on the way${why}`;
  return new KangarooError('NOT_YET', text, { hint: known.hint, cause: error });
}
