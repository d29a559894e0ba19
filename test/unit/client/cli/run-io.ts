/**
 * Runs a command line in this process with streams of its own, for tests.
 */
import type { Readable } from 'node:stream';
import { PassThrough, Writable } from 'node:stream';
import type { Io } from '../../../../src/client/cli/io.ts';
import { runCommand } from '../../../../src/client/cli/run.ts';

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: Readable;
  readonly signal?: AbortSignal;
  /** Pretends that both outputs are terminals. */
  readonly terminal?: boolean;
}

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
}

export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const out = sink(options.terminal === true);
  const err = sink(options.terminal === true);
  const io: Io = {
    stdin: () => options.stdin ?? new PassThrough().end(),
    stdout: out.stream,
    stderr: err.stream,
    env: { NO_COLOR: '1', ...options.env },
    home: '/nonexistent',
    signal: options.signal ?? new AbortController().signal,
  };
  const status = await runCommand(argv, io);
  return {
    status,
    stdout: out.bytes().toString(),
    stdoutBytes: out.bytes(),
    stderr: err.bytes().toString(),
  };
}

function sink(isTTY: boolean): { stream: Writable & { isTTY: boolean }; bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY }), bytes: () => Buffer.concat(chunks) };
}
