/**
 * The progress line: how much, how fast, how long still, on standard error of a terminal only.
 *
 * Elsewhere, and with --no-progress, everything here does nothing, so that callers need not ask.
 * The line is wiped when it ends; what stays on the screen is what the command says. cli-progress
 * draws (it is loaded only where it draws), the text is made by `progressLine`, which is pure. The
 * rate is that of the last seconds, because a link's past says little of its present.
 */
import type { SingleBar } from 'cli-progress';
import { nowMs } from '../../base/deadline.ts';
import { formatBytes, formatDuration } from '../../base/units.ts';
import type { Io } from './io.ts';
import { shorten } from './text.ts';

const RATE_WINDOW_MS = 5_000;
const BAR_COLUMNS = 24;
const LABEL_COLUMNS = 28;
const FRAMES_PER_SECOND = 8;

export interface ProgressState {
  /** What is being done: 'put results.dat'. */
  readonly label: string;
  readonly doneBytes: number;
  /** null: not known, as of standard input. */
  readonly totalBytes: number | null;
  readonly bytesPerSecond: number;
  /** What else there is to say: where it waits, and why. */
  readonly note: string;
}

export interface Progress {
  /** Bytes done so far in all. */
  update(doneBytes: number, change?: Partial<Pick<ProgressState, 'totalBytes' | 'note'>>): void;
  /** Another file, another label. */
  label(text: string): void;
  /** Takes the line away while something else is written to the terminal. */
  aside(write: () => void): void;
  /** Wipes the line; the terminal is as before. */
  stop(): void;
}

const SILENT: Progress = {
  update: () => undefined,
  label: () => undefined,
  aside: (write) => write(),
  stop: () => undefined,
};

/** Starts a line, when standard error is a terminal and `wanted` is not false. */
export async function startProgress(
  io: Io,
  wanted: boolean,
  label: string,
  totalBytes: number | null,
): Promise<Progress> {
  if (!wanted || io.stderr.isTTY !== true) return SILENT;
  const { default: cliProgress } = await import('cli-progress');
  const line = new ProgressLine(io, label, totalBytes);
  line.draw((format) => {
    return new cliProgress.SingleBar({
      format,
      stream: io.stderr,
      fps: FRAMES_PER_SECOND,
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false,
      forceRedraw: true,
    });
  });
  return line;
}

class ProgressLine implements Progress {
  readonly #io: Io;
  readonly #rate = new Rate();
  #state: ProgressState;
  #bar: SingleBar | null = null;
  // The cursor is hidden meanwhile; an exit from anywhere must not leave it so.
  readonly #atExit = (): void => this.#bar?.stop();

  constructor(io: Io, label: string, totalBytes: number | null) {
    this.#io = io;
    this.#state = { label, doneBytes: 0, totalBytes, bytesPerSecond: 0, note: '' };
  }

  draw(makeBar: (format: () => string) => SingleBar): void {
    this.#bar = makeBar(() => progressLine(this.#state, this.#io.stderr.columns ?? 80));
    this.#bar.start(1, 0);
    process.once('exit', this.#atExit);
  }

  update(doneBytes: number, change: Parameters<Progress['update']>[1] = {}): void {
    this.#rate.add(nowMs(), doneBytes);
    const bytesPerSecond = this.#rate.bytesPerSecond;
    this.#state = { ...this.#state, ...change, doneBytes, bytesPerSecond };
  }

  label(text: string): void {
    this.#state = { ...this.#state, label: text };
  }

  aside(write: () => void): void {
    this.#bar?.stop();
    write();
    this.#bar?.start(1, 0);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = null;
    process.off('exit', this.#atExit);
  }
}

/** Bytes per second over the last seconds, of samples of a running total. The clock is given. */
export class Rate {
  #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  add(atMs: number, bytes: number): void {
    const last = this.#samples.at(-1);
    // Many samples within a moment say no more than the last of them.
    if (last !== undefined && atMs - last.atMs < 50 && this.#samples.length > 1) {
      this.#samples.pop();
    }
    this.#samples.push({ atMs, bytes });
    while ((this.#samples[1]?.atMs ?? atMs) < atMs - RATE_WINDOW_MS) this.#samples.shift();
  }

  get bytesPerSecond(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
    return Math.max(0, ((last.bytes - first.bytes) * 1_000) / (last.atMs - first.atMs));
  }
}

/** The text of the line, at most `columns - 1` wide. Pure. */
export function progressLine(state: ProgressState, columns: number): string {
  const { totalBytes, doneBytes, bytesPerSecond, note } = state;
  const parts = [shorten(state.label, LABEL_COLUMNS)];
  if (totalBytes === null) {
    parts.push(formatBytes(doneBytes));
  } else {
    const part = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
    const full = Math.round(part * BAR_COLUMNS);
    parts.push(`[${'='.repeat(full)}${' '.repeat(BAR_COLUMNS - full)}]`);
    parts.push(`${String(Math.floor(part * 100)).padStart(3)}%`);
    parts.push(`${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`);
  }
  if (bytesPerSecond > 0) {
    parts.push(`${formatBytes(bytesPerSecond)}/s`);
    const leftBytes = (totalBytes ?? doneBytes) - doneBytes;
    if (leftBytes > 0) parts.push(`${formatDuration((leftBytes * 1_000) / bytesPerSecond)} left`);
  }
  if (note !== '') parts.push(note);
  return shorten(parts.join('  '), columns - 1);
}
