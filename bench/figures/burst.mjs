/**
 * The program of the paper's figures 10 and 11: makes one burst of output as fast as it can, and
 * says how long it was busy (response) and when the output was where it belongs (turnaround).
 *
 *   burst.mjs streaming BYTES HOST PORT           straight into a connection to the far side
 *   burst.mjs staging BYTES HOST PORT FILE        into a local file, synced; then that is sent
 *   burst.mjs kangaroo BYTES SERVER ADDRESS       into the first hop, committed; then pushed
 *
 * Prints { responseMs, turnaroundMs }, both from the first byte on; the start of the program and
 * the
 * connecting are not in them.
 */

import { createReadStream, closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { pipeline } from 'node:stream/promises';

const MiB = 2 ** 20;
const [mode, size, ...rest] = process.argv.slice(2);
const bytes = Number(size);
const block = randomBytes(MiB);

function* burst() {
  for (let at = 0; at < bytes; at += MiB) yield block.subarray(0, Math.min(MiB, bytes - at));
}

const modes = {
  streaming: async (host, port) => {
    const socket = await dial(host, port);
    return await timed(
      async () => await sendAll(socket, burst()),
      async () => {},
    );
  },
  staging: async (host, port, file) => {
    const socket = await dial(host, port);
    return await timed(
      async () => {
        const fd = openSync(file, 'w');
        for (const piece of burst()) {
          for (let done = 0; done < piece.length;) done += writeSync(fd, piece, done);
        }
        fdatasyncSync(fd);
        closeSync(fd);
      },
      async () => await sendAll(socket, createReadStream(file, { highWaterMark: MiB })),
    );
  },
  kangaroo: async (server, address) => {
    const { connect } = await import('../../dist/index.js');
    const client = await connect({ server });
    const result = await timed(
      async () => {
        await pipeline(burst(), client.createWriteStream(address));
        await client.commit();
      },
      async () => await client.push(address),
    );
    await client.close();
    return result;
  },
};

async function dial(host, port) {
  const socket = connectSocket({ host, port: Number(port), allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Sends everything and waits for the receiver's word that it has all of it, synced. */
async function sendAll(socket, pieces) {
  const answer = once(socket, 'data');
  await pipeline(pieces, socket, { end: false });
  socket.end();
  await answer;
}

async function timed(program, delivery) {
  const startMs = performance.now();
  await program();
  const responseMs = performance.now() - startMs;
  await delivery();
  return { responseMs, turnaroundMs: performance.now() - startMs };
}

const result = await modes[mode](...rest);
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit();
