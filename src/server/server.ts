/**
 * The server: owns the spool, the export directory, the doors and the mover, and the order in which
 * they start and stop.
 *
 * Start: spool recovered -> held operations tried -> doors open -> mover started -> ready file.
 * Stop: doors closed -> connections ended -> mover stopped -> everything synced -> spool closed.
 * What arrives goes one of three ways (`appended` and verb-put.ts): to the export directory, to the
 * mover, or, when it can go neither way, into `stuck`.
 */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { native } from '../base/addon.ts';
import type { ServerOptions } from '../base/config.ts';
import { type Deadline, nowMs, within } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { Connection } from '../protocol/connection.ts';
import type { Message } from '../protocol/messages.ts';
import type { ServerAddress } from '../protocol/server-address.ts';
import { formatAddress } from '../route/address.ts';
import { RouteTable } from '../route/table.ts';
import type { Entry } from '../spool/entry.ts';
import { logName } from '../spool/segment.ts';
import { Spool } from '../spool/spool.ts';
import { AllowList } from './allow.ts';
import { Board } from './board.ts';
import { Destination } from './destination.ts';
import { Downstream } from './downstream.ts';
import { Listener } from './listener.ts';
import { MoverProcess } from './mover-process.ts';
import { Notices } from './notices.ts';
import { OpenGrants } from './open-grants.ts';
import { type Beneath, beneathHop, beneathStorage, Reader } from './reader.ts';
import { Session } from './session.ts';
import type { Storage } from './storage.ts';
import { openLocalStorage } from './storage-local.ts';
import { type Attempt, Stuck } from './stuck.ts';
import { sendDrop, sendHurry, sendWork } from './verb-mover.ts';

export class Server {
  readonly name: string;
  readonly logger: Logger;
  readonly spool: Spool;
  readonly routes: RouteTable;
  readonly destination: Destination | null;
  readonly stuck: Stuck;
  readonly notices: Notices;
  readonly reader: Reader;
  readonly downstream = new Downstream();
  readonly grants = new OpenGrants();
  readonly startedMs = nowMs();
  /** The mover's connection, while there is one. */
  mover: Session | null = null;
  /** Clients that wait for a commit now. */
  clientCommits = 0;
  /** What the mover said last of each link, by the address of the next hop. */
  readonly links = new Map<string, Message<'LINK'>>();
  /** Names of which something was passed on since a push of them last succeeded. */
  readonly outstanding: Set<string>;
  /** Has anything come from another hop? Then a push from here is about more than its own. */
  relays = false;
  readonly #options: ServerOptions;
  readonly #listener: Listener;
  readonly #sessions = new Set<Session>();
  #moverProcess: MoverProcess | null = null;
  #stopped: Promise<void> | null = null;
  #board: Board | null;
  #mayHaveBoard = native !== null;

  private constructor(options: ServerOptions, logger: Logger, spool: Spool) {
    this.#options = options;
    this.name = options.name;
    this.logger = logger;
    this.spool = spool;
    this.routes = RouteTable.parse(options.route);
    this.notices = new Notices(spool.index, options.name);
    this.destination = options.export === null ? null : this.#makeDestination(options.export);
    this.stuck = new Stuck({
      notices: this.notices,
      logger,
      attempt: async (entry) => await this.#attempt(entry),
      finish: async (entries) => await this.#finish(entries),
    });
    this.reader = new Reader(spool, async (seqs, deadline) => {
      this.hurry(seqs);
      await this.untilReleased(new Set(seqs), deadline, 'a rename on the way');
    });
    this.outstanding = new Set(spool.index.destinations());
    // Before anything is removed that somebody may still speak of there.
    this.#board = native === null ? null : Board.find(this, native);
    this.#listener = new Listener(new AllowList(options.allow), logger, (peer) => {
      const connection = new Connection(peer.socket, peer.label);
      this.#sessions.add(new Session(this, connection, peer.local));
    });
  }

  /** @throws KangarooError SPOOL_IN_USE, USAGE, ... */
  static async start(options: ServerOptions, logger: Logger): Promise<Server> {
    const spool = await Spool.open({
      directory: options.spool,
      limitBytes: options.spoolLimitBytes,
      logger,
    });
    const server = new Server(options, logger, spool);
    try {
      await server.#open();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** Memory shared with adapted programs; null as long as no program of this account was here. */
  get board(): Board | null {
    return this.#board;
  }

  /** For a program of this account. null: there can be none. */
  needBoard(): Board | null {
    if (this.#board !== null || !this.#mayHaveBoard || native === null) return this.#board;
    try {
      this.#board = Board.make(this, native);
    } catch (error) {
      this.logger.warn({ err: error }, 'no board: adapted programs cannot use this server');
    }
    this.#mayHaveBoard = this.#board !== null;
    return this.#board;
  }

  /** Rejects when the server cannot go on: its spool's disk has failed. */
  get failed(): Promise<never> {
    return new Promise((_, reject) => this.spool.once('failed', reject));
  }

  /** Is it this server whose export directory the operation is for? */
  isDestinationOf(op: { readonly name: string }): boolean {
    return this.destination !== null && op.name === this.name;
  }

  /** Entries that have just been spooled: on to the mover, or aside. */
  appended(entries: readonly Entry[]): void {
    const toMove: Entry[] = [];
    for (const entry of entries) {
      if (entry.originId !== this.spool.spoolId) this.relays = true;
      if (entry.name === this.name || this.#whyNot(entry) !== null || this.stuck.inTheWay(entry)) {
        this.stuck.add(entry);
      } else {
        toMove.push(entry);
      }
    }
    this.#noteOutstanding(toMove);
    if (toMove.length > 0 && this.mover !== null) sendWork(this.mover, toMove);
    if (toMove.length < entries.length) void this.stuck.work();
  }

  /** Everything that the mover is to move. */
  *movable(): Generator<Entry> {
    if (this.stuck.count === 0) {
      yield* this.spool.live.values();
      return;
    }
    for (const entry of this.spool.live.values()) if (!this.stuck.has(entry)) yield entry;
  }

  hurry(seqs: readonly number[]): void {
    if (this.mover !== null && seqs.length > 0) sendHurry(this.mover, seqs);
  }

  /** Waits until none of these is in the spool any more. @throws KangarooError NOT_YET */
  async untilReleased(
    pending: Set<number>,
    deadline: Deadline,
    what: string,
    signal?: AbortSignal,
  ): Promise<void> {
    for (const seq of pending) if (!this.spool.live.has(seq)) pending.delete(seq);
    if (pending.size === 0) return;
    let onRelease: (entries: readonly Entry[]) => void = () => {};
    const gone = new Promise<void>((resolve) => {
      onRelease = (entries) => {
        for (const { seq } of entries) pending.delete(seq);
        if (pending.size === 0) resolve();
      };
      this.spool.on('release', onRelease);
    });
    try {
      await within(gone, deadline, what, signal);
    } finally {
      this.spool.off('release', onRelease);
    }
  }

  /** What lies beneath this hop's spool for `name`. @throws KangarooError NO_ROUTE, LOOP */
  beneath(name: string, path: string, hops: number): Beneath {
    if (name === this.name) {
      if (this.destination !== null) return beneathStorage(name, this.destination.storage);
      throw new KangarooError(
        'NO_ROUTE',
        `${formatAddress(name, path)}: this server only passes on`,
      );
    }
    const address = this.nextHop(name, hops);
    return beneathHop(
      name,
      hops + 1,
      async (deadline, work) => await this.downstream.lookup(address, deadline, work),
      async (deadline, work) => await this.downstream.with(address, deadline, work),
      () => this.downstream.isJustAway(address),
    );
  }

  /** Where requests about `name` go. @throws KangarooError LOOP, NO_ROUTE */
  nextHop(name: string, hops: number): ServerAddress {
    if (hops >= limits.hopsMax) {
      throw new KangarooError('LOOP', `${name}: passed on by ${hops} servers without arriving`);
    }
    // Whoever is another hop's client may not make this server dial where it likes.
    if (hops > 0 && !this.routes.lists(name)) {
      throw new KangarooError('NO_ROUTE', `${name}: server ${this.name} has no route to it`);
    }
    return this.routes.nextHop(name);
  }

  /** Why operations for this name wait, in words; null when they do not, as far as is known. */
  waitingReason(name: string): string | null {
    const link = this.links.get(name);
    if (this.mover === null) return 'the mover is not running';
    return link !== undefined && link.reason !== '' ? link.reason : null;
  }

  /** Connections of a sender that have greeted: more than one if it lost the ones before. */
  sessionsOf(senderId: string): Session[] {
    return [...this.#sessions].filter((session) => session.senderId === senderId);
  }

  /** Everything of this name has arrived, or been given up: nobody need be asked about it. */
  settled(name: string): void {
    for (const entry of this.spool.live.values()) if (entry.name === name) return;
    this.outstanding.delete(name);
    this.spool.index.flush({ forgottenDestinations: [name] });
  }

  /** Its connection is over. */
  ended(session: Session): void {
    if (this.mover === session) this.mover = null;
  }

  /** And it does nothing any more. */
  forget(session: Session): void {
    this.#sessions.delete(session);
  }

  /** An entry was given up: it leaves the spool and must not show any more. */
  giveUp(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    if (this.mover !== null)
      sendDrop(
        this.mover,
        entries.map(({ seq }) => seq),
      );
    for (const entry of entries) entry.givenUp = true;
    this.spool.release(entries);
    for (const name of new Set(entries.map((entry) => entry.name))) this.spool.rebuildView(name);
  }

  async stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    await this.#stopped;
  }

  async #open(): Promise<void> {
    this.#reportFindings();
    for (const entry of this.spool.live.values()) {
      if (entry.name === this.name || this.#whyNot(entry) !== null) this.stuck.add(entry);
    }
    await this.#board?.takeAtStart();
    await this.stuck.work();
    this.stuck.start();
    const listen: string[] = [];
    for (const text of this.#options.listen) listen.push(await this.#listener.listenTcp(text));
    const socket =
      this.#options.socket === null ? null : await this.#listener.listenUnix(this.#options.socket);
    const moverSocket = await this.#listener.listenUnix(join(this.#options.spool, 'mover.sock'));
    const local = { socket: moverSocket, routes: this.#options.route, pid: process.pid };
    await writeByRename(join(this.#options.spool, 'server.json'), JSON.stringify(local));
    let moverPid: number | null = null;
    if (this.#options.mover) {
      this.#moverProcess = new MoverProcess(this.#options, this.logger);
      moverPid = this.#moverProcess.start();
    }
    if (this.#options.readyFile !== null) {
      const ready = {
        name: this.name,
        pid: process.pid,
        moverPid,
        spoolId: this.spool.spoolId,
        socket,
        listen,
      };
      await writeByRename(this.#options.readyFile, `${JSON.stringify(ready)}\n`);
    }
    if (native === null)
      this.logger.warn('running without the native addon: slower, not less safe');
    this.logger.info({ listen, socket }, `server ${this.name} is ready`);
  }

  async #stop(): Promise<void> {
    this.#listener.stopAccepting();
    await this.#moverProcess?.stop();
    const isAdapting = [...this.#sessions].some(({ isAdapted }) => isAdapted);
    for (const session of this.#sessions) session.connection.close(null);
    await this.#board?.stop(isAdapting);
    await this.stuck.stop();
    await this.downstream.close();
    await this.#listener.close();
    try {
      await this.destination?.sync();
    } finally {
      this.destination?.storage.close();
      await this.spool.close();
    }
  }

  #makeDestination(directory: string): Destination {
    const storage: Storage = openLocalStorage(directory);
    return new Destination({
      storage,
      spool: this.spool,
      logger: this.logger,
      onSyncFailed: () => {
        // Nobody may believe that what was sent has been taken: all start over.
        for (const session of this.#sessions) {
          // Programs put by way of the board and the spool, where nothing was in doubt.
          if (session.role === 'mover' || session.isAdapted) continue;
          session.connection.close(new KangarooError('DISCONNECTED', 'a sync failed'));
        }
      },
    });
  }

  /** Why an operation for another server cannot go on from here. */
  #whyNot(entry: Entry): { errno: string; text: string; todo: string } | null {
    if (entry.name === this.name) {
      return this.destination !== null
        ? null
        : {
            errno: 'NO_EXPORT',
            text: `server ${this.name} has no export directory`,
            todo: 'start it with --export DIR, then kangaroo retry; or kangaroo discard',
          };
    }
    if (entry.hops >= limits.hopsMax) {
      return {
        errno: 'LOOP',
        text: `passed on by ${entry.hops} servers without arriving`,
        todo: 'correct the --route tables, put it again, and kangaroo discard this',
      };
    }
    if (entry.originId !== this.spool.spoolId && !this.routes.lists(entry.name)) {
      return {
        errno: 'NO_ROUTE',
        text: `server ${this.name} has no route to ${entry.name}`,
        todo: `start it with --route ${entry.name}=ADDR, then kangaroo retry; or kangaroo discard`,
      };
    }
    return null;
  }

  async #attempt(entry: Entry): Promise<Attempt> {
    const why = this.#whyNot(entry);
    if (why !== null) return { done: false, reason: why, retriesItself: false };
    if (this.destination === null || entry.name !== this.name) return { done: true };
    try {
      return await this.destination.attempt(entry);
    } catch (error) {
      const known = asKangarooError(error);
      if (known.code !== 'CORRUPT') throw error;
      this.quarantine(entry, known.message);
      return { done: true };
    }
  }

  /** A spooled record cannot be read back: told, kept aside, and out of the way of the rest. */
  quarantine(entry: Entry, problem: string): void {
    const address = formatAddress(entry.name, entry.path);
    const where = `${logName(entry.segment)} at ${entry.at}`;
    this.logger.error({ op: entry.seq, file: address, problem }, 'a spooled record is damaged');
    this.notices.end(entry, 'discarded');
    this.notices.damage.add(entry, problem, where, entry.bytes);
    this.spool.putAside(entry, problem);
    this.giveUp([entry]);
  }

  async #finish(entries: readonly Entry[]): Promise<void> {
    const own = entries.filter((entry) => entry.name === this.name);
    const others = entries.filter((entry) => entry.name !== this.name);
    this.#noteOutstanding(others);
    if (others.length > 0 && this.mover !== null) sendWork(this.mover, others);
    if (own.length > 0) await this.destination?.finish(own);
  }

  #noteOutstanding(entries: readonly Entry[]): void {
    for (const { name } of entries) {
      if (this.outstanding.has(name)) continue;
      this.outstanding.add(name);
      this.spool.index.flush({ destinations: [name] });
    }
  }

  #reportFindings(): void {
    for (const [i, finding] of this.spool.findings.entries()) {
      const { head, problem, segment, offset, bytes, losesNothing, isUncertain } = finding;
      const place = `${segment} at ${offset}`;
      if (losesNothing === true) this.notices.damage.tell(problem, place, bytes);
      else if (isUncertain === true) this.notices.damage.suspect(head, problem, place, bytes);
      else this.notices.damage.add(head, problem, place, bytes);
      if (i >= limits.quarantineReportsMax) continue;
      this.logger.error({ file: segment, offset, bytes, problem }, 'put aside at recovery');
    }
  }
}

/** A small file that is there whole or not at all. */
async function writeByRename(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, text, { mode: 0o600 });
  await rename(temporary, file);
}
