/** How much room a disk has: statfs(2), asked at most ten times a second. And what says: none. */
import { statfsSync } from 'node:fs';
import { nowMs } from '../base/deadline.ts';
import { errnoOf } from '../base/errors.ts';

const ASK_EVERY_MS = 100;
const answers = new Map<string, { readonly atMs: number; readonly bytes: number }>();

/** Bytes that this account can still write on the disk of `directory`. */
export function diskFreeBytes(directory: string): number {
  const known = answers.get(directory);
  const atMs = nowMs();
  if (known !== undefined && atMs - known.atMs < ASK_EVERY_MS) return known.bytes;
  const { bavail, bsize } = statfsSync(directory);
  const bytes = bavail * bsize;
  answers.set(directory, { atMs, bytes });
  return bytes;
}

/** Does a failed call say that disk or quota is used up? That passes; nothing else does. */
export function saysFull(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOSPC' || errno === 'EDQUOT';
}
