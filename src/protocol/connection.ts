/**
 * One connection: a socket and the frames on it, for whoever dialled and whoever accepted.
 *
 * It hands frames to `onFrame` one at a time and in order; while a handler's promise is pending
 * nothing more is read, which is the paper's back-pressure. Calls carry a number and end with their
 * reply, an ERROR, the deadline, or the end of the connection (DISCONNECTED: outcome unknown).
 * Anything received counts as a sign of life; a side that has stopped reading on purpose goes on
 * sending PING, so that legal back-pressure is never taken for a dead link.
 *
 * It does not reconnect and does not resend: client/session.ts and mover/link.ts do.
 */
import { read } from 'node:fs';
import { connect as connectSocket, type Socket } from 'node:net';
import { promisify } from 'node:util';
import { native } from '../base/addon.ts';
import { type Deadline, hasPassed, nowMs, remainingMs, within } from '../base/deadline.ts';
import { asKangarooError, isErrorCode, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { formatServerAddress, type ServerAddress } from './server-address.ts';
import { type Frame, FrameReader, PREFIX_BYTES, PUTS_TYPE } from './frame.ts';
import {
  decodeMessage,
  encodeDataHead,
  encodeMessage,
  type Message,
  messageName,
  type MessageName,
  MESSAGES,
} from './messages.ts';
import { HEADER_BYTES, measure } from './operation.ts';

const readFile = promisify(read);

/** Something to send: bytes, or a piece of an open file that need not pass through the program. */
export type Chunk =
  | { readonly bytes: Uint8Array }
  | { readonly file: number; readonly offset: number; readonly length: number };

/** The part of a libuv stream handle that the bulk path needs; absent on other platforms. */
interface StreamHandle {
  readonly fd: number;
  readStop(): number;
  readStart(): number;
}

interface Call {
  readonly what: string;
  readonly resolve: (frame: Frame) => void;
  readonly reject: (error: KangarooError) => void;
  readonly onPart: ((frame: Frame) => void) | undefined;
}

const PARTS: ReadonlySet<number> = new Set([MESSAGES.DATA.type, MESSAGES.PROGRESS.type]);

export class Connection {
  /** Handles a frame that is no reply to a call of this side. */
  onFrame: (frame: Frame) => void | Promise<void> = () => {};
  /**
   * May take over a PUTS frame with one large record natively: gets the bytes from the frame's
   * prefix on, returns what it did not use, or null when the frame is to come the normal way.
   */
  onBulk: ((head: Buffer, socketFd: number) => Promise<Buffer> | null) | null = null;

  readonly socket: Socket;
  readonly peer: string;
  /** Settles when the connection is over; null: the other side ended it between two frames. */
  readonly closed: Promise<KangarooError | null>;
  readonly #reader = new FrameReader();
  readonly #calls = new Map<number, Call>();
  #lastCallId = 0;
  #draining = false;
  #passBulk = false;
  #inputEnded = false;
  #over: KangarooError | null | undefined;
  #settleClosed: (error: KangarooError | null) => void = () => {};
  /** Frames written while a bulk send owns the socket. */
  #behindBulk: Buffer[] | null = null;
  #lastHeardMs = nowMs();
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(socket: Socket, peer: string) {
    this.socket = socket;
    this.peer = peer;
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#lastHeardMs = nowMs();
      this.#reader.push(chunk);
      if (!this.#draining) void this.#drain();
    });
    socket.on('error', (error) => {
      this.close(new KangarooError('DISCONNECTED', `${peer}: ${error.message}`, { cause: error }));
    });
    socket.on('end', () => {
      this.#inputEnded = true;
      if (!this.#draining) this.#ended();
    });
    socket.on('close', () => {
      this.close(new KangarooError('DISCONNECTED', `${peer}: the connection was closed`));
    });
  }

  get isOpen(): boolean {
    return this.#over === undefined;
  }

  /** Bytes handed over and not yet taken by the kernel. */
  get queuedBytes(): number {
    let held = 0;
    for (const bytes of this.#behindBulk ?? []) held += bytes.length;
    return this.socket.writableLength + held;
  }

  /** The peer has said who it is: frames of full size are welcome from now on. */
  welcome(): void {
    this.#reader.bodyBytesMax = limits.frameBytesMax;
  }

  /** `onFrame` keeps nothing of a PUTS when it is done with it; see FrameReader.sharePuts. */
  sharePuts(): void {
    this.#reader.sharePuts();
  }

  /** The coming frame is to be handled the normal way. */
  passBulkOnce(): void {
    this.#passBulk = true;
  }

  /** Watches for silence: pings when idle, closes after `limits.linkSilenceMs` without a byte. */
  startHeartbeat(): void {
    this.#heartbeat = setInterval(() => {
      const silentMs = nowMs() - this.#lastHeardMs;
      if (silentMs > limits.linkSilenceMs && !this.#draining) {
        const text = `${this.peer}: no sign of life for ${Math.round(silentMs / 1000)} s`;
        this.close(new KangarooError('DISCONNECTED', text));
      } else {
        this.send('PING', {});
      }
    }, limits.pingEveryMs);
    this.#heartbeat.unref();
  }

  send<N extends MessageName>(name: N, message: Message<N>, callId = 0): void {
    this.sendBytes(encodeMessage(name, message, callId));
  }

  /** A DATA frame, without a copy of its bytes: they must not change any more. */
  sendData(offset: number, bytes: Buffer, callId: number): void {
    this.socket.cork();
    this.sendBytes(encodeDataHead(offset, bytes, callId));
    this.sendBytes(bytes);
    this.socket.uncork();
  }

  /** Queues whole frames. Producers of much wait for `roomToSend` first. */
  sendBytes(bytes: Buffer): void {
    if (!this.isOpen) return;
    if (this.#behindBulk === null) this.socket.write(bytes);
    else this.#behindBulk.push(bytes);
  }

  sendError(error: unknown, callId: number): void {
    const { code, message, hint } = asKangarooError(error);
    this.send('ERROR', { code, message, hint }, callId);
  }

  /** Resolves when little enough is queued for more to be queued. */
  async roomToSend(): Promise<void> {
    while (this.isOpen && this.queuedBytes > limits.sendQueueBytesMax) await this.#nextDrain();
    this.#assertOpen();
  }

  /**
   * Sends frames whose payloads lie in files, by sendfile(2) where the addon is there.
   * @throws KangarooError DISCONNECTED
   */
  async sendChunks(chunks: readonly Chunk[], deadline: Deadline): Promise<void> {
    const fd = this.#handle()?.fd;
    if (native === null || fd === undefined || fd < 0) {
      await this.#sendChunksByCopy(chunks);
      return;
    }
    while (this.isOpen && this.socket.writableLength > 0) await this.#nextDrain();
    this.#assertOpen();
    this.#behindBulk = [];
    try {
      await this.#sendNatively(native, fd, chunks, deadline);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.close(new KangarooError('DISCONNECTED', `${this.peer}: ${why}`, { cause: error }));
    } finally {
      const behind = this.#behindBulk;
      this.#behindBulk = null;
      if (this.isOpen) for (const bytes of behind) this.socket.write(bytes);
    }
    this.#assertOpen();
  }

  /** A link that is slow, or a peer that does not read but shows that it lives, is not given up. */
  async #sendNatively(
    addon: NonNullable<typeof native>,
    socket: number,
    chunks: readonly Chunk[],
    deadline: Deadline,
  ): Promise<void> {
    for (let left = [...chunks]; ;) {
      const deadlineMs = Math.min(remainingMs(deadline), limits.linkSilenceMs);
      try {
        await addon.sendFrames({ socket, chunks: left, deadlineMs });
        return;
      } catch (error) {
        const { code, sent = 0 } = error as { readonly code?: string; readonly sent?: number };
        const isAlive = sent > 0 || nowMs() - this.#lastHeardMs < limits.linkSilenceMs;
        if (code !== 'ETIMEDOUT' || !isAlive || hasPassed(deadline) || !this.isOpen) throw error;
        left = behind(left, sent);
      }
    }
  }

  /**
   * Sends a request and resolves with its reply. DATA and PROGRESS frames go to `onPart` meanwhile.
   * @throws KangarooError the server's own, NOT_YET at the deadline, DISCONNECTED
   */
  async call<N extends MessageName>(
    name: N,
    message: Message<N>,
    options: {
      readonly deadline: Deadline;
      readonly signal?: AbortSignal | undefined;
      readonly onPart?: (frame: Frame) => void;
      readonly what?: string;
    },
  ): Promise<Frame> {
    this.#assertOpen();
    const callId = ++this.#lastCallId & 0x7fff_ffff;
    const what = options.what ?? name.toLowerCase();
    const reply = new Promise<Frame>((resolve, reject) => {
      this.#calls.set(callId, { what, resolve, reject, onPart: options.onPart });
    });
    this.send(name, message, callId);
    try {
      return await within(reply, options.deadline, what, options.signal);
    } catch (error) {
      // An answer that nobody waits for any more should not be worked out.
      if (this.#calls.has(callId)) this.send('CANCEL', {}, callId);
      throw error;
    } finally {
      this.#calls.delete(callId);
    }
  }

  /** As `call`, and decodes a reply that must be `expected`. */
  async ask<N extends MessageName, R extends MessageName>(
    name: N,
    message: Message<N>,
    expected: R,
    options: Parameters<Connection['call']>[2],
  ): Promise<Message<R>> {
    const frame = await this.call(name, message, options);
    if (frame.type !== MESSAGES[expected].type) {
      const got = messageName(frame.type) ?? `type ${frame.type}`;
      throw new KangarooError('PROTOCOL', `${this.peer}: ${got} in answer to ${name}`);
    }
    return decodeMessage(expected, frame);
  }

  /** Ends the connection after what is queued has been sent. */
  async end(): Promise<void> {
    if (this.isOpen) this.socket.end();
    await Promise.race([this.closed, new Promise((r) => setTimeout(r, 1_000).unref())]);
    this.close(null);
  }

  /** Ends it now. Calls that wait end with `error` or DISCONNECTED. Safe to repeat. */
  close(error: KangarooError | null): void {
    if (this.#over !== undefined) return;
    this.#over = error;
    clearInterval(this.#heartbeat);
    const fd = this.#handle()?.fd;
    // A bulk call works on a duplicate of the descriptor, which only a shutdown wakes.
    if (fd !== undefined && fd >= 0 && native !== null && error !== null) {
      native.shutdownSocket(fd);
    }
    this.socket.destroy();
    for (const call of this.#calls.values()) {
      const text = `${call.what}: ${error?.message ?? `${this.peer} closed the connection`}`;
      call.reject(new KangarooError('DISCONNECTED', text));
    }
    this.#calls.clear();
    this.#settleClosed(error);
  }

  /** Turns frames over until one handler wants time or the input is used up. */
  async #drain(): Promise<void> {
    this.#draining = true;
    try {
      while (this.isOpen) {
        const bulk = this.#bulk();
        if (bulk === 'wait') break;
        if (bulk !== null) {
          await bulk;
          continue;
        }
        const frame = this.#reader.next();
        if (frame === null) break;
        this.#passBulk = false;
        const work = this.#dispatch(frame);
        if (work !== undefined) await this.#pausedFor(work);
      }
    } catch (error) {
      const known = asKangarooError(error);
      // A peer that is told why can say so to its user; it is closed all the same.
      this.sendError(known, 0);
      this.socket.end();
      this.close(known.code === 'INTERNAL' ? known : new KangarooError(known.code, known.message));
    } finally {
      this.#draining = false;
    }
    if (this.#inputEnded) this.#ended();
  }

  async #pausedFor(work: Promise<void>): Promise<void> {
    this.#stopReading();
    // We are alive, only not reading: say so, or the peer's heartbeat gives us up.
    const alive = setInterval(() => this.send('PING', {}), limits.pingEveryMs);
    alive.unref();
    try {
      await work;
    } finally {
      clearInterval(alive);
      this.#lastHeardMs = nowMs();
      if (this.isOpen) this.#startReading();
    }
  }

  /**
   * Stops at the handle, at once: pause() would let one more chunk into the stream's buffer, behind
   * the back of a native reader. The handle goes on saying that it reads, since the stream starts
   * it again on its next tick otherwise.
   */
  #stopReading(): void {
    const handle = this.#handle();
    if (handle === undefined) this.socket.pause();
    else handle.readStop();
  }

  #startReading(): void {
    const handle = this.#handle();
    if (handle === undefined) this.socket.resume();
    else handle.readStart();
  }

  #dispatch(frame: Frame): void | Promise<void> {
    if (frame.type === MESSAGES.PING.type) {
      this.send('PONG', {});
      return undefined;
    }
    if (frame.type === MESSAGES.PONG.type) return undefined;
    const call = frame.callId === 0 ? undefined : this.#calls.get(frame.callId);
    if (call !== undefined) {
      this.#answer(call, frame);
      return undefined;
    }
    return this.onFrame(frame);
  }

  #answer(call: Call, frame: Frame): void {
    // At once: what follows the WELCOME may be in the same chunk, and of full size.
    if (frame.type === MESSAGES.WELCOME.type) this.welcome();
    if (PARTS.has(frame.type)) {
      call.onPart?.(frame);
      return;
    }
    // Answered: from here on there is nothing to cancel.
    this.#calls.delete(frame.callId);
    if (frame.type === MESSAGES.ERROR.type) call.reject(decodeError(frame));
    else call.resolve(frame);
  }

  /** Offers the coming frame to `onBulk`: null = not for it, 'wait' = its head is not here yet. */
  #bulk(): Promise<void> | 'wait' | null {
    const handle = this.#handle();
    const head = this.#reader.peek();
    if (this.onBulk === null || this.#passBulk || handle === undefined || head === null)
      return null;
    if (head.length < PREFIX_BYTES || head[4] !== PUTS_TYPE) return null;
    const bodyBytes = head.readUInt32LE(0);
    if (bodyBytes <= limits.inlinePayloadBytesMax || bodyBytes > limits.frameBytesMax) return null;
    if (head.length < PREFIX_BYTES + HEADER_BYTES) return 'wait';
    const size = measure(head, PREFIX_BYTES);
    if (size === null || size.total !== bodyBytes) return null;
    if (head.length < PREFIX_BYTES + size.head) return 'wait';
    const work = this.onBulk(head, handle.fd);
    return work === null ? null : this.#runBulk(work);
  }

  async #runBulk(work: Promise<Buffer>): Promise<void> {
    this.#stopReading();
    this.#reader.take();
    const leftover = await work;
    if (!this.isOpen) return;
    this.#lastHeardMs = nowMs();
    this.#reader.push(leftover);
    this.#startReading();
  }

  #handle(): StreamHandle | undefined {
    const handle = (this.socket as unknown as { _handle?: Partial<StreamHandle> | null })._handle;
    if (handle?.readStop === undefined || handle.fd === undefined) return undefined;
    return handle as StreamHandle;
  }

  async #sendChunksByCopy(chunks: readonly Chunk[]): Promise<void> {
    for (const chunk of chunks) {
      await this.roomToSend();
      if ('bytes' in chunk) {
        this.sendBytes(Buffer.from(chunk.bytes));
        continue;
      }
      const bytes = Buffer.allocUnsafe(chunk.length);
      let done = 0;
      while (done < chunk.length) {
        const left = chunk.length - done;
        const got = await readFile(chunk.file, bytes, done, left, chunk.offset + done);
        if (got.bytesRead === 0) throw new KangarooError('CORRUPT', 'a segment is cut short');
        done += got.bytesRead;
      }
      this.sendBytes(bytes);
    }
  }

  async #nextDrain(): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.socket.off('drain', done);
        clearTimeout(timer);
        resolve();
      };
      // 'drain' only comes after a write was refused; the timer covers a queue below that mark.
      const timer = setTimeout(done, 5);
      this.socket.once('drain', done);
      void this.closed.then(done);
      if (this.socket.writableLength > 0) this.socket.write('', done);
    });
  }

  #ended(): void {
    if (this.#reader.pendingBytes === 0) this.close(null);
    else this.close(new KangarooError('DISCONNECTED', `${this.peer}: ended in mid-frame`));
  }

  #assertOpen(): void {
    if (!this.isOpen) {
      const why = this.#over?.message ?? `${this.peer} closed the connection`;
      throw new KangarooError('DISCONNECTED', why);
    }
  }
}

/** What of `chunks` is left when their first `sent` bytes are gone. */
function behind(chunks: readonly Chunk[], sent: number): Chunk[] {
  const left: Chunk[] = [];
  for (const chunk of chunks) {
    const length = 'bytes' in chunk ? chunk.bytes.length : chunk.length;
    const gone = Math.min(sent, length);
    sent -= gone;
    if (gone === length) continue;
    left.push(
      'bytes' in chunk
        ? { bytes: chunk.bytes.subarray(gone) }
        : { file: chunk.file, offset: chunk.offset + gone, length: length - gone },
    );
  }
  return left;
}

/** The error that an ERROR frame carries. @throws KangarooError PROTOCOL */
export function decodeError(frame: Frame): KangarooError {
  const { code, message, hint } = decodeMessage('ERROR', frame);
  return new KangarooError(isErrorCode(code) ? code : 'INTERNAL', message, { hint });
}

/** Dials a server. @throws KangarooError UNREACHABLE, NOT_YET */
export async function dial(address: ServerAddress, deadline: Deadline): Promise<Connection> {
  const where = formatServerAddress(address);
  const socket =
    address.kind === 'unix'
      ? connectSocket({ path: address.path })
      : connectSocket({ host: address.host, port: address.port });
  const connected = new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => {
      const why = (error as NodeJS.ErrnoException).code ?? error.message;
      reject(new KangarooError('UNREACHABLE', `${where}: ${why}`, { cause: error }));
    });
  });
  const limit = Math.min(deadline, nowMs() + limits.connectTimeoutMs);
  try {
    await within(connected, limit, `connect to ${where}`);
  } catch (error) {
    socket.destroy();
    const known = asKangarooError(error);
    if (known.code !== 'NOT_YET') throw known;
    throw new KangarooError('UNREACHABLE', `${where}: no answer`, { cause: error });
  }
  socket.removeAllListeners('error');
  return new Connection(socket, where);
}
