/**
 * What every call of the library takes: how long it may last, and a signal that ends it.
 *
 * Times come in as milliseconds and become a deadline once, at the call, so that a call of several
 * steps has one bound. Pure but for the clock of base/deadline.ts.
 */
import { deadlineIn, remainingMs } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Wait } from './session.ts';

export interface CallOptions {
  /**
   * Milliseconds the call may take; Infinity: no bound. Default: 60,000 for what asks a server;
   * none for puts, commit and push, which then wait out anything but a server that stays lost for
   * `reconnectMs`.
   */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws KangarooError USAGE */
export function timeoutOf(options: CallOptions, defaultMs: number): number {
  const { timeoutMs = defaultMs } = options;
  if (!(timeoutMs >= 0)) throw new KangarooError('USAGE', `timeoutMs ${timeoutMs}: not a time`);
  return timeoutMs;
}

/** A call's deadline and signal. @throws KangarooError USAGE */
export function waitOf(options: CallOptions, defaultMs: number): Wait {
  return { deadline: deadlineIn(timeoutOf(options, defaultMs)), signal: options.signal };
}

/** What is left of a wait, but at most `maxMs`, as the options of another call. */
export function restOf(wait: Wait, maxMs = Infinity): CallOptions {
  return { timeoutMs: Math.min(remainingMs(wait.deadline), maxMs), signal: wait.signal };
}

/**
 * The options of a call on a connection; `what` names it in an error. The server was told the
 * deadline itself and is waited for a little longer, so that its own words come first.
 */
export function callOf(wait: Wait, what: string): Wait & { readonly what: string } {
  return { deadline: wait.deadline + limits.answerGraceMs, signal: wait.signal, what };
}

/** @throws KangarooError USAGE when `value` is no number of bytes */
export function assertSize(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new KangarooError('USAGE', `${name} ${value}: not a number of bytes`);
}
