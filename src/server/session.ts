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
import { type Deadline, fromWireMs } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { version } from '../base/version.ts';
import type { Connection } from '../protocol/connection.ts';
import { PUTS_TYPE, type Frame } from '../protocol/frame.ts';
import { checkHello, type Role } from '../protocol/hello.ts';
import { decodeMessage, MESSAGES, messageName, PROTOCOL_VERSION } from '../protocol/messages.ts';
import type { Extent } from '../spool/data.ts';
import type { Server } from './server.ts';
import { ask } from './verb-ask.ts';
import { commit } from './verb-commit.ts';
import { get } from './verb-get.ts';
import { giveBackGrants, grant } from './verb-grant.ts';
import { list, stat } from './verb-names.ts';
import { moverFrame, subscribe } from './verb-mover.ts';
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
};

/** An extent that a local client writes its payload into. */
export interface Grant {
  readonly extent: Extent;
  usedBytes: number;
}

export class Session {
  readonly server: Server;
  readonly connection: Connection;
  /** Came through a Unix socket of this account. */
  readonly local: boolean;
  role: Role | null = null;
  senderId = '';
  readonly grants: Grant[] = [];
  readonly #calls = new Map<number, AbortController>();
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

  #onFrame(frame: Frame): void | Promise<void> {
    if (this.role === null) {
      this.#greet(frame);
      return undefined;
    }
    if (frame.type === PUTS_TYPE) return puts(this, frame);
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
    this.#call(frame);
    return undefined;
  }

  #greet(frame: Frame): void {
    if (frame.type !== MESSAGES.HELLO.type) throw new KangarooError('PROTOCOL', 'HELLO comes first');
    const hello = decodeMessage('HELLO', frame);
    const role = checkHello(hello);
    const { spool, name } = this.server;
    if (role === 'mover' && !this.local) {
      throw new KangarooError('DENIED', 'a mover must use the Unix socket of its server');
    }
    clearTimeout(this.#greetingTimer);
    this.role = role;
    this.senderId = hello.senderId;
    if (role !== 'mover') {
      spool.taken.meet(hello.senderId, role === 'client');
      this.connection.onBulk = (head, fd) => putsInBulk(this, head, fd);
    }
    this.connection.welcome();
    this.connection.startHeartbeat();
    const welcome = {
      version: PROTOCOL_VERSION,
      serverName: name,
      spoolId: spool.spoolId,
      incarnation: spool.incarnation,
      takenFloor: spool.taken.floor(hello.senderId),
      spoolDirectory: this.local && role === 'client' ? spool.directory : '',
      software: `kangaroo ${version}`,
    };
    this.connection.send('WELCOME', welcome, frame.callId);
    if (role === 'mover') subscribe(this);
  }

  #call(frame: Frame): void {
    const work = CALLS[frame.type];
    if (work === undefined) {
      const name = messageName(frame.type) ?? `frame type ${frame.type}`;
      throw new KangarooError('PROTOCOL', `${name} is not for a server`);
    }
    if (this.#calls.size >= limits.callsPerConnectionMax) {
      this.connection.sendError(new KangarooError('BUSY', 'too many requests at a time'), frame.callId);
      return;
    }
    const abort = new AbortController();
    this.#calls.set(frame.callId, abort);
    void this.#answer(frame, work(this, frame, abort.signal)).finally(() => {
      this.#calls.delete(frame.callId);
    });
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
    for (const abort of this.#calls.values()) abort.abort();
    giveBackGrants(this);
    this.server.ended(this);
    if (error !== null) {
      this.server.logger.info({ link: this.connection.peer, reason: error.message }, 'lost');
    }
  }
}
