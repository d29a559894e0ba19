/**
 * A plain TCP sender for comparisons: HOST PORT FILE. Sends the file and, when the receiver has
 * said
 * that it has all of it, prints how many milliseconds that took.
 */

import { createReadStream } from 'node:fs';
import { connect } from 'node:net';

const [host, port, file] = process.argv.slice(2);

const startMs = performance.now();
const socket = connect({ host, port: Number(port), allowHalfOpen: true });
socket.once('connect', () => createReadStream(file, { highWaterMark: 2 ** 20 }).pipe(socket));
socket.once('data', () => {
  process.stdout.write(`${performance.now() - startMs}\n`);
  process.exit();
});
socket.once('end', () => process.exit(1));
socket.once('error', () => process.exit(1));
