/**
 * When to try a dead hop again: soon at first, then ever less often, never at the same moment as
 * everybody else. Pure: the caller brings the random number.
 */
import { limits } from '../base/limits.ts';

/** Milliseconds to wait after `failures` failed attempts in a row; `random` is in [0, 1). */
export function backoffMs(failures: number, random: number): number {
  const doubled = limits.backoffFirstMs * 2 ** Math.min(Math.max(0, failures - 1), 16);
  const capped = Math.min(doubled, limits.backoffMaxMs);
  return Math.round(capped * (0.75 + 0.5 * random));
}
