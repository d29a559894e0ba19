/**
 * The program `kangaroo`: it connects run.ts with the process, and nothing else.
 *
 * SIGINT and SIGTERM ask the command to stop; a second one stops it at once. When the reader of
 * standard output is gone (`kangaroo ls | head`) the command ends quietly. Leaving by exit() is
 * meant: an answer that nobody waits for any more must not keep the process.
 */
import { homedir } from 'node:os';
import { explain, KangarooError } from '../../base/errors.ts';
import { runCommand } from './run.ts';

const INTERRUPTED = 130;
const stop = new AbortController();
let outputError: NodeJS.ErrnoException | null = null;

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (stop.signal.aborted) process.exit(INTERRUPTED);
    stop.abort(new KangarooError('INTERRUPTED', 'interrupted'));
  });
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  outputError ??= error;
  stop.abort(new KangarooError('INTERRUPTED', 'interrupted'));
});
// Without a place for complaints the exit status still tells.
process.stderr.on('error', () => undefined);

const status = await runCommand(process.argv.slice(2), {
  stdin: () => process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  home: homedir(),
  signal: stop.signal,
  isOutputLost: () => outputError !== null,
});
// A failed write is told of a moment after it was made.
await new Promise((resolve) => setImmediate(resolve));
process.exit(statusAtEnd());

function statusAtEnd(): number {
  if (outputError === null) return status;
  if (outputError.code === 'EPIPE') return 0;
  const text = `standard output: ${outputError.code ?? outputError.message}`;
  const error = new KangarooError('LOCAL_FILE', text, { hint: 'it did not take the results' });
  process.stderr.write(`kangaroo: ${explain(error)}\n`);
  return error.exitStatus;
}
