/**
 * Bytes a second of a link, for people: a moving average over about five seconds of what has been
 * committed. Pure: time comes from the caller.
 */
const HALF_LIFE_MS = 3_000;

export class Rate {
  #bytesPerSecond = 0;
  #sinceMs: number;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  add(bytes: number, nowMs: number): void {
    const elapsedMs = Math.max(1, nowMs - this.#sinceMs);
    const weight = 1 - 2 ** (-elapsedMs / HALF_LIFE_MS);
    this.#bytesPerSecond += weight * ((bytes * 1000) / elapsedMs - this.#bytesPerSecond);
    this.#sinceMs = nowMs;
  }

  bytesPerSecond(nowMs: number): number {
    const silentMs = nowMs - this.#sinceMs;
    return Math.round(this.#bytesPerSecond * 2 ** (-Math.max(0, silentMs - 1_000) / HALF_LIFE_MS));
  }
}
