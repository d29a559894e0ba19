/**
 * A plain TCP receiver for comparisons: ADDRESS [FILE]. Prints its port; of each connection it
 * takes
 * all bytes, writes them to FILE and syncs it if one is named, and then sends one byte back.
 */

import { fdatasyncSync, openSync, closeSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';

const [address, file] = process.argv.slice(2);

const server = createServer({ allowHalfOpen: true }, (socket) => {
  const fd = file === undefined ? null : openSync(file, 'w');
  socket.on('data', (bytes) => {
    for (let done = 0; fd !== null && done < bytes.length;) done += writeSync(fd, bytes, done);
  });
  socket.on('end', () => {
    if (fd !== null) {
      fdatasyncSync(fd);
      closeSync(fd);
    }
    socket.end('.');
  });
  socket.on('error', () => socket.destroy());
});
server.listen(0, address, () => process.stdout.write(`${server.address().port}\n`));
