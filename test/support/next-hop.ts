/**
 * A next hop on a real socket, small enough to be seen through: takes PUTS, checks them, drops
 * repeats, promises on COMMIT, and breaks off where it is told to. What it had not promised when it
 * broke off it has forgotten, as after a power cut.
 */
import { createServer, type Server } from 'node:net';
import { crc32c } from '../../src/base/crc32c.ts';
import { KangarooError } from '../../src/base/errors.ts';
import { Connection } from '../../src/protocol/connection.ts';
import { type Frame, FRAME_FLAGS, PUTS_TYPE } from '../../src/protocol/frame.ts';
import { decodeMessage, MESSAGES } from '../../src/protocol/messages.ts';
import { decodeHead, measure, type RecordHeader } from '../../src/protocol/operation.ts';
import type { ServerAddress } from '../../src/protocol/server-address.ts';

export interface Arrived {
  readonly head: RecordHeader;
  readonly payload: Buffer;
  readonly repeated: boolean;
}

export class NextHop {
  /** In effect, by the sender's number, in the order in which they came to be. */
  taken = new Map<number, Arrived>();
  /** Promised by a COMMITTED. */
  readonly durable = new Set<number>();
  /** Everything that came, repeats too. */
  readonly arrived: Arrived[] = [];
  readonly lowWaters: number[] = [];
  greetings = 0;
  /** Bytes of PUTS bodies after which the connection is cut; used up one by one. */
  breakAfter: number[] = [];
  /** Called before each COMMITTED. */
  beforeCommitted: () => Promise<void> | void = () => {};
  /** Answer a HELLO, rather than hang up? */
  isGreeting = true;
  /** Not even hang up on it? */
  isMute = false;
  /** Say why before hanging up, on a bad record or a HELLO? */
  isTalkative = true;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  #bytes = 0;
  #address: ServerAddress | null = null;

  constructor() {
    this.#server = createServer((socket) => {
      const connection = new Connection(socket, 'sender');
      this.#connections.add(connection);
      void connection.closed.then(() => this.#connections.delete(connection));
      connection.onFrame = async (frame) => await this.#onFrame(connection, frame);
    });
  }

  get address(): ServerAddress {
    if (this.#address === null) throw new Error('it does not listen yet');
    return this.#address;
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    const address = this.#server.address() as { readonly port: number };
    this.#address = { kind: 'tcp', host: '127.0.0.1', port: address.port };
    return this;
  }

  /** Breaks off every connection and forgets what it had not promised. */
  breakOff(): void {
    this.#bytes = 0;
    this.taken = new Map([...this.taken].filter(([seq]) => this.durable.has(seq)));
    for (const { socket } of this.#connections) socket.resetAndDestroy();
    // What is in its buffers is gone too.
    for (const connection of this.#connections) connection.close(null);
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close(null);
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #onFrame(connection: Connection, frame: Frame): Promise<void> {
    if (frame.type === MESSAGES.HELLO.type) this.#greet(connection, frame);
    else if (frame.type === PUTS_TYPE) this.#puts(connection, frame);
    else if (frame.type === MESSAGES.COMMIT.type) await this.#commit(connection, frame);
  }

  #greet(connection: Connection, frame: Frame): void {
    this.greetings += 1;
    if (this.isMute) return;
    if (!this.isGreeting) {
      if (this.isTalkative) connection.sendError(new KangarooError('DENIED', 'not you'), 0);
      void connection.end();
      return;
    }
    connection.welcome();
    const welcome = {
      version: 1,
      serverName: 'hop',
      spoolId: 'ee'.repeat(16),
      incarnation: 1,
      takenFloor: 0,
      spoolDirectory: '',
      software: 'a test',
      board: '',
    };
    connection.send('WELCOME', welcome, frame.callId);
  }

  #puts(connection: Connection, { body, flags }: Frame): void {
    if (!connection.isOpen) return;
    for (let at = 0; at < body.length;) {
      const size = measure(body, at);
      if (size === null) throw new KangarooError('PROTOCOL', 'no record');
      const head = decodeHead(body, at);
      const payload = Buffer.from(body.subarray(at + size.head, at + size.total));
      if (typeof head === 'string' || crc32c(payload) !== head.payloadCrc) {
        if (!this.isTalkative) connection.socket.resetAndDestroy();
        throw new KangarooError('CORRUPT', 'a record: checksum');
      }
      const arrived = { head, payload, repeated: (flags & FRAME_FLAGS.REPEATED) !== 0 };
      this.arrived.push(arrived);
      if (!this.taken.has(head.seq)) this.taken.set(head.seq, arrived);
      at += size.total;
      this.#bytes += size.total;
      if (this.#bytes >= (this.breakAfter[0] ?? Infinity)) {
        this.breakAfter.shift();
        this.breakOff();
        return;
      }
    }
  }

  async #commit(connection: Connection, frame: Frame): Promise<void> {
    this.lowWaters.push(decodeMessage('COMMIT', frame).lowWater);
    const covered = [...this.taken.keys()];
    await this.beforeCommitted();
    if (!connection.isOpen) return;
    for (const seq of covered) this.durable.add(seq);
    connection.send('COMMITTED', { incarnation: 1 }, frame.callId);
  }
}
