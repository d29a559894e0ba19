/**
 * A server that keeps one destination in memory and answers as told: enough to run the commands
 * against, on a socket of its own. No spool, no mover, no durability.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KangarooError } from '../../../../src/base/errors.ts';
import { Connection } from '../../../../src/protocol/connection.ts';
import type { Frame } from '../../../../src/protocol/frame.ts';
import {
  decodeMessage,
  encodeMessage,
  FOUND_KIND,
  messageName,
} from '../../../../src/protocol/messages.ts';
import {
  decodeHead,
  FLAGS,
  headBytes,
  KIND,
  recordBytes,
  type RecordHeader,
} from '../../../../src/protocol/operation.ts';
import { splitPath } from '../../../../src/route/address.ts';

const PREFIX_MTIME_NS = 1_700_000_000_000_000_000n;

interface Progress {
  readonly operations: number;
  readonly bytes: number;
  readonly where: string;
  readonly reason: string;
}

export class FakeServer {
  /** Path to bytes; null is a directory. Latin1 paths, all under one server name. */
  readonly files = new Map<string, Buffer | null>();
  /** What ASK answers, by verb; a KangarooError is thrown at the client. */
  readonly documents = new Map<string, unknown>();
  /** Every question that was asked: 'push kangaroo://a/b', 'commit', 'ask retry {...}'. */
  readonly asked: string[] = [];
  pushProgress: Progress[] = [];
  /** What a push ends with; undefined: DONE. 'never': no answer. */
  pushError: KangarooError | 'never' | undefined;
  readonly #directory = mkdtempSync(join(tmpdir(), 'kangaroo-cli-'));
  readonly #connections = new Set<Connection>();
  readonly #server: Server;

  constructor() {
    this.#server = createServer((socket) => {
      const connection = new Connection(socket, 'client');
      this.#connections.add(connection);
      connection.onFrame = (frame) => this.#handle(connection, frame);
    });
  }

  get address(): string {
    return join(this.#directory, 's.sock');
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(this.address, resolve));
    return this;
  }

  async stop(): Promise<void> {
    for (const connection of this.#connections) connection.close(null);
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #handle(connection: Connection, frame: Frame): void {
    try {
      this.#dispatch(connection, frame);
    } catch (error) {
      connection.sendError(error, frame.callId);
    }
  }

  #dispatch(connection: Connection, frame: Frame): void {
    const { callId } = frame;
    switch (messageName(frame.type)) {
      case 'HELLO':
        connection.welcome();
        connection.send('WELCOME', WELCOME, callId);
        return;
      case 'PUTS':
        this.#takeAll(frame.body);
        return;
      case 'COMMIT':
        this.asked.push('commit');
        connection.send('COMMITTED', { incarnation: 1 }, callId);
        return;
      case 'PUSH':
        this.#push(connection, frame);
        return;
      case 'STAT':
        connection.send('FOUND', this.#facts(decodeMessage('STAT', frame).path), callId);
        return;
      case 'LIST':
        this.#list(connection, frame);
        return;
      case 'GET':
        this.#get(connection, frame);
        return;
      case 'ASK':
        this.#ask(connection, frame);
        return;
      case 'GRANT':
        throw new KangarooError('NOT_SUPPORTED', 'no grants here');
      default:
        return;
    }
  }

  #takeAll(body: Buffer): void {
    for (let at = 0; at < body.length;) {
      const head = decodeHead(body, at);
      if (typeof head === 'string') throw new KangarooError('PROTOCOL', head);
      this.#take(head, body.subarray(at + headBytes(head), at + recordBytes(head)));
      at += recordBytes(head);
    }
  }

  #take(head: RecordHeader, payload: Buffer): void {
    const { path, path2, offset, size, flags } = head;
    if (head.kind === KIND.mkdir) this.files.set(path, null);
    if (head.kind === KIND.remove) this.files.delete(path);
    if (head.kind === KIND.rename) {
      this.files.set(path2, this.files.get(path) ?? null);
      this.files.delete(path);
    }
    if (head.kind !== KIND.write || this.files.get(path) === null) return;
    const before = this.files.get(path) ?? Buffer.alloc(0);
    const kept = (flags & FLAGS.TRUNCATE) === 0 ? before : before.subarray(0, size);
    const length = Math.max(kept.length, offset + payload.length);
    const after = Buffer.concat([kept, Buffer.alloc(length - kept.length)]);
    payload.copy(after, offset);
    this.files.set(path, after);
  }

  #push(connection: Connection, frame: Frame): void {
    this.asked.push(`push ${decodeMessage('PUSH', frame).target}`.trim());
    for (const progress of this.pushProgress) connection.send('PROGRESS', progress, frame.callId);
    if (this.pushError === 'never') return;
    if (this.pushError !== undefined) throw this.pushError;
    connection.send('DONE', {}, frame.callId);
  }

  #facts(path: string): { kind: number; size: number; mode: number; mtimeNs: bigint } & {
    pendingBytes: number;
  } {
    const found = path === '' ? null : this.files.get(path);
    if (found === undefined) {
      throw new KangarooError('NOT_FOUND', `kangaroo://a/${path}: no such file or directory`);
    }
    const kind = found === null ? FOUND_KIND.directory : FOUND_KIND.file;
    const mode = found === null ? 0o755 : 0o640;
    return { kind, mode, size: found?.length ?? 0, mtimeNs: PREFIX_MTIME_NS, pendingBytes: 7 };
  }

  #list(connection: Connection, frame: Frame): void {
    const { path, after } = decodeMessage('LIST', frame);
    if (this.#facts(path).kind !== FOUND_KIND.directory) {
      throw new KangarooError('NOT_DIRECTORY', `kangaroo://a/${path}: not a directory`);
    }
    const names = [...this.files.keys()]
      .filter((candidate) => splitPath(candidate)[0] === path)
      .map((candidate) => splitPath(candidate)[1])
      .filter((name) => name > after)
      .sort();
    // Two a page, so that a listing is more than one call.
    const entries = names.slice(0, 2).map((name) => {
      return { name, ...this.#facts(path === '' ? name : `${path}/${name}`) };
    });
    const listed = encodeMessage('LISTED', { more: names.length > 2, entries }, frame.callId);
    connection.sendBytes(listed);
  }

  #get(connection: Connection, frame: Frame): void {
    const { path, offset, length } = decodeMessage('GET', frame);
    const facts = this.#facts(path);
    const bytes = (this.files.get(path) ?? Buffer.alloc(0)).subarray(offset, offset + length);
    if (bytes.length > 0) connection.send('DATA', { offset, bytes }, frame.callId);
    connection.send('FOUND', facts, frame.callId);
  }

  #ask(connection: Connection, frame: Frame): void {
    const { verb, arguments: json } = decodeMessage('ASK', frame);
    this.asked.push(`ask ${verb} ${json}`);
    const answer = this.documents.get(verb);
    if (answer instanceof KangarooError) throw answer;
    connection.send('DOCUMENT', { json: JSON.stringify(answer ?? {}) }, frame.callId);
  }
}

const WELCOME = {
  version: 1,
  serverName: 'first-hop',
  spoolId: 'ab'.repeat(16),
  incarnation: 1,
  takenFloor: 0,
  spoolDirectory: '',
  software: 'kangaroo test',
  board: '',
};
