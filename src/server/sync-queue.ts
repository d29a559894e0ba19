/**
 * Overlapping syncs: one runs, all who ask meanwhile share the next one.
 *
 * A round takes its list when it starts, so it promises nothing to those who ask later; they need
 * another, but one is enough for all of them. When a round fails, those who wait fail with it: what
 * it was for had been applied before they asked.
 */
export class SyncQueue {
  /** Takes its list in the call, before it gives its promise. */
  readonly #round: () => Promise<void>;
  #running: Promise<void> | null = null;
  #waiting: Promise<void> | null = null;

  constructor(round: () => Promise<void>) {
    this.#round = round;
  }

  request(): Promise<void> {
    if (this.#running === null) return this.#start();
    this.#waiting ??= this.#running.then(
      () => {
        this.#waiting = null;
        return this.#start();
      },
      (error: unknown) => {
        this.#waiting = null;
        throw error;
      },
    );
    return this.#waiting;
  }

  #start(): Promise<void> {
    const running = this.#round();
    this.#running = running;
    const done = (): void => {
      if (this.#running === running) this.#running = null;
    };
    // Before anybody waits for it, so that the next start finds the place free.
    running.then(done, done);
    return running;
  }
}
