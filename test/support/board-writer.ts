/**
 * An adapted program in TypeScript: it opens and changes files by OPEN and CHANGE, writes into the
 * board as native/core does, and commits and pushes. For tests of the server's side.
 *
 * Entries are published one at a time under the lock; it makes none longer, except by `grow`, and
 * waits for room in the ring by looking again.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { native, type NativeAddon } from '../../src/base/addon.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { deadlineIn, toWireMs } from '../../src/base/deadline.ts';
import { type Connection, dial } from '../../src/protocol/connection.ts';
import { greet } from '../../src/protocol/hello.ts';
import { decodeMessage, type Message, MESSAGES } from '../../src/protocol/messages.ts';
import { NO_ID } from '../../src/protocol/operation.ts';
import {
  BOARD,
  BOARD_BYTES,
  encodeEntry,
  ENTRY,
  ENTRY_KIND,
  type EntryFields,
  HEADER,
  RING_AT,
  SLOT,
  SLOTS_AT,
} from '../../src/server/board-layout.ts';

const WAIT_MS = 20_000;

export type Opened = Message<'OPENED'>;
type Change = Partial<Message<'CHANGE'>> & Pick<Message<'CHANGE'>, 'kind' | 'path'>;

export class BoardWriter {
  readonly connection: Connection;
  readonly welcome: Message<'WELCOME'>;
  readonly senderId: string;
  readonly memory: ArrayBuffer;
  readonly #addon: NativeAddon;
  readonly #bytes: Buffer;
  readonly #ring: Buffer;
  readonly #longs: BigUint64Array;
  readonly #words: Uint32Array;
  /** Does not wake a server that is asleep. */
  isQuiet = false;
  #lastSeq = 0;

  private constructor(
    addon: NativeAddon,
    connection: Connection,
    welcome: Message<'WELCOME'>,
    senderId: string,
  ) {
    this.#addon = addon;
    this.connection = connection;
    this.welcome = welcome;
    this.senderId = senderId;
    const fd = openSync(welcome.board, 'r+');
    this.memory = addon.mapShared(fd, BOARD_BYTES);
    closeSync(fd);
    this.#bytes = Buffer.from(this.memory);
    this.#ring = Buffer.from(this.memory, RING_AT, BOARD.ringBytes);
    this.#longs = new BigUint64Array(this.memory);
    this.#words = new Uint32Array(this.memory);
  }

  static async connect(
    socket: string,
    senderId = randomBytes(16).toString('hex'),
  ): Promise<BoardWriter> {
    if (native === null) throw new Error('there is no board without the addon');
    const connection = await dial({ kind: 'unix', path: socket }, deadlineIn(WAIT_MS));
    const welcome = await greet(connection, 'client', senderId, deadlineIn(WAIT_MS));
    return new BoardWriter(native, connection, welcome, senderId);
  }

  close(): void {
    this.connection.close(null);
  }

  async open(path: string, flags: number, parts: Partial<Message<'OPEN'>> = {}): Promise<Opened> {
    const request = { name: 'dest', path, flags, mode: 0o644, ...this.#request(), ...parts };
    const deadline = deadlineIn(WAIT_MS);
    return await this.connection.ask('OPEN', request, 'OPENED', { deadline });
  }

  async change(change: Change): Promise<void> {
    const zero = { flags: 0, path2: '', mode: 0, size: 0, mtimeNs: 0n, atimeNs: 0n };
    const request = { name: 'dest', ...zero, ...this.#request(), ...change };
    await this.connection.ask('CHANGE', request, 'DONE', { deadline: deadlineIn(WAIT_MS) });
  }

  async stat(path: string): Promise<Message<'FOUND'>> {
    const request = { name: 'dest', path, timeoutMs: WAIT_MS, hops: 0 };
    return await this.connection.ask('STAT', request, 'FOUND', { deadline: deadlineIn(WAIT_MS) });
  }

  async read(path: string, length = 65_536): Promise<Buffer> {
    const parts: Buffer[] = [];
    const request = { name: 'dest', path, offset: 0, length, timeoutMs: WAIT_MS, hops: 0 };
    await this.connection.ask('GET', request, 'FOUND', {
      deadline: deadlineIn(WAIT_MS),
      onPart: (frame) => {
        if (frame.type === MESSAGES.DATA.type) parts.push(decodeMessage('DATA', frame).bytes);
      },
    });
    return Buffer.concat(parts);
  }

  async commit(): Promise<void> {
    const deadline = deadlineIn(WAIT_MS);
    await this.connection.ask('COMMIT', { lowWater: 0 }, 'COMMITTED', { deadline });
  }

  /** '' is everything. */
  async push(path: string): Promise<void> {
    const target = path === '' ? '' : `kangaroo://dest/${path}`;
    const request = { target, originId: NO_ID, timeoutMs: WAIT_MS, hops: 0 };
    await this.connection.ask('PUSH', request, 'DONE', { deadline: deadlineIn(WAIT_MS) });
  }

  async grant(bytes: number): Promise<Message<'GRANTED'>> {
    const deadline = deadlineIn(WAIT_MS);
    return await this.connection.ask('GRANT', { bytes }, 'GRANTED', { deadline });
  }

  nudge(): void {
    this.connection.send('NUDGE', {});
  }

  /** A write whose bytes stand in the ring. False: there is no room for it now. */
  write(file: Opened, offset: number, payload: Buffer, room = payload.length): boolean {
    return this.publish(
      {
        ...inline(file, offset, payload),
        ...{ room, bytes: ENTRY.end + Math.ceil(room / 8) * 8 },
      },
      payload,
    );
  }

  /** As `write`; waits for room. */
  async writeWhenRoom(file: Opened, offset: number, payload: Buffer): Promise<void> {
    const until = deadlineIn(WAIT_MS);
    while (!this.write(file, offset, payload)) {
      if (performance.now() > until) throw new Error('no room in the ring');
      this.nudge();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** A write whose bytes go into granted room, at `at` of it. */
  writeInto(
    grant: Message<'GRANTED'>,
    at: number,
    file: Opened,
    offset: number,
    payload: Buffer,
  ): boolean {
    const fd = openSync(grant.file, 'r+');
    writeSync(fd, payload, 0, payload.length, grant.offset + at);
    closeSync(fd);
    return this.publish({
      ...inline(file, offset, payload),
      kind: ENTRY_KIND.segment,
      segment: grant.segment,
      segmentOffset: grant.offset + at,
      bytes: ENTRY.end,
    });
  }

  truncate(file: Opened, size: number): boolean {
    const { slot, generation } = file;
    const bytes = ENTRY.end;
    return this.publish({ kind: ENTRY_KIND.truncate, slot, generation, offset: size, bytes });
  }

  /** Puts an entry into the ring with the next number, whatever it says. */
  publish(fields: Omit<EntryFields, 'seq'>, payload: Buffer | null = null): boolean {
    this.#lock();
    try {
      const tail = this.#load(HEADER.tail);
      const used = tail - this.#load(HEADER.head);
      const at = tail % BOARD.ringBytes;
      const left = BOARD.ringBytes - at;
      const skipped = left < fields.bytes ? left : 0;
      if (used + skipped + fields.bytes > BOARD.ringBytes) return false;
      if (skipped > 0) {
        this.#ring.writeUInt32LE(skipped, at + ENTRY.bytes);
        this.#ring.writeUInt16LE(ENTRY_KIND.skip, at + ENTRY.kind);
      }
      const place = skipped > 0 ? 0 : at;
      const seq = this.#load(HEADER.nextSeq);
      encodeEntry({ ...fields, seq }, this.#ring, place);
      payload?.copy(this.#ring, place + ENTRY.end);
      this.#grown(fields);
      this.#store(HEADER.nextSeq, seq + 1);
      this.#store(HEADER.tail, tail + skipped + fields.bytes);
    } finally {
      this.#unlock();
    }
    const isAsleep = Atomics.load(this.#words, HEADER.asleep / 4) === 1;
    if (isAsleep && !this.isQuiet) this.nudge();
    return true;
  }

  /** Sets what the server said last that it has taken, as after a kill. */
  rewind(head: number): void {
    this.#store(HEADER.head, head);
  }

  /** A field of the header, of 8 bytes. */
  header(offset: number): number {
    return this.#load(offset);
  }

  slot(file: Opened): {
    readonly size: number;
    readonly version: number;
    readonly flags: number;
    readonly path: string;
  } {
    const at = SLOTS_AT + file.slot * BOARD.slotBytes;
    const pathBytes = this.#bytes.readUInt16LE(at + SLOT.pathBytes);
    return {
      size: Number(this.#bytes.readBigUInt64LE(at + SLOT.size)),
      version: Number(this.#bytes.readBigUInt64LE(at + SLOT.version)),
      flags: this.#bytes.readUInt32LE(at + SLOT.flags),
      path: this.#bytes.toString('latin1', at + SLOT.path, at + SLOT.path + pathBytes),
    };
  }

  /** The size and version that a write leaves, as a writer keeps them. */
  #grown(fields: Omit<EntryFields, 'seq'>): void {
    const { kind, slot, offset = 0, payloadBytes = 0 } = fields;
    const at = SLOTS_AT + slot * BOARD.slotBytes;
    if (slot >= BOARD.slots || kind === ENTRY_KIND.attributes) return;
    const before = this.#load(at + SLOT.size);
    const isCut = kind === ENTRY_KIND.truncate;
    this.#store(at + SLOT.size, isCut ? offset : Math.max(before, offset + payloadBytes));
    Atomics.add(this.#longs, (at + SLOT.version) / 8, 1n);
  }

  #request(): { readonly seq: number; readonly timeoutMs: number } {
    this.#lastSeq += 1;
    return { seq: this.#lastSeq, timeoutMs: toWireMs(deadlineIn(WAIT_MS)) };
  }

  #lock(): void {
    if (!this.#addon.lock(this.memory, HEADER.lock, WAIT_MS)) throw new Error('no lock');
  }

  #unlock(): void {
    this.#addon.unlock(this.memory, HEADER.lock);
  }

  #load(offset: number): number {
    return Number(Atomics.load(this.#longs, offset / 8));
  }

  #store(offset: number, value: number): void {
    Atomics.store(this.#longs, offset / 8, BigInt(value));
  }
}

function inline({ slot, generation }: Opened, offset: number, payload: Buffer) {
  return {
    kind: ENTRY_KIND.inline,
    slot,
    generation,
    offset,
    payloadBytes: payload.length,
    payloadCrc: crc32c(payload),
  } as const;
}
