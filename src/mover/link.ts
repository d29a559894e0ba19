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
import { asKangarooError, type KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { type Chunk, type Connection, dial } from '../protocol/connection.ts';
import { encodePrefix, FRAME_FLAGS, PUTS_TYPE } from '../protocol/frame.ts';
import { greet } from '../protocol/hello.ts';
import { decodeHead, measure, renumber } from '../protocol/operation.ts';
import { formatServerAddress, type ServerAddress } from '../protocol/server-address.ts';
import type { SegmentFiles } from '../spool/files.ts';
import { Order } from '../spool/order.ts';
import { backoffMs } from './backoff.ts';
import { Rate } from './rate.ts';
import type { Work } from './work.ts';

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
  bad(work: Work, problem: string): void;
  changed(link: Link): void;
}

export class Link {
  readonly address: ServerAddress;
  readonly label: string;
  /** Server names that go this way. */
  readonly names = new Set<string>();
  readonly #owner: LinkOwner;
  readonly #order = new Order<Work>();
  readonly #hurried = new Set<number>();
  readonly #rate = new Rate(nowMs());
  #state: LinkState = 'idle';
  #reason = '';
  #retryAtMs = 0;
  #failures = 0;
  #connection: Connection | null = null;
  /** Sent on this connection since the last COMMIT. */
  #sent: Work[] = [];
  #sentBytes = 0;
  #hurriedSent = false;
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
    for (const { seq } of work) this.#hurried.add(seq);
    if (work.length > 0 && this.#state === 'waiting') this.#retryAtMs = Math.min(this.#retryAtMs, nowMs());
    this.#wake();
  }

  drop(work: Work): void {
    this.#order.drop(work);
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
    try {
      await greet(connection, 'relay', this.#owner.spoolId, deadline);
    } catch (error) {
      connection.close(null);
      throw error;
    }
    connection.startHeartbeat();
    connection.onFrame = () => {};
    void connection.closed.then(() => this.#wake());
    this.#connection = connection;
    this.#failures = 0;
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
    this.#repeatedUpTo = this.#highestSent;
    if (error.code === 'CORRUPT') await this.#findBad();
    this.#order.rollback();
    if (this.#stopped) return;
    this.#failures += 1;
    const pauseMs = backoffMs(this.#failures, randomInt(1 << 20) / (1 << 20));
    this.#retryAtMs = nowMs() + pauseMs;
    this.#become('waiting', error.message);
    this.#owner.logger.info({ hop: this.label, reason: error.message, pauseMs }, 'link lost');
    while (!this.#stopped && nowMs() < this.#retryAtMs) await this.#change(this.#retryAtMs);
  }

  /** Records for one frame: a large one alone, or as many small ones as fit a batch. */
  #nextBatch(): Work[] {
    const batch: Work[] = [];
    let bytes = 0;
    while (bytes < limits.batchBytes) {
      const work = this.#order.next();
      if (work === null) break;
      batch.push(work);
      bytes += work.bytes + (work.isExternal ? work.payloadBytes : 0);
    }
    return batch;
  }

  async #send(connection: Connection, batch: readonly Work[]): Promise<void> {
    const inline = batch.filter((work) => !work.isExternal || work.payloadBytes <= limits.inlinePayloadBytesMax);
    if (inline.length === batch.length && !batch.some((work) => work.isExternal)) {
      const records = await this.#readRuns(batch);
      await connection.roomToSend();
      connection.sendBytes(Buffer.concat([this.#prefix(batch, records.length), records]));
    } else {
      for (const work of batch) await this.#sendOne(connection, work);
    }
    for (const work of batch) {
      this.#sent.push(work);
      this.#sentBytes += work.payloadBytes;
      this.#highestSent = Math.max(this.#highestSent, work.seq);
      if (this.#hurried.has(work.seq)) this.#hurriedSent = true;
    }
  }

  /** The records of `batch`, read with one call for each run of neighbours in the log. */
  async #readRuns(batch: readonly Work[]): Promise<Buffer> {
    const parts: Buffer[] = [];
    let from = 0;
    while (from < batch.length) {
      const first = batch[from] as Work;
      let to = from;
      let bytes = 0;
      let next: Work | undefined = first;
      while (next?.segment === first.segment && next.at === first.at + bytes) {
        bytes += next.bytes;
        to += 1;
        next = batch[to];
      }
      const run = await this.#owner.files.read(first.segment, first.at, bytes);
      this.#checkRun(run, batch.slice(from, to));
      parts.push(run);
      from = to;
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }

  /** The bytes must be the records that the server said are there. */
  #checkRun(run: Buffer, works: readonly Work[]): void {
    let at = 0;
    for (const work of works) {
      const problem = recordProblem(run, at, work);
      if (problem !== null) {
        this.#owner.bad(work, problem);
        this.#order.drop(work);
        throw new Error(`record ${work.seq} cannot be read back: ${problem}`);
      }
      at += work.bytes;
    }
  }

  async #sendOne(connection: Connection, work: Work): Promise<void> {
    const { files } = this.#owner;
    const headLength = work.bytes - (work.isExternal ? 0 : work.payloadBytes);
    const head = await files.read(work.segment, work.at, headLength);
    this.#checkHead(head, work);
    renumber(head, 0, head.length, { payload: null });
    const prefix = this.#prefix([work], head.length + work.payloadBytes);
    const chunks: Chunk[] = [{ bytes: Buffer.concat([prefix, head]) }];
    if (work.payloadBytes === 0) {
      await connection.roomToSend();
      await connection.sendChunks(chunks, NEVER);
      return;
    }
    const file = files.borrow(work.payloadSegment);
    try {
      const { payloadOffset: offset, payloadBytes: length } = work;
      chunks.push({ file: file.fd, offset, length });
      await connection.sendChunks(chunks, NEVER);
    } finally {
      file.release();
    }
  }

  #checkHead(head: Buffer, work: Work): void {
    const decoded = decodeHead(head);
    if (typeof decoded !== 'string' && decoded.seq === work.seq) return;
    const problem = typeof decoded === 'string' ? decoded : 'another record lies there';
    this.#owner.bad(work, problem);
    this.#order.drop(work);
    throw new Error(`record ${work.seq} cannot be read back: ${problem}`);
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
      this.#hurriedSent ||
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
      this.#order.done(covered);
      for (const { seq } of covered) this.#hurried.delete(seq);
      this.#rate.add(bytes, nowMs());
      this.#owner.released(covered);
    } catch (error) {
      if (connection === this.#connection) connection.close(asKangarooError(error));
    } finally {
      if (connection === this.#connection) this.#committing = false;
      this.#wake();
    }
  }

  /** The next hop said that a record is corrupt: find out which of ours is, and let the rest go. */
  async #findBad(): Promise<void> {
    for (const work of [...this.#order.all()]) {
      if (work.seq > this.#highestSent) break;
      try {
        const record = await this.#owner.files.read(work.segment, work.at, work.bytes);
        const problem = recordProblem(record, 0, work) ?? (await this.#payloadProblem(work, record));
        if (problem === null) continue;
        this.#owner.bad(work, problem);
      } catch (error) {
        this.#owner.bad(work, asKangarooError(error).message);
      }
      this.#order.drop(work);
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
