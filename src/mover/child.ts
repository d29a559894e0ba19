/**
 * The mover as its server starts it: spool and log level as arguments, and the end of standard
 * input as the sign that the server is gone.
 */
import { setPriority } from 'node:os';
import { explain } from '../base/errors.ts';
import { runMover } from './main.ts';

const MOVER_NICENESS = 5;

// The job's own writes come first: the mover takes the processor time that is left.
setPriority(MOVER_NICENESS);

const [spool = '', logLevel = 'warn'] = process.argv.slice(2);
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('SIGINT', () => {});
process.stdin.on('end', () => stop.abort());
process.stdin.on('error', () => stop.abort());
process.stdin.resume();

try {
  await runMover({ spool, routes: [], logLevel }, stop.signal);
} catch (error) {
  process.stderr.write(`kangaroo mover: ${explain(error)}\n`);
  process.exitCode = 1;
}
// A bulk call may still wait in a thread; there is nothing left here that it could harm.
process.exit();
