/**
 * The destination: applies operations that are addressed to this server to its export directory.
 *
 * It promises: operations of one sender take effect in their order and once; after `sync` they are
 * on stable storage together with the numbers that say so; what the file system refuses is spooled
 * and held, never lost, and holds up its own file alone. A failed sync fails everything since the
 * last good one: those numbers count as not taken, every sender is disconnected and sends again
 * (invariant I10).
 */
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import {
  decodeHead,
  KIND,
  NO_ID,
  type Operation,
  type RecordHeader,
} from '../protocol/operation.ts';
import type { Entry } from '../spool/entry.ts';
import type { IntentKey } from '../spool/index.ts';
import type { Incoming, Spool } from '../spool/spool.ts';
import type { Reason } from './notices.ts';
import { isShortage, refusalOf } from './refusal.ts';
import { ReplayGuard } from './replay-guard.ts';
import type { Storage } from './storage.ts';
import type { Attempt } from './stuck.ts';

/** Stands among the senders for this server's own spool, whose id a loop could bring in as well. */
const OWN = NO_ID;

export class Destination {
  readonly storage: Storage;
  readonly #spool: Spool;
  readonly #logger: Logger;
  /** Called when a sync has failed and every sender has to start over. */
  readonly #onSyncFailed: (error: unknown) => void;
  readonly #guard = new ReplayGuard();
  /**
   * Noted renames that have been applied since the last sync. Not those of an earlier incarnation
   * that have yet to come again: they need their note until they do.
   */
  #renames: IntentKey[] = [];
  /** Counts what was begun and what of it a sync has covered. */
  #applied = 0;
  #synced = 0;
  /** Up to there something was applied that is in nobody's spool here. */
  #lastDirect = 0;
  #running: Promise<void> | null = null;
  #following: Promise<void> | null = null;
  /** Own entries applied since a sync last failed: only these may be released after the next. */
  #attempted = new WeakSet<Entry>();

  constructor(parts: {
    readonly storage: Storage;
    readonly spool: Spool;
    readonly logger: Logger;
    readonly onSyncFailed: (error: unknown) => void;
  }) {
    this.storage = parts.storage;
    this.#spool = parts.spool;
    this.#logger = parts.logger;
    this.#onSyncFailed = parts.onSyncFailed;
  }

  /** Must `settle` be awaited before the operation may be applied? */
  mustSettle(op: Operation): boolean {
    return this.#guard.forbids(op);
  }

  /**
   * Resolves when the operation may be applied: what it must not share a sync with is durable.
   * To be followed by the application without another wait in between.
   */
  async settle(op: Operation): Promise<void> {
    while (this.#guard.forbids(op)) await this.sync();
  }

  /**
   * Applies an operation that came in, after `settle`. null: done. Otherwise why the file system
   * refuses it.
   * @throws errno errors that are a shortage of this server, worth trying again in a moment
   */
  apply(incoming: Incoming, payload: Buffer | null): Reason | null {
    const { head, senderId } = incoming;
    this.#lastDirect = this.#applied + 1;
    try {
      this.#applyOnce(head, payload, senderId, head.seq);
      this.#spool.taken.addDirect(senderId, head.seq);
      return null;
    } catch (error) {
      return reasonOf(error);
    }
  }

  /** The bulk path begins to write into the file of `head`. */
  beginBulk(head: RecordHeader): void {
    this.#touch(head);
    this.#lastDirect = this.#applied;
  }

  /** The bulk path has put the payload of these records into their file. */
  wroteBulk(heads: readonly RecordHeader[], senderId: string): void {
    for (const head of heads) {
      this.#touch(head);
      this.#lastDirect = this.#applied;
      this.storage.wrote(head.path, head.payloadBytes);
      this.#spool.taken.addDirect(senderId, head.seq);
    }
  }

  /**
   * Tries an operation that lies in this server's own spool.
   * @throws KangarooError CORRUPT when its record cannot be read back as it was taken
   */
  async attempt(entry: Entry): Promise<Attempt> {
    const head = decodeHead(await this.#spool.readHead(entry));
    const payload = entry.payloadBytes > 0 ? await this.#spool.readPayload(entry) : null;
    const problem = unsound(head, payload, entry);
    if (typeof head === 'string' || problem !== null) {
      throw new KangarooError('CORRUPT', problem ?? String(head));
    }
    const { taken, spoolId } = this.#spool;
    // Applied before, and its release is what a crash or a failed sync undid: never a second time,
    // newer bytes may lie there by now.
    if (taken.has(OWN, entry.seq)) {
      this.#attempted.add(entry);
      return { done: true };
    }
    await this.settle(head);
    try {
      this.#applyOnce(head, payload, spoolId, entry.seq);
      taken.addDirect(OWN, entry.seq);
      this.#attempted.add(entry);
      return { done: true };
    } catch (error) {
      const reason = reasonOf(error);
      return { done: false, reason, retriesItself: refusalOf(error)?.retriesItself ?? true };
    }
  }

  /** Resolves when all that was applied before is durable, with the numbers that say so. */
  async sync(): Promise<void> {
    if (this.#applied === this.#synced) return;
    if (this.#running === null) {
      this.#running = this.#syncOnce().finally(() => {
        this.#running = null;
      });
      await this.#running;
      return;
    }
    // What was applied since the running sync began needs the one after it.
    this.#following ??= this.#running
      .catch(() => {})
      .then(async () => {
        this.#following = null;
        await this.sync();
      });
    await this.#following;
  }

  /**
   * As `sync`, for what did not come by way of this server's spool: what is spooled next must not
   * be applied before it, should it come again.
   */
  async syncDirect(): Promise<void> {
    if (this.#lastDirect > this.#synced) await this.sync();
  }

  /** Files of a held operation were mended: see Stuck. */
  async finish(entries: readonly Entry[]): Promise<void> {
    await this.sync();
    if (entries.some((entry) => !this.#attempted.has(entry))) {
      throw new KangarooError('DISCONNECTED', 'a sync failed since these were applied');
    }
    this.#spool.release(entries);
    const first = this.#spool.live.keys().next();
    const gone = first.done === true ? this.#spool.highestSeq : first.value - 1;
    this.#spool.taken.raiseFloor(OWN, gone);
  }

  /** Also of what is then refused: a part of it may have been done. */
  #touch(op: Operation): void {
    this.#guard.note(op);
    this.#applied += 1;
  }

  #applyOnce(head: RecordHeader, payload: Buffer | null, sender: string, seq: number): void {
    this.#touch(head);
    if (head.kind !== KIND.rename) {
      this.storage.apply(head, payload);
      return;
    }
    // A rename that was done before a crash and comes again would move whatever has the old name
    // now. So which file it is to move is noted, durably, before it is moved.
    const { index } = this.#spool;
    const noted = index.intent(sender, seq);
    this.#renames.push({ sender, seq });
    const source = this.storage.identity(head.path);
    if (noted !== null) {
      const target = this.storage.identity(head.path2);
      if (target?.dev === noted.dev && target.ino === noted.ino) return;
      if (source === null) return;
    } else if (source !== null) {
      index.noteIntent(sender, seq, source.dev, source.ino);
    }
    this.storage.apply(head, null);
  }

  async #syncOnce(): Promise<void> {
    const covers = this.#applied;
    this.#guard.begin();
    const direct = this.#spool.taken.takeDirect();
    const intentsDone = this.#renames.splice(0);
    try {
      await this.storage.sync();
    } catch (error) {
      this.#guard.end();
      this.#logger.error({ err: error }, 'the export directory did not sync');
      this.#synced = this.#applied;
      this.#attempted = new WeakSet();
      this.#spool.distrustDirect();
      this.#onSyncFailed(error);
      throw error;
    }
    this.#spool.taken.promote(direct);
    const changes = this.#spool.taken.changes();
    try {
      this.#spool.index.flush({ ...changes, intentsDone });
    } catch (error) {
      this.#renames.unshift(...intentsDone);
      this.#spool.taken.restore(changes);
      this.#guard.resume();
      throw error;
    }
    this.#guard.end();
    this.#synced = covers;
  }
}

/** What is wrong with a record that was read back, or null. */
function unsound(head: RecordHeader | string, payload: Buffer | null, entry: Entry): string | null {
  if (typeof head === 'string') return head;
  if (head.seq !== entry.seq) return 'another record lies there';
  if (payload === null) return null;
  return crc32c(payload) === head.payloadCrc ? null : 'payload checksum';
}

function reasonOf(error: unknown): Reason {
  if (isShortage(error)) throw error;
  const refusal = refusalOf(error);
  if (refusal === null) throw error;
  return { errno: refusal.errno, text: refusal.text, todo: refusal.advice };
}
