/**
 * The server's side of the board: what adapted programs wrote into its ring goes into the spool, in
 * the order of the ring, before anybody is answered who could ask about it.
 *
 *   ring:  ...taken | head ... #at ... tail ...   head: published as taken, #at: taken
 *
 * A run seals the entries it takes, so that no writer makes them longer, checks them, makes records
 * of them and appends these; `head` moves on behind that. When it is killed in between, entries
 * come twice and their numbers tell: records go into one log in the order of the ring, so all up to
 * the greatest number that the spool knows are taken. An entry that cannot be taken is told and
 * left out. A full spool leaves entries in the ring, and a full ring makes its writers wait.
 *
 * Records for this server's own export directory go through the spool too: what was applied at once
 * would be gone for its writer if the directory's disk failed to sync.
 */
import { closeSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NativeAddon } from '../base/addon.ts';
import { type Deadline, deadlineIn, hasPassed, sleep, within } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type Operation, KIND } from '../protocol/operation.ts';
import { isWithin } from '../route/address.ts';
import type { Incoming } from '../spool/spool.ts';
import { appendWhenRoom, type Taker } from './append.ts';
import { BoardBatch } from './board-batch.ts';
import { type BoardFile, findBoardFile, makeBoardFile, removeBoardFile } from './board-file.ts';
import { HEADER, BOARD, ENTRY, ENTRY_KIND, RING_AT, SEALED } from './board-layout.ts';
import { BoardNames } from './board-names.ts';
import { factsAfter, lookAlong, type SlotFacts, walkRing } from './board-ring.ts';
import { OldExtents } from './old-extents.ts';
import type { Server } from './server.ts';
import { SlotHolders } from './slot-holders.ts';
import { type OpenSlot, Slots } from './slots.ts';

/**
 * While awake it looks this often; it sleeps when there is nothing. To be called costs a program
 * some microseconds once in so long, to look more often in vain costs this server more.
 */
const LOOK_EVERY_MS = 1;
/** Nobody who is running holds the lock for so long; one that was stopped with it may. */
const LOCK_MS = 1_000;
const START_LOCK_MS = 10_000;
/** What one append may have; a batch ends behind the entry that exceeds it. */
const BATCH_BYTES = limits.payloadBytesMax;
const BATCH_ENTRIES = 512;
/** How long a stop waits for room in the spool. */
const STOP_DRAIN_MS = 2_000;

export class Board implements Taker {
  readonly server: Server;
  readonly slots: Slots;
  readonly names: BoardNames;
  readonly #native: NativeAddon;
  readonly #file: BoardFile;
  readonly #ring: Buffer;
  readonly #words: Uint32Array;
  readonly #longs: BigUint64Array;
  readonly #holders: SlotHolders;
  readonly #end = new AbortController();
  /** All before it is in the spool. */
  #at: number;
  #lastSeq: number;
  /** Until here stands what was there at the start, whose grants nobody has any more. */
  readonly #oldUntil: number;
  #old: OldExtents | null;
  #running: Promise<void> | null = null;
  #watching: Promise<void> | null = null;
  #isWatching = false;
  #isLockStuck = false;

  private constructor(server: Server, native: NativeAddon, file: BoardFile) {
    this.server = server;
    this.#native = native;
    this.#file = file;
    this.#ring = Buffer.from(file.memory, RING_AT, BOARD.ringBytes);
    this.#words = new Uint32Array(file.memory);
    this.#longs = new BigUint64Array(file.memory);
    // Before anything else: from here on no grant of an earlier incarnation is believed in.
    this.#setIncarnation(server.spool.incarnation, START_LOCK_MS);
    this.#at = this.#load(HEADER.head);
    this.#oldUntil = this.#tail;
    const { spool } = server;
    spool.taken.meet(file.boardId, true);
    this.#lastSeq = spool.taken.highest(file.boardId);
    spool.taken.raiseFloor(file.boardId, this.#lastSeq);
    this.#voidSpares();
    this.slots = new Slots(native, file, (work) => this.locked(work));
    const isBeingMade = (name: string, path: string): boolean => this.#isBeingMade(name, path);
    this.names = new BoardNames(native, file.memory, (work) => this.locked(work), isBeingMade);
    this.names.clear();
    this.#holders = new SlotHolders(file.boardId, this.slots, () => this.#caughtUp());
    this.#old = new OldExtents(spool.data, walkRing(this.#ring, this.#at, this.#oldUntil));
    Atomics.store(this.#words, HEADER.asleep / 4, 1);
    this.slots.refill();
  }

  /** The one that an earlier server left, with what stands in it. @throws errno errors */
  static find(server: Server, native: NativeAddon): Board | null {
    const file = findBoardFile(native, server.spool);
    return file === null ? null : new Board(server, native, file);
  }

  /** A new one. null: this machine cannot have one. @throws errno errors */
  static make(server: Server, native: NativeAddon): Board | null {
    const file = makeBoardFile(native, server.spool);
    return file === null ? null : new Board(server, native, file);
  }

  get path(): string {
    return this.#file.path;
  }

  get boardId(): string {
    return this.#file.boardId;
  }

  get ended(): AbortSignal {
    return this.#end.signal;
  }

  assertOpen(): void {
    if (this.#end.signal.aborted) throw new KangarooError('INTERRUPTED', 'the server stops');
  }

  /** Is there something in the ring that the spool has not? */
  get isBehind(): boolean {
    return this.#tail !== this.#at;
  }

  /** Have programs written something in the last milliseconds? */
  get isAwake(): boolean {
    return this.#isWatching;
  }

  /**
   * Resolves when all that stood in the ring at the call is in the spool, also when that takes
   * until there is room. Whoever calls it often asks `isBehind` first.
   */
  async drained(): Promise<void> {
    const target = this.#tail;
    while (this.#at < target) {
      this.#running ??= this.#run().finally(() => {
        this.#running = null;
      });
      await this.#running;
    }
  }

  /** Takes what was left in the ring by an earlier server, as far as there is room for it. */
  async takeAtStart(): Promise<void> {
    while (this.isBehind && this.server.spool.hasRoom(2 * BATCH_BYTES)) await this.#takeSome();
    if (this.isBehind) this.nudge();
  }

  /** There is something new: looks now, and every few milliseconds until nothing comes. */
  nudge(): void {
    if (this.#isWatching || this.#end.signal.aborted) return;
    this.#isWatching = true;
    this.#watching = this.#watch().catch((error: unknown) => {
      this.#isWatching = false;
      if (this.#end.signal.aborted) return;
      this.server.logger.error({ err: error }, 'taking entries of the board');
    });
  }

  /** An operation that came from elsewhere has been taken: what is open hears of it. */
  noteOther(op: Operation): void {
    this.names.noteOther(op);
    if (this.slots.openCount === 0) return;
    const { name, path, path2 } = op;
    if (op.kind === KIND.rename) this.slots.renamed(name, path, path2);
    else if (op.kind === KIND.remove) this.slots.removed(name, path);
    else this.slots.stale(name, path);
  }

  /**
   * The facts of a file as it was found or made just now, into its slot: with what has been written
   * into the ring since, which comes behind.
   */
  refresh(slot: OpenSlot, facts: SlotFacts): void {
    this.locked(() => {
      this.slots.setFacts(slot, factsAfter(this.#ring, this.#at, this.#tail, slot, facts));
    });
  }

  /** Makes sure that a slot can be given out. @throws KangarooError BUSY */
  async roomForSlot(deadline: Deadline): Promise<void> {
    void this.#lookForSlots();
    while (this.slots.freeCount === 0) {
      await this.#lookForSlots();
      if (this.slots.freeCount > 0) return;
      if (hasPassed(deadline)) {
        throw new KangarooError('BUSY', `${BOARD.slots} files are open at this server`);
      }
      await sleep(limits.slotRoundEveryMs, this.ended);
    }
  }

  /** Is all that stands in the ring now in the spool, or soon? */
  async #caughtUp(): Promise<boolean> {
    try {
      await within(this.drained(), deadlineIn(limits.slotRoundEveryMs), 'the board', this.ended);
      return true;
    } catch {
      return false;
    }
  }

  /** Takes slots back that nobody uses, once there are few and the last look is some time ago. */
  async #lookForSlots(): Promise<void> {
    const { freeCount } = this.slots;
    if (freeCount >= BOARD.slots / 2 || (freeCount > 0 && !this.#holders.isDue)) return;
    try {
      await this.#holders.takeBack();
      this.slots.refill();
    } catch (error) {
      this.server.logger.error({ err: error }, 'looking for open files of programs');
    }
  }

  locked<T>(work: () => T): T {
    const isLocked = this.#lock(LOCK_MS);
    try {
      return work();
    } finally {
      if (isLocked) this.#native.unlock(this.#file.memory, HEADER.lock);
    }
  }

  /**
   * Takes what there is room for and lets go. The file stays when something is left in it, or when
   * `isUsed` or a program with a file of it open says that somebody is to find it again.
   */
  async stop(isUsed: boolean): Promise<void> {
    // Grants end with this server: who goes on writing must see that before its room is others'.
    this.#setIncarnation(0, LOCK_MS);
    await within(this.drained(), deadlineIn(STOP_DRAIN_MS), 'the board').catch(() => {});
    this.#end.abort();
    await this.#running?.catch(() => {});
    await this.#watching;
    if (!isUsed && !this.isBehind && !(await this.#holders.isAnyHeld())) {
      removeBoardFile(this.path, this.boardId);
      this.server.spool.taken.forget(this.boardId);
    }
    closeSync(this.#file.fd);
  }

  get #tail(): number {
    return this.#load(HEADER.tail);
  }

  #load(offset: number): number {
    return Number(Atomics.load(this.#longs, offset / 8));
  }

  /** Programs make no files before they are given slots anew: those of before are read back. */
  #voidSpares(): void {
    this.locked(() => {
      const taken = Atomics.load(this.#words, HEADER.sparesTaken / 4);
      Atomics.store(this.#words, HEADER.sparesGiven / 4, taken);
    });
  }

  /** To be called under the lock: is there one at or below `path` in the ring that nobody took? */
  #isBeingMade(name: string, path: string): boolean {
    if (!this.isBehind) return false;
    for (const { entry } of walkRing(this.#ring, this.#at, this.#tail)) {
      if (entry?.kind !== ENTRY_KIND.create) continue;
      if (this.slots.live(entry.slot, entry.generation) !== null) continue;
      const made = this.slots.nameIn(entry.slot);
      if (made?.name === name && isWithin(made.path, path)) return true;
    }
    return false;
  }

  #setIncarnation(incarnation: number, timeoutMs: number): void {
    const isLocked = this.#lock(timeoutMs);
    Atomics.store(this.#longs, HEADER.incarnation / 8, BigInt(incarnation));
    if (isLocked) this.#native.unlock(this.#file.memory, HEADER.lock);
  }

  /**
   * False: a program was stopped in mid-write with it. What is written here is words, whole. It is
   * waited for once and then tried only, until it is there again: everybody waits for this thread.
   */
  #lock(timeoutMs: number): boolean {
    try {
      const waitsMs = this.#isLockStuck ? 0 : timeoutMs;
      const isLocked = this.#native.lock(this.#file.memory, HEADER.lock, waitsMs);
      const wasStuck = this.#isLockStuck;
      this.#isLockStuck = !isLocked;
      if (isLocked || wasStuck) return isLocked;
      this.server.logger.warn('a program has held the lock of the board for too long');
    } catch (error) {
      this.server.logger.error({ err: error }, 'the lock of the board is broken');
    }
    return false;
  }

  async #watch(): Promise<void> {
    const { ended } = this;
    Atomics.store(this.#words, HEADER.asleep / 4, 0);
    for (;;) {
      if (this.isBehind) await this.drained();
      await sleep(LOOK_EVERY_MS, ended);
      if (this.isBehind) continue;
      Atomics.store(this.#words, HEADER.asleep / 4, 1);
      // Whoever wrote before it saw that will not call.
      if (!this.isBehind) {
        this.#isWatching = false;
        return;
      }
      Atomics.store(this.#words, HEADER.asleep / 4, 0);
    }
  }

  async #run(): Promise<void> {
    const target = this.#tail;
    for (;;) {
      await this.#takeSome();
      if (this.#at >= target) return;
      // A full ring is long work, and others want their answers.
      await nextTurn();
    }
  }

  /** One append. The names of files are looked up in the turn of the append: they may change. */
  async #takeSome(): Promise<void> {
    const { server } = this;
    const size = this.#measure();
    // What was applied at once before it must not come again behind it (verb-put.ts).
    if (size.isOwn) await server.destination?.syncDirect();
    let batch: BoardBatch | null = null;
    const make = (): readonly Incoming[] => {
      batch = this.#collect(size.to);
      return batch.records;
    };
    await appendWhenRoom(this, size.bytes, make, () => {
      if (batch !== null) this.#taken(batch);
    });
  }

  /** How far the next batch goes, and how much of the log it may need. */
  #measure(): { readonly to: number; readonly bytes: number; readonly isOwn: boolean } {
    const tail = this.#tail;
    let to = tail;
    let bytes = 0;
    let count = 0;
    let isOwn = false;
    const bytesMax = Math.min(BATCH_BYTES, this.server.spool.limitBytes / 8);
    lookAlong(this.#ring, this.#at, tail, (at, next) => {
      const kind = this.#ring.readUInt16LE(at + ENTRY.kind);
      const index = this.#ring.readUInt32LE(at + ENTRY.slot);
      const generation = this.#ring.readUInt32LE(at + ENTRY.generation);
      const slot =
        this.slots.live(index, generation) ??
        (kind === ENTRY_KIND.create ? this.slots.nameIn(index) : null);
      if (slot?.name === this.server.name) isOwn = true;
      bytes += 136 + (slot === null ? 0 : slot.name.length + slot.path.length);
      // A growing one may be as long as its room by the time it is taken.
      if (kind === ENTRY_KIND.inline) bytes += this.#ring.readUInt32LE(at + ENTRY.room);
      count += 1;
      to = next;
      return bytes < bytesMax && count < BATCH_ENTRIES;
    });
    return { to, bytes, isOwn };
  }

  #collect(to: number): BoardBatch {
    const { server } = this;
    const batch = new BoardBatch({
      senderId: this.boardId,
      ring: this.#ring,
      spoolId: server.spool.spoolId,
      slots: this.slots,
      isGranted: (segment, offset, bytes) => this.#isGranted(segment, offset, bytes),
    });
    const seal = (at: number): void => {
      const kind = this.#ring.readUInt16LE(at + ENTRY.kind);
      if (kind !== ENTRY_KIND.segment && kind !== ENTRY_KIND.inline) return;
      Atomics.or(this.#longs, (RING_AT + at + ENTRY.state) / 8, SEALED);
    };
    for (const standing of walkRing(this.#ring, this.#at, to, seal)) {
      if (standing.entry === null) {
        // Nothing tells where the next one is: what programs write from now on is found again.
        const seq = Math.max(batch.lastSeq, this.#lastSeq) + 1;
        const tail = this.#tail;
        batch.complain(null, standing.problem, tail - Math.max(batch.next, this.#at), seq);
        batch.next = tail;
        return batch;
      }
      if (standing.entry.seq > this.#lastSeq) batch.add(standing.entry);
      batch.next = standing.next;
    }
    batch.next = to;
    return batch;
  }

  #isGranted(segment: number, offset: number, bytes: number): boolean {
    if (this.server.grants.use(segment, offset, bytes)) return true;
    return this.#old?.holds(segment, offset, bytes) ?? false;
  }

  /** The batch is in the spool. */
  #taken(batch: BoardBatch): void {
    const { spool, notices, logger } = this.server;
    this.#at = batch.next;
    if (batch.lastSeq > 0) {
      this.#lastSeq = batch.lastSeq;
      spool.taken.raiseFloor(this.boardId, batch.lastSeq);
    }
    Atomics.store(this.#longs, HEADER.head / 8, BigInt(this.#at));
    Atomics.add(this.#words, HEADER.room / 4, 1);
    this.#native.futexWake(this.#file.memory, HEADER.room);
    this.slots.refill();
    void this.#lookForSlots();
    if (this.#at >= this.#oldUntil && this.#old !== null) {
      this.#old.release();
      this.#old = null;
    }
    for (const { record, problem, seq, bytes } of batch.complaints) {
      const place = `entry ${seq} of board ${this.boardId.slice(0, 8)}`;
      logger.warn({ file: record?.path, place, problem }, 'a write of an adapted program is lost');
      notices.damage.add(record, problem, place, bytes);
      // Programs counted on it.
      if (record !== null) this.slots.stale(record.name, record.path);
    }
  }

  /** When the slots are short; for tests. */
  async takeBackSlots(): Promise<void> {
    await this.#holders.takeBack();
  }
}
