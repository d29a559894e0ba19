/**
 * One connection as the server sees it, from HELLO to the end.
 *
 *   CONNECTED --HELLO within 10 s--> READY --end, error or silence--> CLOSED
 *
 * PUTS and COMMIT are handled strictly in order, and nothing more is read while one of them waits
 * for room: that is the back-pressure. Every other request runs beside them, a bounded number at a
 * time, and is answered by its callId. What a client may do depends on its role and on the door it
 * came through. Requests are in the verb-*.ts files.
 */
import { type Deadline, deadlineIn, fromWireMs, NEVER, within } from '../base/deadline.ts';
import { asKangarooError, errnoOf, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { version } from '../base/version.ts';
import type { Connection } from '../protocol/connection.ts';
import { PUTS_TYPE, type Frame } from '../protocol/frame.ts';
import { checkHello, type Role } from '../protocol/hello.ts';
import { decodeMessage, MESSAGES, messageName, PROTOCOL_VERSION } from '../protocol/messages.ts';
import type { Board } from './board.ts';
import type { Grant } from './open-grants.ts';
import type { Server } from './server.ts';
import { ask } from './verb-ask.ts';
import { change } from './verb-change.ts';
import { commit } from './verb-commit.ts';
import { get } from './verb-get.ts';
import { endGrants, grant } from './verb-grant.ts';
import { locate } from './verb-locate.ts';
import { list, stat } from './verb-names.ts';
import { moverFrame, subscribe } from './verb-mover.ts';
import { open } from './verb-open.ts';
import { push } from './verb-push.ts';
import { puts, putsInBulk } from './verb-put.ts';

/** Requests beside PUTS and COMMIT, by frame type. The signal says that nobody waits any more. */
const CALLS: Readonly<
  Record<number, (session: Session, frame: Frame, signal: AbortSignal) => Promise<void>>
> = {
  [MESSAGES.PUSH.type]: push,
  [MESSAGES.GET.type]: get,
  [MESSAGES.STAT.type]: stat,
  [MESSAGES.LIST.type]: list,
  [MESSAGES.ASK.type]: ask,
  [MESSAGES.GRANT.type]: grant,
  [MESSAGES.OPEN.type]: open,
  [MESSAGES.CHANGE.type]: change,
  [MESSAGES.LOCATE.type]: locate,
};

/** Those that are about what is in the spool; OPEN, CHANGE and GRANT see to it themselves. */
const BEHIND_BOARD: ReadonlySet<number> = new Set([
  MESSAGES.PUSH.type,
  MESSAGES.GET.type,
  MESSAGES.STAT.type,
  MESSAGES.LIST.type,
  MESSAGES.ASK.type,
  MESSAGES.LOCATE.type,
]);

export class Session {
  readonly server: Server;
  readonly connection: Connection;
  /** Came through a Unix socket of this account. */
  readonly local: boolean;
  role: Role | null = null;
  senderId = '';
  /** A program with the adapter: what it writes goes by the board. */
  isAdapted = false;
  readonly grants: Grant[] = [];
  readonly #calls = new Map<number, AbortController>();
  readonly #end = new AbortController();
  /** The PUTS that is being handled. */
  #putting: Promise<unknown> | null = null;
  readonly #greetingTimer: NodeJS.Timeout;

  constructor(server: Server, connection: Connection, local: boolean) {
    this.server = server;
    this.connection = connection;
    this.local = local;
    connection.onFrame = (frame) => this.#onFrame(frame);
    this.#greetingTimer = setTimeout(() => {
      connection.close(new KangarooError('PROTOCOL', `${connection.peer} said nothing`));
    }, limits.greetingTimeoutMs);
    void connection.closed.then((error) => this.#onClosed(error));
  }

  /** The deadline of a request, from the milliseconds left that it carries. */
  deadline(timeoutMs: number): Deadline {
    return fromWireMs(timeoutMs);
  }

  /** Aborts when the connection is over. */
  get ended(): AbortSignal {
    return this.#end.signal;
  }

  /** @throws KangarooError DISCONNECTED when the connection is over */
  assertOpen(): void {
    if (this.connection.isOpen) return;
    throw new KangarooError('DISCONNECTED', `${this.connection.peer}: the connection was closed`);
  }

  /** Ends it because its sender is here on a new connection; resolves when it does nothing more. */
  async giveWay(): Promise<void> {
    this.connection.close(new KangarooError('DISCONNECTED', 'the sender has connected again'));
    await this.#putting?.catch(() => {});
  }

  #onFrame(frame: Frame): void | Promise<void> {
    if (this.role === null) return this.#greet(frame);
    if (frame.type === PUTS_TYPE) return this.#put(() => puts(this, frame));
    if (frame.type === MESSAGES.COMMIT.type) {
      // Not awaited: blocks that follow are taken while the sync runs. It covers what came before.
      void this.#answer(frame, commit(this, frame));
      return undefined;
    }
    if (frame.type === MESSAGES.CANCEL.type) {
      this.#calls.get(frame.callId)?.abort();
      return undefined;
    }
    if (frame.type === MESSAGES.BYE.type) {
      this.server.spool.taken.forget(this.senderId);
      return undefined;
    }
    if (this.role === 'mover') return moverFrame(this, frame);
    if (frame.type === MESSAGES.NUDGE.type) {
      this.isAdapted = true;
      this.server.board?.nudge();
      return undefined;
    }
    this.#call(frame);
    return undefined;
  }

  #put<T extends Promise<unknown> | void | null>(work: () => T): T {
    try {
      const putting = work();
      if (!(putting instanceof Promise)) return putting;
      const told = putting.catch((error: unknown) => {
        throw this.#forSender(error);
      });
      this.#putting = told;
      return told as T;
    } catch (error) {
      throw this.#forSender(error);
    }
  }

  /**
   * Puts never fail: a system call that failed where nobody expected it is this server's trouble,
   * and its sender sends again.
   */
  #forSender(error: unknown): unknown {
    if (errnoOf(error) === null) return error;
    this.server.logger.error({ err: error }, 'a put met a failure of the system');
    const text = error instanceof Error ? error.message : String(error);
    return new KangarooError('BUSY', `the server cannot take it now: ${text}`, { cause: error });
  }

  #greet(frame: Frame): void | Promise<void> {
    if (frame.type !== MESSAGES.HELLO.type)
      throw new KangarooError('PROTOCOL', 'HELLO comes first');
    const hello = decodeMessage('HELLO', frame);
    const role = checkHello(hello);
    if (role === 'mover' && !this.local) {
      throw new KangarooError('DENIED', 'a mover must use the Unix socket of its server');
    }
    clearTimeout(this.#greetingTimer);
    const { senderId } = hello;
    // One that still works on what came before must not do so beside this one, which repeats it.
    const before = role === 'mover' ? [] : this.server.sessionsOf(senderId);
    this.senderId = senderId;
    if (before.length === 0) return this.#welcome(role, senderId, frame.callId);
    return Promise.all(before.map((session) => session.giveWay())).then(() => {
      if (this.connection.isOpen) this.#welcome(role, senderId, frame.callId);
    });
  }

  #welcome(role: Role, senderId: string, callId: number): void {
    const { spool, name } = this.server;
    const isOwnClient = this.local && role === 'client';
    this.role = role;
    if (role !== 'mover') {
      spool.taken.meet(senderId, role === 'client');
      this.connection.sharePuts();
      this.connection.onBulk = (head, fd) => this.#put(() => putsInBulk(this, head, fd));
    }
    this.connection.welcome();
    // The kernel tells when a program of this machine ends, and one that computes says nothing.
    if (!isOwnClient) this.connection.startHeartbeat();
    const welcome = {
      version: PROTOCOL_VERSION,
      serverName: name,
      spoolId: spool.spoolId,
      incarnation: spool.incarnation,
      takenFloor: spool.taken.floor(senderId),
      spoolDirectory: isOwnClient ? spool.directory : '',
      software: `kangaroo ${version}`,
      board: isOwnClient ? (this.server.needBoard()?.path ?? '') : '',
    };
    this.connection.send('WELCOME', welcome, callId);
    if (role === 'mover') subscribe(this);
  }

  #call(frame: Frame): void {
    const work = CALLS[frame.type];
    if (work === undefined) {
      const name = messageName(frame.type) ?? `frame type ${frame.type}`;
      throw new KangarooError('PROTOCOL', `${name} is not for a server`);
    }
    if (this.#calls.size >= limits.callsPerConnectionMax) {
      this.connection.sendError(
        new KangarooError('BUSY', 'too many requests at a time'),
        frame.callId,
      );
      return;
    }
    const abort = new AbortController();
    this.#calls.set(frame.callId, abort);
    const { board } = this.server;
    const done =
      board?.isBehind === true && BEHIND_BOARD.has(frame.type)
        ? this.#behindBoard(board, frame, abort.signal).then(() => work(this, frame, abort.signal))
        : work(this, frame, abort.signal);
    void this.#answer(frame, done).finally(() => {
      this.#calls.delete(frame.callId);
    });
  }

  /** What programs wrote before somebody asks about it is in the spool when that is answered. */
  async #behindBoard(board: Board, frame: Frame, signal: AbortSignal): Promise<void> {
    // A report must be had also while a full spool keeps things waiting: it says so.
    const isReport = frame.type === MESSAGES.ASK.type;
    const deadline = isReport ? deadlineIn(limits.awayLookupMs) : NEVER;
    try {
      await within(board.drained(), deadline, 'the board', signal);
    } catch (error) {
      if (!isReport) throw error;
    }
  }

  async #answer(frame: Frame, work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      const known = asKangarooError(error);
      if (known.code === 'INTERNAL') this.server.logger.error({ err: error }, 'a request failed');
      this.connection.sendError(known, frame.callId);
    }
  }

  #onClosed(error: KangarooError | null): void {
    clearTimeout(this.#greetingTimer);
    this.#end.abort();
    for (const abort of this.#calls.values()) abort.abort();
    // What its program wrote last may be there without anybody having been told.
    if (this.local && this.role === 'client') this.server.board?.nudge();
    void endGrants(this);
    this.server.ended(this);
    // Until then it is found by one of the same sender that comes after it.
    const idle = this.#putting?.catch(() => {}) ?? Promise.resolve();
    void idle.then(() => this.server.forget(this));
    if (error !== null) {
      this.server.logger.info({ link: this.connection.peer, reason: error.message }, 'lost');
    }
  }
}
