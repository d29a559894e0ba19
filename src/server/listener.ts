/**
 * The doors: TCP listeners and Unix sockets, and who is let in.
 *
 * A Unix socket belongs to the account of the server (mode 0600): who can open it is local, may be
 * granted segments and may be the mover. TCP peers are checked against the allow list before a byte
 * of them is looked at; those that it does not name are told so and hung up on. Beyond
 * `limits.connectionsMax` nobody is let in until somebody leaves.
 */
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  unlinkSync,
} from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { encodeMessage } from '../protocol/messages.ts';
import { formatServerAddress, parseServerAddress } from '../protocol/server-address.ts';
import type { AllowList } from './allow.ts';

export interface Peer {
  readonly socket: Socket;
  readonly label: string;
  /** Came through a Unix socket, which only this account can open. */
  readonly local: boolean;
}

/** The kernel's bound on a socket's path, unix(7). */
const SOCKET_PATH_BYTES_MAX = 107;

export class Listener {
  readonly #allow: AllowList;
  readonly #logger: Logger;
  readonly #onPeer: (peer: Peer) => void;
  readonly #servers: Server[] = [];
  readonly #socketFiles: string[] = [];
  #connections = 0;
  #refusals = 0;

  constructor(allow: AllowList, logger: Logger, onPeer: (peer: Peer) => void) {
    this.#allow = allow;
    this.#logger = logger;
    this.#onPeer = onPeer;
  }

  /** Returns the address it got, HOST:PORT. @throws KangarooError */
  async listenTcp(text: string): Promise<string> {
    const address = parseServerAddress(text);
    if (address.kind !== 'tcp') throw new KangarooError('USAGE', `--listen ${text}: not HOST:PORT`);
    const server = await this.#listen({ host: address.host, port: address.port }, text, false);
    const bound = server.address();
    if (bound === null || typeof bound === 'string') return text;
    return formatServerAddress({ kind: 'tcp', host: bound.address, port: bound.port });
  }

  /** @throws KangarooError when a live server has that socket, or the path is too long */
  async listenUnix(file: string): Promise<string> {
    const path = resolve(file);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    await removeStale(path);
    // Longer paths are reached through the directory's descriptor.
    const short = Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX;
    const fd = short ? -1 : openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    const bindPath = short ? path : `/proc/self/fd/${fd}/${basename(path)}`;
    const before = process.umask(0o177);
    try {
      await this.#listen({ path: bindPath }, path, true);
    } finally {
      process.umask(before);
      if (fd >= 0) closeSync(fd);
    }
    chmodSync(path, 0o600);
    this.#socketFiles.push(path);
    return path;
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map(async (server) => {
        await new Promise<void>((resolveClosed) => server.close(() => resolveClosed()));
      }),
    );
    for (const file of this.#socketFiles) {
      try {
        unlinkSync(file);
      } catch {
        // Node has removed it already.
      }
    }
  }

  /** Stops accepting; connections that are open stay. */
  stopAccepting(): void {
    for (const server of this.#servers) server.close();
  }

  async #listen(
    where: { host: string; port: number } | { path: string },
    label: string,
    local: boolean,
  ): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      this.#accept(socket, local),
    );
    await new Promise<void>((resolveListening, reject) => {
      server.once('error', (error) => {
        reject(
          new KangarooError('USAGE', `listen on ${label}: ${error.message}`, {
            cause: error,
            hint: 'choose another address, or port 0',
          }),
        );
      });
      server.listen(where, resolveListening);
    });
    this.#servers.push(server);
    return server;
  }

  #accept(socket: Socket, local: boolean): void {
    const label = local ? 'local client' : `${socket.remoteAddress}:${socket.remotePort}`;
    socket.on('error', () => socket.destroy());
    if (!local && !this.#allow.allows(socket.remoteAddress)) {
      this.#logger.warn({ link: label }, 'refused: its address is not allowed');
      this.#refuse(socket);
      return;
    }
    if (this.#connections >= limits.connectionsMax) {
      this.#logger.warn({ link: label }, 'refused: too many connections');
      socket.destroy();
      return;
    }
    this.#connections += 1;
    socket.once('close', () => {
      this.#connections -= 1;
    });
    this.#onPeer({ socket, label, local });
  }

  /** Says why and hangs up: one small frame, for a moment, to few at a time. */
  #refuse(socket: Socket): void {
    if (this.#refusals >= limits.refusalsAtOnceMax) {
      socket.destroy();
      return;
    }
    this.#refusals += 1;
    const timer = setTimeout(() => socket.destroy(), limits.refusalMs);
    socket.once('close', () => {
      clearTimeout(timer);
      this.#refusals -= 1;
    });
    // Read and thrown away: closed with something unread it would be reset, and the frame lost.
    socket.resume();
    socket.end(refusal(socket.remoteAddress ?? ''));
  }
}

/** What a peer hears that may not come in. */
function refusal(address: string): Buffer {
  const message = `${address} is not let in`;
  const error = new KangarooError('DENIED', message, {
    hint: `start that server with --allow ${address}`,
  });
  return encodeMessage('ERROR', { code: error.code, message, hint: error.hint }, 0);
}

/** A socket file that nobody listens on is left over from a killed server. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) {
      throw new KangarooError('USAGE', `${path} is there and is no socket`);
    }
  } catch (error) {
    if (error instanceof KangarooError) throw error;
    return;
  }
  const alive = await new Promise<boolean>((resolveAlive) => {
    const probe = createConnection({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolveAlive(true);
    });
    probe.once('error', () => resolveAlive(false));
  });
  if (alive) {
    throw new KangarooError('USAGE', `${path}: another server listens there`, {
      hint: 'stop it, or choose another --socket',
    });
  }
  unlinkSync(path);
}
