/**
 * Where log lines leave the process: one file descriptor, written synchronously.
 *
 * Synchronous, so that the last line before a crash is there. And it never throws, because a full
 * disk or a gone terminal below the log must not stop a program that moves other people's data: a
 * line that cannot be written is dropped, and `write` says so. (pino's own destination throws in
 * that case, and its flush tries again for ever.)
 *
 * A reader of a non-blocking pipe gets a moment to catch up; once it missed that, lines wait for
 * nobody until one goes through again. A blocking pipe whose reader sleeps blocks us too: nothing
 * short of a thread of its own would help, and that thread would lose the last lines.
 */

import { writeSync } from 'node:fs';

const patienceMs = 100;
const pauseMs = 5;
const sleeper = new Int32Array(new SharedArrayBuffer(4));

function isWouldBlock(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EAGAIN';
}

export class LogSink {
  readonly #fd: number;
  /** The last line failed: the next one waits for nobody. */
  #stalled = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Writes a whole line with its end. False: it was dropped, wholly or after a part of it. */
  write(line: string): boolean {
    let rest: Uint8Array = Buffer.from(line);
    let waitsLeft = this.#stalled ? 0 : patienceMs / pauseMs;
    while (rest.length > 0) {
      try {
        rest = rest.subarray(writeSync(this.#fd, rest));
      } catch (error) {
        if (isWouldBlock(error) && waitsLeft > 0) {
          waitsLeft -= 1;
          Atomics.wait(sleeper, 0, 0, pauseMs);
          continue;
        }
        this.#stalled = true;
        return false;
      }
    }
    this.#stalled = false;
    return true;
  }
}
