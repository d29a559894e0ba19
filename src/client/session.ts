/**
 * One client's session with its first hop: numbered operations, calls, and a connection that may
 * be lost and made again under the same session id (paper, 4.1; decision 6 of the design).
 *
 *   OPEN ──(connection lost)──▶ LOST ──(somebody waits: dial, greet, resend)──▶ OPEN
 *     └──(refused for good, other spool, close)──▶ FAILED, for ever
 *
 * It promises: what put() took is sent in order, once in effect, over any number of connections;
 * commit() resolves only when all of it is on stable storage; every wait ends by its deadline, its
 * signal, or, where there is none, `reconnectMs` after the server was lost. A put that finds the
 * window full waits in line, so the order of the calls is the order of the numbers.
 *
 * It does not survive its process: what is not committed when the process dies may be lost. It
 * never sends to a second spool what a first one may have (the outcome there is unknown).
 */
import { randomBytes } from 'node:crypto';
import type { PackedFiles } from '../base/addon.ts';
import {
  type Deadline,
  deadlineIn,
  hasPassed,
  NEVER,
  nowMs,
  sleep,
  within,
} from '../base/deadline.ts';
import { asKangarooError, type ErrorCode, isErrorCode, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type Connection, dial } from '../protocol/connection.ts';
import type { Frame } from '../protocol/frame.ts';
import { greet } from '../protocol/hello.ts';
import { decodeMessage, type Message, MESSAGES } from '../protocol/messages.ts';
import { headBytes, type Operation } from '../protocol/operation.ts';
import { formatServerAddress, type ServerAddress } from '../protocol/server-address.ts';
import { inlineCopies } from './resend.ts';
import { type Place, PutWindow, type WindowFrame } from './window.ts';

/** Until when, and what ends it earlier. */
export interface Wait {
  readonly deadline: Deadline;
  readonly signal?: AbortSignal | undefined;
}

export interface SessionOptions {
  /** 32 hex digits. Default: random. One that a server knows goes on where that one ended. */
  readonly senderId?: string | undefined;
  /** How long a lost server is waited for by a call that has no deadline. Default 60,000. */
  readonly reconnectMs?: number | undefined;
}

/** What a put brings along: bytes, or the place where they lie already. */
export interface Payload {
  readonly bytes?: Uint8Array | undefined;
  /** `bytes` never change again: they need not be copied. */
  readonly owned?: boolean | undefined;
  readonly place?: Place | undefined;
}

interface Waiter {
  readonly needBytes: number;
  readonly deadline: Deadline;
  /** Resolves, whatever became of it. */
  readonly settled: Promise<void>;
  /** Appends the record. */
  readonly run: () => void;
  readonly reject: (error: KangarooError) => void;
}

/** Errors of a commit that say nothing about what was put. */
const MERELY_LATE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['NOT_YET', 'INTERRUPTED', 'BUSY']);
const WINDOW_BYTES = limits.clientWindowBytesMax;
/** Between two attempts to reach a lost server: at most this, because somebody waits. */
const PAUSE_MAX_MS = 500;

export class Session {
  readonly address: ServerAddress;
  readonly senderId: string;
  readonly #reconnectMs: number;
  #window = new PutWindow();
  #connection: Connection | null = null;
  #welcome: Message<'WELCOME'> | null = null;
  /** The attempt to connect that everybody who waits shares. */
  #dialing: Promise<Connection> | null = null;
  #dialWaiters = 0;
  #wakeDialler: () => void = () => {};
  #lastDialError: KangarooError | null = null;
  /** What a server said outside of any call on the connection that is being made or lost. */
  #refusal: KangarooError | null = null;
  /** Why this session is over. */
  #failed: KangarooError | null = null;
  #flushScheduled = false;
  readonly #waiters: Waiter[] = [];
  #background: Promise<void> | null = null;
  readonly #ended = new AbortController();

  private constructor(address: ServerAddress, options: SessionOptions) {
    this.address = address;
    this.senderId = options.senderId ?? randomBytes(16).toString('hex');
    this.#reconnectMs = options.reconnectMs ?? limits.defaultCallTimeoutMs;
    if (!/^[0-9a-f]{32}$/.test(this.senderId) || /^0*$/.test(this.senderId)) {
      throw new KangarooError('USAGE', `${this.senderId}: not a session id`, {
        hint: 'a session id is 32 hex digits, not all zero',
      });
    }
  }

  /** Dials once. @throws KangarooError UNREACHABLE, or what the server refused */
  static async open(
    address: ServerAddress,
    options: SessionOptions,
    deadline: Deadline,
  ): Promise<Session> {
    const session = new Session(address, options);
    await session.#connectOnce(deadline);
    return session;
  }

  /** What the server said in its latest greeting. */
  get welcome(): Message<'WELCOME'> {
    return this.#welcome as Message<'WELCOME'>;
  }

  /** The connection as it is now; what belongs to one connection compares it. */
  get connection(): Connection | null {
    return this.#connection?.isOpen === true ? this.#connection : null;
  }

  /** Bytes put and not yet committed, as far as this side keeps them. */
  get heldBytes(): number {
    return this.#window.heldBytes;
  }

  /**
   * Takes an operation. Undefined: it was taken at once; a promise: there is no room yet, and it is
   * taken, in its turn, when that resolves. The bytes must not change before.
   * @throws KangarooError USAGE; the promise: NOT_YET, INTERRUPTED (it was not taken), DISCONNECTED
   */
  put(operation: Operation, payload: Payload, wait: Wait): Promise<void> | undefined {
    if (this.#failed !== null) throw this.#failed;
    const needBytes = headBytes(operation) + (payload.bytes?.length ?? 0);
    if (this.hasRoom(needBytes)) {
      this.#append(operation, payload);
      return undefined;
    }
    return this.#putLater(operation, payload, needBytes, wait);
  }

  /**
   * Takes what `pack` puts into a frame, as far as there is room for one; see PutWindow.fill. Null:
   * there is none now, and nothing was packed. @throws KangarooError the session is over
   */
  fill(pack: (out: Buffer, at: number, firstSeq: number) => PackedFiles): PackedFiles | null {
    if (this.#failed !== null) throw this.#failed;
    if (!this.hasRoom(limits.batchBytes)) return null;
    const packed = this.#window.fill(pack);
    this.#sendSoon();
    return packed;
  }

  /** Will a put of a record of that size be taken at once? */
  hasRoom(recordBytes: number): boolean {
    return this.#waiters.length === 0 && this.#fits(recordBytes);
  }

  /** Sends what is gathered, now rather than at the end of the turn. */
  flush(): void {
    this.#window.closeBatch();
    this.#sendPending();
  }

  /** Resolves when all that was put before is on stable storage at the first hop. */
  async commit(wait: Wait): Promise<void> {
    await this.settle(wait);
    await this.#commitOnce(wait);
  }

  /** Waits for the puts that stand in line: they were made before what comes now. */
  async settle(wait: Wait): Promise<void> {
    const last = this.#waiters.at(-1);
    if (last === undefined) return;
    await within(last.settled, wait.deadline, 'put: the server takes nothing more', wait.signal);
  }

  /**
   * Runs `work` on the connection, again on the next one when that is lost: for what may be done
   * twice. @throws KangarooError what the server answers; UNREACHABLE, DISCONNECTED, NOT_YET
   */
  async call<T>(wait: Wait, work: (connection: Connection) => Promise<T>): Promise<T> {
    let giveUp = NEVER;
    for (let pauseMs = 0; ; pauseMs = Math.min(pauseMs * 2 + 50, PAUSE_MAX_MS)) {
      const connection = await this.#ready({ ...wait, deadline: Math.min(wait.deadline, giveUp) });
      const startedMs = nowMs();
      try {
        return await work(connection);
      } catch (error) {
        if (this.#failed !== null) throw this.#failed;
        const lost = error instanceof KangarooError && error.code === 'DISCONNECTED';
        // An open connection means that the server's answer was DISCONNECTED, about somebody else.
        if (!lost || connection.isOpen || hasPassed(wait.deadline)) throw error;
        const lastedLong = nowMs() - startedMs > limits.linkSilenceMs;
        if (lastedLong || giveUp === NEVER) giveUp = this.#patience(wait.deadline);
        if (hasPassed(giveUp)) throw this.#refusal ?? error;
      }
      if (pauseMs > 0) await this.#pause(pauseMs, wait.signal);
    }
  }

  /** Says goodbye where all is committed, and ends. Nothing else is promised. Safe to repeat. */
  async close(): Promise<void> {
    const connection = this.connection;
    if (connection !== null && this.#failed === null) {
      this.flush();
      if (this.#window.isEmpty) connection.send('BYE', {});
    }
    this.#fail(
      new KangarooError('INTERRUPTED', 'the client was closed', { hint: 'connect again' }),
    );
    if (connection !== null) await connection.end();
  }

  #fits(needBytes: number): boolean {
    return this.#window.isEmpty || this.#window.heldBytes + needBytes <= WINDOW_BYTES;
  }

  #append(operation: Operation, payload: Payload): void {
    const { bytes, place, owned } = payload;
    this.#window.append(operation, bytes ?? null, place ?? null, owned);
    this.#sendSoon();
  }

  /** Full frames now, what is being gathered at the end of the turn. */
  #sendSoon(): void {
    if (this.#window.hasUnsent) this.#sendPending();
    if (this.#window.hasBatch && !this.#flushScheduled) {
      this.#flushScheduled = true;
      setImmediate(() => {
        this.#flushScheduled = false;
        this.flush();
      });
    }
    if (this.#window.heldBytes > WINDOW_BYTES / 2) this.#commitInBackground();
  }

  async #putLater(
    operation: Operation,
    payload: Payload,
    needBytes: number,
    wait: Wait,
  ): Promise<void> {
    let run = (): void => {};
    let reject: (error: KangarooError) => void = () => {};
    const taken = new Promise<void>((resolve, rejectTaken) => {
      reject = rejectTaken;
      run = () => {
        try {
          resolve(this.#append(operation, payload));
        } catch (error) {
          rejectTaken(asKangarooError(error));
        }
      };
    });
    const { deadline, signal } = wait;
    const work = within(taken, deadline, 'put: the server takes nothing more', signal);
    const settled = work.catch(() => {});
    const waiter: Waiter = { needBytes, deadline, settled, run, reject };
    this.#waiters.push(waiter);
    this.#commitInBackground();
    try {
      await work;
    } finally {
      const at = this.#waiters.indexOf(waiter);
      if (at >= 0) this.#waiters.splice(at, 1);
    }
  }

  #admitWaiters(): void {
    for (;;) {
      const first = this.#waiters[0];
      if (first === undefined || !this.#fits(first.needBytes)) return;
      this.#waiters.shift();
      first.run();
    }
  }

  async #commitOnce(wait: Wait): Promise<void> {
    await this.call(wait, async (connection) => {
      this.flush();
      const upTo = this.#window.lastSeq;
      const lowWater = this.#window.committedSeq;
      const { deadline, signal } = wait;
      try {
        await connection.ask('COMMIT', { lowWater }, 'COMMITTED', { deadline, signal });
      } catch (error) {
        // What the server could not make durable it may have dropped: it gets all of it again.
        if (!MERELY_LATE.has(asKangarooError(error).code)) connection.close(null);
        throw error;
      }
      this.#window.commit(upTo);
    });
    this.#admitWaiters();
  }

  /** Makes room in the window. Its failure goes to those who wait for room. */
  #commitInBackground(): void {
    if (this.#background !== null || this.#failed !== null) return;
    this.#background = this.#commitOnce({ deadline: NEVER, signal: this.#ended.signal })
      .catch((error: unknown) => this.#rejectWaiters(asKangarooError(error)))
      .finally(() => {
        this.#background = null;
        if (this.#waiters.length > 0) this.#commitInBackground();
      });
  }

  /** Those with a deadline of their own go on waiting for a server that is only lost. */
  #rejectWaiters(error: KangarooError): void {
    const lost = error.code === 'DISCONNECTED' || error.code === 'UNREACHABLE';
    const patient = (waiter: Waiter): boolean =>
      lost && this.#failed === null && Number.isFinite(waiter.deadline);
    const stay = this.#waiters.filter(patient);
    for (const waiter of this.#waiters.splice(0)) {
      if (!stay.includes(waiter)) waiter.reject(this.#failed ?? error);
    }
    this.#waiters.push(...stay);
  }

  #sendPending(): void {
    const connection = this.connection;
    if (connection === null) return;
    for (let frame = this.#window.next(); frame !== null; frame = this.#window.next()) {
      for (const part of frame.parts) connection.sendBytes(part);
    }
  }

  /** A deadline for a lost server: the caller's, or the session's own patience. */
  #patience(deadline: Deadline): Deadline {
    return Number.isFinite(deadline) ? deadline : deadlineIn(this.#reconnectMs);
  }

  async #ready(wait: Wait): Promise<Connection> {
    if (this.#failed !== null) throw this.#failed;
    if (this.connection !== null) return this.connection;
    this.#dialWaiters += 1;
    this.#wakeDialler();
    try {
      if (this.#dialing === null) {
        this.#dialing = this.#dialUntilNobodyWaits().finally(() => {
          this.#dialing = null;
        });
        // Whoever waits for it may have left by the time it fails.
        this.#dialing.catch(() => {});
      }
      const where = formatServerAddress(this.address);
      return await within(this.#dialing, this.#patience(wait.deadline), where, wait.signal);
    } catch (error) {
      throw this.#failed ?? this.#lostError(asKangarooError(error));
    } finally {
      this.#dialWaiters -= 1;
      if (this.#dialWaiters === 0) this.#wakeDialler();
    }
  }

  /** What a caller learns whose server did not come back in time. */
  #lostError(error: KangarooError): KangarooError {
    if (error.code !== 'NOT_YET') return error;
    const why = this.#lastDialError?.message ?? error.message;
    if (this.#window.isEmpty) return new KangarooError('UNREACHABLE', why);
    return new KangarooError('DISCONNECTED', `the server was lost before it committed: ${why}`);
  }

  async #dialUntilNobodyWaits(): Promise<Connection> {
    for (let pauseMs: number = limits.backoffFirstMs; ; pauseMs *= 2) {
      try {
        return await this.#connectOnce(NEVER);
      } catch (error) {
        const known = asKangarooError(error);
        this.#lastDialError = known;
        if (this.#failed !== null) throw this.#failed;
        if (!known.retryable) throw this.#fail(known);
        if (this.#dialWaiters > 0) await this.#untilNextDial(Math.min(pauseMs, PAUSE_MAX_MS));
        if (this.#failed !== null) throw this.#failed;
        if (this.#dialWaiters === 0) throw known;
      }
    }
  }

  /** Whoever joins does not wait out the pause of those before; when all have left it ends. */
  async #untilNextDial(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeDialler = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wakeDialler = () => {};
  }

  async #connectOnce(deadline: Deadline): Promise<Connection> {
    this.#refusal = null;
    const connection = await dial(this.address, deadline);
    connection.onFrame = (frame) => this.#onFrame(connection, frame);
    try {
      const limit = Math.min(deadline, deadlineIn(limits.greetingTimeoutMs));
      const welcome = await greet(connection, 'client', this.senderId, limit);
      connection.startHeartbeat();
      this.#meet(welcome);
      await this.#resend(connection);
    } catch (error) {
      connection.close(null);
      throw this.#refusal ?? this.#failed ?? asSilence(error, connection.peer);
    }
    // A close() in the meantime found no connection to end: that is done here.
    if (this.#failed !== null) {
      connection.close(null);
      throw this.#failed;
    }
    this.#connection = connection;
    this.#sendPending();
    return connection;
  }

  /** Is it still the spool that has our operations? */
  #meet(welcome: Message<'WELCOME'>): void {
    const before = this.#welcome;
    if (before === null) {
      // A session that is taken up again goes on behind what the server has of it.
      this.#window = new PutWindow(welcome.takenFloor);
    } else if (before.spoolId !== welcome.spoolId) {
      const { hasSent, committedSeq } = this.#window;
      if (hasSent || committedSeq > 0) {
        const text = `${formatServerAddress(this.address)}: another spool answers now`;
        throw this.#fail(
          new KangarooError('DISCONNECTED', `${text} than the one that has what was put`),
        );
      }
    }
    this.#welcome = welcome;
    this.#window.rewind(welcome.takenFloor);
  }

  async #resend(connection: Connection): Promise<void> {
    for (;;) {
      await connection.roomToSend();
      const { hasUnsent } = this.#window;
      const frame = this.#window.next();
      if (!hasUnsent || frame === null) return;
      if (frame.segmentFiles !== null) await this.#resendInline(connection, frame);
      else for (const part of frame.parts) connection.sendBytes(part);
    }
  }

  async #resendInline(connection: Connection, frame: WindowFrame): Promise<void> {
    try {
      for await (const bytes of inlineCopies(frame, this.welcome.takenFloor)) {
        connection.sendBytes(bytes);
        await connection.roomToSend();
      }
    } catch (error) {
      throw connection.isOpen ? this.#fail(asKangarooError(error)) : error;
    }
  }

  #onFrame(connection: Connection, frame: Frame): void {
    if (frame.type !== MESSAGES.ERROR.type || frame.callId !== 0) return;
    const { code, message, hint } = decodeMessage('ERROR', frame);
    const known = isErrorCode(code) ? code : 'INTERNAL';
    const refusal = new KangarooError(known, `${connection.peer}: ${message}`, { hint });
    this.#refusal = refusal;
    // Sending the same again would be refused again.
    if (!refusal.retryable && this.#welcome !== null) this.#fail(refusal);
  }

  /** Ends the session for good; the first reason stays. */
  #fail(error: KangarooError): KangarooError {
    this.#failed ??= error;
    this.#ended.abort();
    this.#wakeDialler();
    this.#rejectWaiters(this.#failed);
    return this.#failed;
  }

  async #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const ended = this.#ended.signal;
    await sleep(ms, signal === undefined ? ended : AbortSignal.any([ended, signal]));
  }
}

/** A peer that hangs up in the middle of the greeting is as good as none. */
function asSilence(error: unknown, peer: string): KangarooError {
  const known = asKangarooError(error);
  if (known.code !== 'DISCONNECTED' && known.code !== 'NOT_YET') return known;
  return new KangarooError('UNREACHABLE', `${peer}: no greeting: ${known.message}`, {
    cause: error,
  });
}
