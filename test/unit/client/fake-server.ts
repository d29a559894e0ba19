/**
 * A server for the tests of the client library: it speaks the protocol through Connection on a
 * Unix socket in a scratch directory and keeps files in memory.
 *
 * It can do on purpose what a real one does at the worst moment: drop a connection, forget what was
 * not committed, stop reading, answer late or with an error, come back as another spool. It has no
 * spool, no routes and no durability, and checks only what a client must get right.
 */
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  closeSync,
} from 'node:fs';
import { createServer, type Server as NetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../../src/base/crc32c.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { RangeSet } from '../../../src/base/ranges.ts';
import { Connection } from '../../../src/protocol/connection.ts';
import { type Frame, FRAME_FLAGS } from '../../../src/protocol/frame.ts';
import { decodeMessage, FOUND_KIND, MESSAGES } from '../../../src/protocol/messages.ts';
import {
  decodeHead,
  FLAGS,
  KIND,
  measure,
  type RecordHeader,
} from '../../../src/protocol/operation.ts';
import { joinPath } from '../../../src/route/address.ts';

export interface FakeFile {
  bytes: Buffer;
  mode: number;
  mtimeNs: bigint;
  kind: number;
}

export interface TakenRecord {
  readonly head: RecordHeader;
  readonly payload: Buffer;
  readonly repeated: boolean;
}

export class FakeServer {
  readonly directory = mkdtempSync(join(tmpdir(), 'kangaroo-client-'));
  readonly socketPath = join(this.directory, 'server.sock');
  spoolId = 'ab'.repeat(16);
  spoolDirectory = '';
  readonly files = new Map<string, FakeFile>();
  /** Everything taken, in order; repeats are not. */
  readonly records: TakenRecord[] = [];
  readonly repeatedFrames: Frame[] = [];
  taken = new RangeSet();
  putsFrames = 0;
  commits = 0;
  lowWaters: number[] = [];
  byes = 0;
  greetings: string[] = [];
  grants: { segment: number; bytes: number }[] = [];
  grantBytesMax = 64 << 20;
  /** Called for each frame before it is handled; true: it is taken care of. */
  intercept: (frame: Frame, connection: Connection) => boolean | Promise<boolean> = () => false;
  #net: NetServer | null = null;
  readonly #connections = new Set<Connection>();
  #uncommitted: TakenRecord[] = [];
  #grantsOf = new WeakMap<Connection, Set<number>>();
  #nextSegment = 1;

  static async start(): Promise<FakeServer> {
    const server = new FakeServer();
    await server.listen();
    return server;
  }

  async listen(): Promise<void> {
    const net = createServer((socket) => {
      const connection = new Connection(socket, 'client');
      this.#connections.add(connection);
      connection.onFrame = (frame) => this.#onFrame(frame, connection);
      void connection.closed.then(() => this.#connections.delete(connection));
    });
    this.#net = net;
    rmSync(this.socketPath, { force: true });
    await new Promise<void>((resolve) => net.listen(this.socketPath, resolve));
  }

  /** Cuts all connections. */
  drop(): void {
    for (const connection of this.#connections) connection.close(null);
  }

  /** Stops listening and cuts all connections. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#net?.close(resolve));
    this.drop();
    await closed;
  }

  /** Loses what was not committed, as a machine that lost power. */
  forgetUncommitted(): void {
    this.taken = new RangeSet(this.taken.floor - this.#uncommitted.length);
    this.records.splice(this.records.length - this.#uncommitted.length);
    this.#uncommitted = [];
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  text(path: string): string | undefined {
    return this.files.get(path)?.bytes.toString();
  }

  useGrants(): void {
    this.spoolDirectory = join(this.directory, 'spool');
    mkdirSync(this.spoolDirectory, { recursive: true });
  }

  segmentPath(segment: number): string {
    return join(this.spoolDirectory, `data-${segment}`);
  }

  async #onFrame(frame: Frame, connection: Connection): Promise<void> {
    if (await this.intercept(frame, connection)) return;
    switch (frame.type) {
      case MESSAGES.HELLO.type:
        return this.#hello(frame, connection);
      case MESSAGES.PUTS.type:
        return this.#puts(frame, connection);
      case MESSAGES.COMMIT.type:
        this.commits += 1;
        this.lowWaters.push(decodeMessage('COMMIT', frame).lowWater);
        this.#uncommitted = [];
        return connection.send('COMMITTED', { incarnation: 1 }, frame.callId);
      case MESSAGES.BYE.type:
        this.byes += 1;
        return undefined;
      case MESSAGES.PUSH.type:
        connection.send(
          'PROGRESS',
          { operations: 3, bytes: 42, where: 'far', reason: 'away' },
          frame.callId,
        );
        return connection.send('DONE', {}, frame.callId);
      case MESSAGES.GRANT.type:
        return this.#grant(frame, connection);
      case MESSAGES.STAT.type:
        return this.#stat(frame, connection);
      case MESSAGES.GET.type:
        return this.#get(frame, connection);
      case MESSAGES.LIST.type:
        return this.#list(frame, connection);
      case MESSAGES.ASK.type:
        return this.#ask(frame, connection);
      default:
        return undefined;
    }
  }

  #hello(frame: Frame, connection: Connection): void {
    this.greetings.push(decodeMessage('HELLO', frame).senderId);
    connection.welcome();
    const welcome = {
      version: 1,
      serverName: 'fake',
      spoolId: this.spoolId,
      incarnation: 1,
      takenFloor: this.taken.floor,
      spoolDirectory: this.spoolDirectory,
      software: 'fake 1',
      board: '',
    };
    connection.send('WELCOME', welcome, frame.callId);
  }

  #puts(frame: Frame, connection: Connection): void {
    this.putsFrames += 1;
    const repeated = (frame.flags & FRAME_FLAGS.REPEATED) !== 0;
    if (repeated) this.repeatedFrames.push(frame);
    for (let at = 0; at < frame.body.length;) {
      const size = measure(frame.body, at);
      const head = decodeHead(frame.body, at);
      if (size === null || typeof head === 'string')
        throw new KangarooError('PROTOCOL', String(head));
      const payload = this.#payload(frame.body, at, size, head, connection);
      if (crc32c(payload) !== head.payloadCrc)
        throw new KangarooError('CORRUPT', 'payload checksum');
      at += size.total;
      if (this.taken.has(head.seq)) continue;
      if (head.seq !== this.taken.floor + 1) {
        throw new KangarooError('PROTOCOL', `number ${head.seq} after ${this.taken.floor}`);
      }
      this.taken.add(head.seq);
      const record = { head, payload: Buffer.from(payload), repeated };
      this.records.push(record);
      this.#uncommitted.push(record);
      this.#apply(record);
    }
  }

  #payload(
    body: Buffer,
    at: number,
    size: { head: number; total: number },
    head: RecordHeader,
    connection: Connection,
  ): Buffer {
    if ((head.flags & FLAGS.EXTERNAL) === 0) return body.subarray(at + size.head, at + size.total);
    if (this.#grantsOf.get(connection)?.has(head.payloadSegment) !== true) {
      throw new KangarooError('PROTOCOL', 'payload outside of any grant');
    }
    const payload = Buffer.alloc(head.payloadBytes);
    const fd = openSync(this.segmentPath(head.payloadSegment), 'r');
    readSync(fd, payload, 0, payload.length, head.payloadOffset);
    closeSync(fd);
    return payload;
  }

  #apply({ head, payload }: TakenRecord): void {
    const { path, flags } = head;
    if (head.kind === KIND.remove) this.files.delete(path);
    if (head.kind === KIND.rename) {
      const file = this.files.get(path);
      this.files.delete(path);
      if (file !== undefined) this.files.set(head.path2, file);
    }
    if (head.kind === KIND.mkdir) this.#made(path, FOUND_KIND.directory);
    if (head.kind !== KIND.write) return;
    const file =
      this.files.get(path) ??
      ((flags & FLAGS.CREATE) === 0 ? null : this.#made(path, FOUND_KIND.file));
    if (file === null) return;
    if ((flags & FLAGS.TRUNCATE) !== 0) file.bytes = resized(file.bytes, head.size);
    const end = head.offset + payload.length;
    if (payload.length > 0 && file.bytes.length < end) file.bytes = resized(file.bytes, end);
    payload.copy(file.bytes, head.offset);
    if ((flags & FLAGS.MODE) !== 0) file.mode = head.mode;
    if ((flags & FLAGS.MTIME) !== 0) file.mtimeNs = head.mtimeNs;
  }

  #made(path: string, kind: number): FakeFile {
    const file = { bytes: Buffer.alloc(0), mode: 0o644, mtimeNs: 1_000_000_001n, kind };
    this.files.set(path, file);
    return file;
  }

  #grant(frame: Frame, connection: Connection): void {
    const bytes = Math.min(decodeMessage('GRANT', frame).bytes, this.grantBytesMax);
    const segment = this.#nextSegment++;
    const file = this.segmentPath(segment);
    writeFileSync(file, '');
    truncateSync(file, 4096 + bytes);
    const mine = this.#grantsOf.get(connection) ?? new Set();
    this.#grantsOf.set(connection, mine.add(segment));
    this.grants.push({ segment, bytes });
    connection.send('GRANTED', { segment, file, offset: 4096, bytes }, frame.callId);
  }

  #stat(frame: Frame, connection: Connection): void {
    const { path } = decodeMessage('STAT', frame);
    const file = this.#found(path);
    if (file === null) {
      connection.sendError(new KangarooError('NOT_FOUND', `${path}: no such file`), frame.callId);
      return;
    }
    const { kind, mode, mtimeNs, bytes } = file;
    connection.send(
      'FOUND',
      { kind, size: bytes.length, mode, mtimeNs, pendingBytes: 0 },
      frame.callId,
    );
  }

  #found(path: string): FakeFile | null {
    const isDirectory =
      path === '' || [...this.files.keys()].some((one) => one.startsWith(`${path}/`));
    const directory = {
      bytes: Buffer.alloc(0),
      mode: 0o755,
      mtimeNs: 5_000_000_000n,
      kind: FOUND_KIND.directory,
    };
    return this.files.get(path) ?? (isDirectory ? directory : null);
  }

  // As the real one: the size is told only where the range meets the end.
  #get(frame: Frame, connection: Connection): void {
    const { path, offset, length } = decodeMessage('GET', frame);
    const file = this.files.get(path);
    if (file === undefined) {
      connection.sendError(new KangarooError('NOT_FOUND', `${path}: no such file`), frame.callId);
      return;
    }
    const range = file.bytes.subarray(offset, offset + length);
    for (let at = 0; at < range.length; at += 1 << 20) {
      const bytes = range.subarray(at, at + (1 << 20));
      connection.send('DATA', { offset: offset + at, bytes }, frame.callId);
    }
    const size = offset + range.length;
    connection.send(
      'FOUND',
      { kind: 1, size, mode: 0, mtimeNs: 0n, pendingBytes: 0 },
      frame.callId,
    );
  }

  #list(frame: Frame, connection: Connection): void {
    const { path, after, max } = decodeMessage('LIST', frame);
    const prefix = path === '' ? '' : `${path}/`;
    const names = new Set<string>();
    for (const one of this.files.keys()) {
      if (one.startsWith(prefix)) names.add(one.slice(prefix.length).split('/')[0] as string);
    }
    const rest = [...names].filter((name) => name > after && name !== '').sort();
    const entries = rest.slice(0, Math.min(max, 3)).map((name) => {
      const { kind, bytes, mode, mtimeNs } = this.#found(joinPath(path, name)) as FakeFile;
      return { name, kind, size: bytes.length, mode, mtimeNs };
    });
    connection.send('LISTED', { more: rest.length > entries.length, entries }, frame.callId);
  }

  #ask(frame: Frame, connection: Connection): void {
    const { verb, arguments: text } = decodeMessage('ASK', frame);
    const question = JSON.parse(text) as object;
    const answers: Record<string, object> = {
      status: { server: { name: 'fake' }, spool: {}, destinations: [], question },
      messages: { messages: [], last: 7, question },
      retry: { retried: 2 },
      discard: { discarded: 3 },
    };
    connection.send('DOCUMENT', { json: JSON.stringify(answers[verb]) }, frame.callId);
  }
}

function resized(bytes: Buffer, size: number): Buffer {
  const out = Buffer.alloc(size);
  bytes.copy(out);
  return out;
}
