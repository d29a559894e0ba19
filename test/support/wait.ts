/**
 * Waiting for what other processes do: look, sleep a little, look again, until a deadline.
 *
 * A wait that fails says what it waited for and what it saw last, because that is all a log of a
 * failed run has. Times are milliseconds of a monotonic clock.
 */

const LOOK_EVERY_MS = 20;

export async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * The first result of `look` that is not null, undefined or false.
 * @throws Error when there is none within `deadlineMs`; with what `look` threw last
 */
export async function until<T>(
  what: string,
  deadlineMs: number,
  look: () => T | null | undefined | false | Promise<T | null | undefined | false>,
): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let failure: unknown = null;
    try {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found;
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= endMs) {
      const why = failure instanceof Error ? `: ${failure.message}` : '';
      throw new Error(`waited ${deadlineMs} ms for ${what}${why}`, { cause: failure });
    }
    await pause(LOOK_EVERY_MS);
  }
}
