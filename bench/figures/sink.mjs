/**
 * The receiver of the figures' streaming and staging, on the far side of a link: see tcp-sink.mjs.
 */

import { spawn } from 'node:child_process';
import { cleanEnvironment } from '../support/program.mjs';
import { FAR } from '../support/netns.mjs';
import { onEnd } from '../support/scratch.mjs';

const sinkProgram = new URL('../support/tcp-sink.mjs', import.meta.url).pathname;

/** Starts it; what it receives goes into `file`. @returns {Promise<string>} its port */
export async function startSink(link, file) {
  const [program, ...argv] = [...link.far, process.execPath, sinkProgram, FAR, file];
  const child = spawn(program, argv, {
    env: cleanEnvironment(),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  onEnd(() => child.kill('SIGKILL'));
  return await new Promise((resolve, reject) => {
    child.stdout.once('data', (text) => resolve(String(text).trim()));
    child.once('exit', () => reject(new Error('the sink ended')));
  });
}
