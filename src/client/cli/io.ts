/**
 * What a command sees of the outside: its streams, the environment, and the wish to stop. main.ts
 * gives it the process's own; tests give it streams of their own.
 *
 * Results go to standard output, everything else to standard error.
 */
import type { Readable, Writable } from 'node:stream';
import picocolors from 'picocolors';

export interface Io {
  /** A function, because only looking at process.stdin already opens it. */
  readonly stdin: () => Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  /** Aborted by Ctrl-C, and when nobody reads standard output any more. */
  readonly signal: AbortSignal;
  /** A write to standard output has failed: what follows from that needs no words. */
  readonly isOutputLost?: () => boolean;
}

export function print(io: Io, line: string): void {
  io.stdout.write(`${line}\n`);
}

export function printJson(io: Io, document: unknown): void {
  print(io, JSON.stringify(document, null, 2));
}

export type Colors = ReturnType<typeof picocolors.createColors>;

/** Colours for a stream: on a terminal, unless NO_COLOR is set (no-color.org). */
export function colorsFor(stream: { readonly isTTY?: boolean }, env: Io['env']): Colors {
  const wanted = stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  return picocolors.createColors(wanted);
}
