/**
 * Two connected sockets of Node, Unix or TCP loopback, for tests that hand a descriptor to the
 * addon. The accepted end never starts reading (pauseOnConnect), so its bytes are all still in the
 * kernel. Not a double: these are real sockets, with their buffers and their errors.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SocketPair {
  /** The end that connected; reads as Node does. */
  readonly near: Socket;
  /** The end that was accepted; not reading. */
  readonly far: Socket;
  close(): void;
}

/** The number of a socket's descriptor; Node offers it on the handle only. */
export function descriptorOf(socket: Socket): number {
  const handle = (socket as unknown as { _handle: { fd: number } | null })._handle;
  if (handle === null) throw new Error('the socket is closed');
  return handle.fd;
}

/** Connects a pair; `close` ends both and frees what they needed. */
export async function socketPair(kind: 'unix' | 'tcp'): Promise<SocketPair> {
  const directory = mkdtempSync(join(tmpdir(), 'kg-pair-'));
  const server: Server = createServer({ pauseOnConnect: true });
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => {
    if (kind === 'unix') server.listen(join(directory, 'socket'), resolve);
    else server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null) throw new Error('the server does not listen');
  const near =
    typeof address === 'string' ? connect(address) : connect(address.port, address.address);
  await new Promise((resolve) => near.once('connect', resolve));
  const far = await accepted;
  server.close();
  // A peer that goes away is what some tests are about; the addon's answer is what they check.
  near.on('error', () => undefined);
  far.on('error', () => undefined);
  const close = (): void => {
    near.destroy();
    far.destroy();
    rmSync(directory, { recursive: true, force: true });
  };
  return { near, far, close };
}
