/**
 * A plain TCP sender for comparisons: HOST PORT FILE. Sends the file and ends when the receiver has
 * said that it has all of it.
 */

import { createReadStream } from 'node:fs';
import { connect } from 'node:net';

const [host, port, file] = process.argv.slice(2);

const socket = connect({ host, port: Number(port), allowHalfOpen: true });
socket.once('connect', () => createReadStream(file, { highWaterMark: 2 ** 20 }).pipe(socket));
socket.once('data', () => process.exit(0));
socket.once('end', () => process.exit(1));
socket.once('error', () => process.exit(1));
