/**
 * One link: everything that goes to one next hop, over one connection at a time.
 *
 *   IDLE --work--> DIALLING --WELCOME--> SENDING --nothing left, all committed--> IDLE (connected)
 *                     |                     |
 *                     +------ failure ------+--> WAITING --back-off over--> DIALLING
 *
 * It sends what the order allows, keeps a bounded window of uncommitted operations in flight, asks
 * for a commit when enough has been sent or nothing more is there, and releases what the reply
 * covers: only what was sent on that same connection, so to that same incarnation (decision 7). A
 * lost connection rolls back to the last commit and sends again, marked REPEATED; there is no last
 * attempt. Records lie in the log as they go on the wire: neighbours there leave in one piece.
 */
import { randomInt } from 'node:crypto';
import { crc32c } from '../base/crc32c.ts';
import { deadlineIn, NEVER, nowMs } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Chunk, type Connection, decodeError, dial } from '../protocol/connection.ts';
import { encodePrefix, FRAME_FLAGS, PUTS_TYPE } from '../protocol/frame.ts';
import { greet } from '../protocol/hello.ts';
import { MESSAGES } from '../protocol/messages.ts';
import { decodeHead, measure, renumber } from '../protocol/operation.ts';
import { formatServerAddress, type ServerAddress } from '../protocol/server-address.ts';
import type { SegmentFiles } from '../spool/files.ts';
import { Order } from '../spool/order.ts';
import { backoffMs } from './backoff.ts';
import { Rate } from './rate.ts';
import type { Work } from './work.ts';

/** Below this a read and a write are quicker than waking a thread for sendfile(2). */
const SENDFILE_BYTES_MIN = 64 * 1024;
/** After so many failures in a row, each time, what was sent is read back and checked. */
const SUSPECT_EVERY = 4;
const BURST_BYTES_MIN = 256 * 1024;
const BURST_BYTES_MAX = 8 * 1024 * 1024;

export type LinkState = 'idle' | 'dialling' | 'sending' | 'waiting';

/** What a link needs of its mover. */
export interface LinkOwner {
  readonly spoolId: string;
  readonly files: SegmentFiles;
  readonly logger: Logger;
  /** Below this number everything has been durably released. */
  lowWater(): number;
  /** Runs `work` as soon as fewer than `limits.linksMax` links are at work. */
  inTurn(work: () => Promise<void>): Promise<void>;
  released(work: readonly Work[]): void;
  /**
   * Has the server look at a record that cannot be read back: if it is damaged, it is given up and
   * dropped from here before this resolves. Rejects when that cannot be known now.
   */
  bad(work: Work, problem: string): Promise<void>;
  changed(link: Link): void;
}

export class Link {
  readonly address: ServerAddress;
  readonly label: string;
  /** Server names that go this way. */
  readonly names = new Set<string>();
  readonly #owner: LinkOwner;
  readonly #order = new Order<Work>();
  /** What a push waits for and no commit has covered; how many of these are still to be sent. */
  readonly #hurried = new Set<Work>();
  #hurriedWaiting = 0;
  readonly #rate = new Rate(nowMs());
  #state: LinkState = 'idle';
  #reason = '';
  #retryAtMs = 0;
  #failures = 0;
  #connection: Connection | null = null;
  /** Sent on this connection since the last COMMIT. */
  #sent: Work[] = [];
  #sentBytes = 0;
  /** Was something of these sent since the last COMMIT? */
  #hurriedSent = false;
  #burstBytes = limits.payloadBytesMax as number;
  #committing = false;
  #lastCommitMs = 0;
  /** Numbers up to which everything may have been sent before: such frames say REPEATED. */
  #repeatedUpTo = 0;
  #highestSent = 0;
  #wake: () => void = () => {};
  #stopped = false;

  constructor(address: ServerAddress, owner: LinkOwner) {
    this.address = address;
    this.label = formatServerAddress(address);
    this.#owner = owner;
  }

  get state(): LinkState {
    return this.#state;
  }

  get reason(): string {
    return this.#reason;
  }

  get retryInMs(): number {
    return this.#state === 'waiting' ? Math.max(0, this.#retryAtMs - nowMs()) : 0;
  }

  get bytesPerSecond(): number {
    return this.#rate.bytesPerSecond(nowMs());
  }

  get hasWork(): boolean {
    return this.#order.waitingCount + this.#order.inFlightCount > 0;
  }

  add(work: Work): void {
    this.#order.add(work);
    this.#wake();
  }

  find(seq: number): boolean {
    return this.#order.has(seq);
  }

  /** A push waits for these: they and what they depend on go first, and are committed at once. */
  hurry(work: readonly Work[]): void {
    this.#order.hurry(work);
    for (const one of work) {
      if (this.#hurried.has(one)) continue;
      this.#hurried.add(one);
      if (one.sent) this.#hurriedSent = true;
      else this.#hurriedWaiting += 1;
    }
    if (work.length > 0 && this.#state === 'waiting')
      this.#retryAtMs = Math.min(this.#retryAtMs, nowMs());
    this.#wake();
  }

  /** It is not to be moved any more. */
  drop(work: Work): void {
    this.#order.drop(work);
    if (this.#hurried.delete(work) && !work.sent) this.#hurriedWaiting -= 1;
  }

  stop(): void {
    this.#stopped = true;
    this.#connection?.close(null);
    this.#wake();
  }

  /** Moves everything there is, until `stop`. Failures are waited out, never given up on. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      if (!this.hasWork) {
        this.#become('idle', '');
        await this.#change(NEVER);
        continue;
      }
      try {
        await this.#owner.inTurn(async () => await this.#connectAndSend());
      } catch (error) {
        await this.#failed(asKangarooError(error));
      }
    }
    this.#connection?.close(null);
  }

  async #connectAndSend(): Promise<void> {
    const connection = await this.#connect();
    while (!this.#stopped && connection.isOpen) {
      const windowOpen =
        this.#order.inFlightBytes < limits.linkWindowBytesMax &&
        this.#order.inFlightCount < limits.linkWindowOperationsMax;
      const batch = windowOpen ? this.#nextBatch() : [];
      if (batch.length > 0) {
        await this.#send(connection, batch);
        this.#commitIfDue(connection, false);
        continue;
      }
      this.#commitIfDue(connection, true);
      if (!this.hasWork) return;
      await this.#change(NEVER);
    }
    if (!this.#stopped) {
      const why = await connection.closed;
      throw why ?? new Error(`${this.label} closed the connection`);
    }
  }

  async #connect(): Promise<Connection> {
    if (this.#connection?.isOpen === true) {
      this.#become('sending', '');
      return this.#connection;
    }
    this.#become('dialling', this.#reason);
    const deadline = deadlineIn(limits.connectTimeoutMs);
    const connection = await dial(this.address, deadline);
    connection.onFrame = (frame) => {
      // Belongs to no call: why the next hop is about to hang up.
      if (frame.type === MESSAGES.ERROR.type) connection.close(decodeError(frame));
    };
    try {
      await greet(connection, 'relay', this.#owner.spoolId, deadline);
    } catch (error) {
      connection.close(null);
      throw error;
    }
    connection.startHeartbeat();
    void connection.closed.then(() => this.#wake());
    this.#connection = connection;
    this.#committing = false;
    this.#lastCommitMs = nowMs();
    this.#become('sending', '');
    return connection;
  }

  async #failed(error: KangarooError): Promise<void> {
    this.#connection?.close(null);
    this.#connection = null;
    this.#sent = [];
    this.#sentBytes = 0;
    this.#hurriedSent = false;
    this.#hurriedWaiting = this.#hurried.size;
    for (const work of this.#order.all()) work.sent = false;
    this.#repeatedUpTo = this.#highestSent;
    this.#failures += 1;
    // What the next hop said last may have been lost with the connection.
    const isSuspect = this.#order.inFlightCount > 0 && this.#failures % SUSPECT_EVERY === 0;
    // sendfile(2) met the end of a segment that had more: the next hop only sees a broken frame.
    const isShort = /\bENODATA\b/.test(error.message);
    if (error.code === 'CORRUPT' || isShort || isSuspect) await this.#findBad();
    this.#order.rollback();
    if (this.#stopped) return;
    const pauseMs = backoffMs(this.#failures, randomInt(1 << 20) / (1 << 20));
    this.#retryAtMs = nowMs() + pauseMs;
    this.#become('waiting', error.message);
    this.#owner.logger.info({ hop: this.label, reason: error.message, pauseMs }, 'link lost');
    while (!this.#stopped && nowMs() < this.#retryAtMs) await this.#change(this.#retryAtMs);
  }

  /** What is sent with one call: small records up to a batch, large ones up to a burst. */
  #nextBatch(): Work[] {
    const batch: Work[] = [];
    let bytes = 0;
    let boundBytes: number = limits.batchBytes;
    while (bytes < boundBytes) {
      const work = this.#order.next();
      if (work === null) break;
      batch.push(work);
      bytes += work.bytes + (work.isExternal ? work.payloadBytes : 0);
      if (work.isExternal) boundBytes = this.#burstBytes;
    }
    return batch;
  }

  async #send(connection: Connection, batch: readonly Work[]): Promise<void> {
    const startMs = nowMs();
    for (const { seq } of batch) this.#highestSent = Math.max(this.#highestSent, seq);
    const borrowed: (() => void)[] = [];
    try {
      const { chunks, bytes, files } = await this.#chunksOf(batch, borrowed);
      if (files === 0) {
        await connection.roomToSend();
        for (const chunk of chunks)
          if ('bytes' in chunk) connection.sendBytes(asBuffer(chunk.bytes));
      } else {
        await connection.sendChunks(chunks, NEVER);
        this.#adaptBurst(bytes, nowMs() - startMs);
      }
    } finally {
      for (const release of borrowed) release();
    }
    for (const work of batch) {
      this.#sent.push(work);
      this.#sentBytes += work.payloadBytes;
      work.sent = true;
      if (!this.#hurried.has(work)) continue;
      this.#hurriedSent = true;
      this.#hurriedWaiting -= 1;
    }
  }

  /**
   * A slow link gets little at a time, so that what hurries need not wait behind it; a fast one
   * gets much, so that no time is lost between two calls.
   */
  #adaptBurst(bytes: number, tookMs: number): void {
    if (tookMs > 60) this.#burstBytes = Math.max(BURST_BYTES_MIN, this.#burstBytes / 2);
    else if (tookMs < 15 && bytes >= this.#burstBytes) {
      this.#burstBytes = Math.min(BURST_BYTES_MAX, this.#burstBytes * 2);
    }
  }

  /**
   * The frames of `batch`, in order: neighbouring small records share one, a large one has its own.
   * Long runs of the log and large payloads stay in their files and never enter this program; that
   * they are what they should be, the receiver's check tells.
   */
  async #chunksOf(
    batch: readonly Work[],
    borrowed: (() => void)[],
  ): Promise<{ readonly chunks: Chunk[]; readonly bytes: number; readonly files: number }> {
    const chunks: Chunk[] = [];
    let bytes = 0;
    let files = 0;
    const place = async (segment: number, offset: number, length: number): Promise<void> => {
      bytes += length;
      if (length < SENDFILE_BYTES_MIN) {
        chunks.push({ bytes: await this.#owner.files.read(segment, offset, length) });
        return;
      }
      const { fd, release } = this.#owner.files.borrow(segment);
      borrowed.push(release);
      files += 1;
      chunks.push({ file: fd, offset, length });
    };
    for (let from = 0; from < batch.length;) {
      const external = (batch[from] as Work).isExternal;
      let to = from;
      // Behind a large one the batch may hold more small ones than a frame may.
      for (let groupBytes = 0; groupBytes < limits.batchBytes; to++) {
        const work = batch[to];
        if (work?.isExternal !== external) break;
        groupBytes += work.bytes;
      }
      const group = batch.slice(from, to);
      const runs = runsOf(group);
      if (external) {
        const heads = await this.#readHeads(group, runs);
        for (const [i, work] of group.entries()) {
          const head = heads[i] as Buffer;
          const prefix = this.#prefix([work], head.length + work.payloadBytes);
          chunks.push({ bytes: Buffer.concat([prefix, head]) });
          if (work.payloadBytes === 0) continue;
          await place(work.payloadSegment, work.payloadOffset, work.payloadBytes);
        }
      } else {
        const length = runs.reduce((sum, run) => sum + run.bytes, 0);
        chunks.push({ bytes: this.#prefix(group, length) });
        for (const run of runs) await place(run.segment, run.at, run.bytes);
      }
      from = to;
    }
    return { chunks, bytes, files };
  }

  /** The heads of records whose payload lies elsewhere, as they go on the wire. */
  async #readHeads(group: readonly Work[], runs: readonly Run[]): Promise<Buffer[]> {
    const parts: Buffer[] = [];
    for (const { segment, at, bytes } of runs) {
      parts.push(await this.#owner.files.read(segment, at, bytes));
    }
    const all = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    let at = 0;
    return group.map((work) => {
      const head = all.subarray(at, at + work.bytes);
      at += work.bytes;
      this.#checkHead(head, work);
      renumber(head, 0, head.length, { payload: null });
      return head;
    });
  }

  #checkHead(head: Buffer, work: Work): void {
    const decoded = decodeHead(head);
    if (typeof decoded !== 'string' && decoded.seq === work.seq) return;
    const problem = typeof decoded === 'string' ? decoded : 'another record lies there';
    throw new KangarooError('CORRUPT', `record ${work.seq} cannot be read back: ${problem}`);
  }

  #prefix(batch: readonly Work[], bodyBytes: number): Buffer {
    const repeated = batch.some((work) => work.seq <= this.#repeatedUpTo);
    return encodePrefix(PUTS_TYPE, 0, bodyBytes, 0, repeated ? FRAME_FLAGS.REPEATED : 0);
  }

  #commitIfDue(connection: Connection, nothingMore: boolean): void {
    if (this.#committing || this.#sent.length === 0) return;
    const due =
      nothingMore ||
      this.#sentBytes >= limits.commitEveryBytes ||
      // Nothing that a push waits for is left to send: its commit must not wait for more.
      (this.#hurriedSent && this.#hurriedWaiting === 0) ||
      nowMs() - this.#lastCommitMs > limits.commitEveryMs;
    if (!due) return;
    this.#committing = true;
    void this.#commit(connection);
  }

  async #commit(connection: Connection): Promise<void> {
    const covered = this.#sent;
    const bytes = this.#sentBytes;
    this.#sent = [];
    this.#sentBytes = 0;
    this.#hurriedSent = false;
    this.#lastCommitMs = nowMs();
    try {
      const lowWater = this.#owner.lowWater();
      await connection.ask('COMMIT', { lowWater }, 'COMMITTED', { deadline: NEVER });
      // The same connection, so the same incarnation, and still ours: only now may they go.
      if (connection !== this.#connection) return;
      this.#failures = 0;
      this.#order.done(covered);
      for (const work of covered) this.#hurried.delete(work);
      this.#rate.add(bytes, nowMs());
      this.#owner.released(covered);
    } catch (error) {
      if (connection === this.#connection) connection.close(asKangarooError(error));
    } finally {
      if (connection === this.#connection) this.#committing = false;
      this.#wake();
    }
  }

  /** A record may be corrupt: find out which of ours is, so that the rest can go. */
  async #findBad(): Promise<void> {
    try {
      for (const work of [...this.#order.all()]) {
        if (work.seq > this.#highestSent || this.#stopped) break;
        const problem = await this.#problemOf(work);
        if (problem !== null && this.#order.has(work.seq)) await this.#owner.bad(work, problem);
      }
    } catch (error) {
      this.#owner.logger.warn({ err: error, hop: this.label }, 'reading back what was sent');
    }
  }

  /** @throws errno errors that say nothing about the record */
  async #problemOf(work: Work): Promise<string | null> {
    try {
      const record = await this.#owner.files.read(work.segment, work.at, work.bytes);
      return recordProblem(record, 0, work) ?? (await this.#payloadProblem(work, record));
    } catch (error) {
      if (!(error instanceof KangarooError) || error.code !== 'CORRUPT') throw error;
      return error.message;
    }
  }

  async #payloadProblem(work: Work, record: Buffer): Promise<string | null> {
    if (!work.isExternal) return null;
    const head = decodeHead(record);
    const { payloadSegment, payloadOffset, payloadBytes } = work;
    const payload = await this.#owner.files.read(payloadSegment, payloadOffset, payloadBytes);
    if (typeof head !== 'string' && crc32c(payload) === head.payloadCrc) return null;
    return 'payload checksum';
  }

  #become(state: LinkState, reason: string): void {
    if (state === this.#state && reason === this.#reason) return;
    this.#state = state;
    this.#reason = reason;
    this.#owner.changed(this);
  }

  /** Waits until something has changed, or the given moment. */
  async #change(untilMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = Number.isFinite(untilMs)
        ? setTimeout(resolve, Math.max(1, untilMs - nowMs()))
        : undefined;
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface Run {
  readonly segment: number;
  readonly at: number;
  bytes: number;
}

/** Neighbours in the log, in the order of `batch`. */
function runsOf(batch: readonly Work[]): Run[] {
  const runs: Run[] = [];
  for (const { segment, at, bytes } of batch) {
    const last = runs.at(-1);
    if (last?.segment === segment && last.at + last.bytes === at) last.bytes += bytes;
    else runs.push({ segment, at, bytes });
  }
  return runs;
}

/** What is wrong with the record at `at`, by its header and inline payload; null if it is sound. */
function recordProblem(bytes: Buffer, at: number, work: Work): string | null {
  const size = measure(bytes, at);
  if (size === null || size.total !== work.bytes) return 'no such record';
  const head = decodeHead(bytes, at);
  if (typeof head === 'string') return head;
  if (head.seq !== work.seq) return 'another record lies there';
  if (work.isExternal || work.payloadBytes === 0) return null;
  const payload = bytes.subarray(at + size.head, at + size.total);
  return crc32c(payload) === head.payloadCrc ? null : 'payload checksum';
}
