/**
 * A point in monotonic time until which a call may work, as a deadline that travels through calls.
 *
 * Deadlines are milliseconds of performance.now(), so that setting the wall clock changes nothing
 * (invariant I16). On the wire they travel as milliseconds left, because two machines do not share
 * a clock. Cancelling is an AbortSignal's business and goes beside the deadline.
 */
import { KangarooError } from './errors.ts';

export type Deadline = number;

export const NEVER: Deadline = Number.POSITIVE_INFINITY;

/** Milliseconds on the wire that stand for "no deadline". */
const WIRE_NEVER = 0xffff_ffff;

export function nowMs(): number {
  return performance.now();
}

/** On the clock that all processes of a machine share, CLOCK_MONOTONIC. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

export function deadlineIn(ms: number): Deadline {
  return Number.isFinite(ms) ? nowMs() + ms : NEVER;
}

export function remainingMs(deadline: Deadline): number {
  return Math.max(0, deadline - nowMs());
}

export function hasPassed(deadline: Deadline): boolean {
  return nowMs() >= deadline;
}

export function toWireMs(deadline: Deadline): number {
  return Number.isFinite(deadline)
    ? Math.min(Math.ceil(remainingMs(deadline)), WIRE_NEVER - 1)
    : WIRE_NEVER;
}

export function fromWireMs(ms: number): Deadline {
  return ms === WIRE_NEVER ? NEVER : deadlineIn(ms);
}

/** Sleeps, at most until the deadline; an abort ends it early with INTERRUPTED. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new KangarooError('INTERRUPTED', 'interrupted'));
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(new KangarooError('INTERRUPTED', 'interrupted'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** The work's result, or NOT_YET with `what` once the deadline has passed. */
export async function within<T>(
  work: Promise<T>,
  deadline: Deadline,
  what: string,
  signal?: AbortSignal,
): Promise<T> {
  if (!Number.isFinite(deadline) && signal === undefined) return await work;
  return await new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(new KangarooError('INTERRUPTED', `${what}: interrupted`));
    if (signal?.aborted === true) {
      onAbort();
      // Nobody waits for it any more, so nobody hears of its failure either.
      work.catch(() => {});
      return;
    }
    // setTimeout overflows above 2^31 ms; a wait of 24 days is no wait that we must end early.
    const timer = Number.isFinite(deadline)
      ? setTimeout(
          () => reject(new KangarooError('NOT_YET', `${what}: the time ran out`)),
          Math.min(remainingMs(deadline), 0x7fff_ffff),
        )
      : undefined;
    signal?.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    });
  });
}
