/**
 * Operations that no waiting moves on: refused by the destination's file system, or with no way to
 * go on from here (a loop, no route, no export directory).
 *
 * They stay in the spool; later operations on the same file queue behind them in order, nothing
 * else does. `attempt` is called for whatever may be tried; what it throws as a refusal is held and
 * noted. Retried on demand, and by itself where the reason may pass alone (a full disk).
 */
import { limits } from '../base/limits.ts';
import type { Logger } from '../base/log.ts';
import { matches, type Target } from '../route/address.ts';
import type { Orderable } from '../spool/path-tree.ts';
import type { Entry } from '../spool/entry.ts';
import { Order } from '../spool/order.ts';
import type { Notices, Reason } from './notices.ts';

/** What trying an entry came to. */
export type Attempt =
  | { readonly done: true }
  | { readonly done: false; readonly reason: Reason; readonly retriesItself: boolean };

export class Stuck {
  readonly #order = new Order<Entry>();
  readonly #retriesItself = new Set<number>();
  readonly #notices: Notices;
  readonly #logger: Logger;
  readonly #attempt: (entry: Entry) => Promise<Attempt>;
  /** Called with what has been done; it is durable where it belongs when this resolves. */
  readonly #finish: (entries: readonly Entry[]) => Promise<void>;
  #working: Promise<void> | null = null;
  #isWanted = false;
  /** Something went wrong that says nothing about the operations. */
  #interrupted = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: {
    readonly notices: Notices;
    readonly logger: Logger;
    readonly attempt: (entry: Entry) => Promise<Attempt>;
    readonly finish: (entries: readonly Entry[]) => Promise<void>;
  }) {
    this.#notices = parts.notices;
    this.#logger = parts.logger;
    this.#attempt = parts.attempt;
    this.#finish = parts.finish;
  }

  start(): void {
    this.#timer = setInterval(() => {
      if (this.#interrupted) void this.work();
      if (this.#retriesItself.size === 0) return;
      void this.#retry((entry) => this.#retriesItself.has(entry.seq));
    }, limits.heldRetryEveryMs);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#working;
  }

  /** Must this operation queue behind one that is stuck? */
  inTheWay(op: Orderable): boolean {
    return this.count > 0 && this.#order.conflicts(op);
  }

  /** Takes over an entry that cannot go on, or that comes behind such a one. */
  add(entry: Entry): void {
    this.#order.add(entry);
  }

  has(entry: Entry): boolean {
    return this.#order.has(entry.seq);
  }

  /** Those that are just being tried too: what comes meanwhile must not overtake them. */
  get count(): number {
    return this.#order.heldCount + this.#order.waitingCount + this.#order.inFlightCount;
  }

  entries(): Iterable<Entry> {
    return this.#order.all();
  }

  /** Tries what may be tried, one after the other, until nothing is left that may. */
  async work(): Promise<void> {
    this.#isWanted = true;
    this.#working ??= this.#rounds().finally(() => {
      this.#working = null;
    });
    await this.#working;
  }

  /** What was added while a round was finishing needs another one. */
  async #rounds(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      await this.#workOff();
    }
  }

  /** Tries the stuck operations of `target` again. Returns how many were tried. */
  async retry(target: Target): Promise<number> {
    return await this.#retry((entry) => matches(target, entry.name, entry.path));
  }

  /** Gives up everything stuck on `target`, for good. Returns what was given up. */
  async discard(target: Target): Promise<Entry[]> {
    const given = [...this.#order.all()].filter((e) => matches(target, e.name, e.path));
    for (const entry of given) {
      this.#order.drop(entry);
      this.#retriesItself.delete(entry.seq);
      this.#notices.end(entry, 'discarded');
    }
    void this.work();
    return given;
  }

  async #retry(picks: (entry: Entry) => boolean): Promise<number> {
    await this.#working;
    const count = this.#order.unhold((entry) => {
      if (!picks(entry)) return false;
      this.#notices.retrying(entry);
      this.#retriesItself.delete(entry.seq);
      return true;
    });
    await this.work();
    return count;
  }

  async #workOff(): Promise<void> {
    this.#interrupted = false;
    try {
      await this.#tryAll();
    } catch (error) {
      // Out of descriptors, or not known to be durable: all is tried again, in order.
      this.#logger.error({ err: error }, 'trying held operations');
      this.#order.rollback();
      this.#interrupted = true;
    }
  }

  async #tryAll(): Promise<void> {
    const done: Entry[] = [];
    for (let entry = this.#order.next(); entry !== null; entry = this.#order.next()) {
      const attempt = await this.#attempt(entry);
      // Discarded meanwhile.
      if (!this.#order.has(entry.seq)) continue;
      if (attempt.done) {
        done.push(entry);
        continue;
      }
      this.#order.hold(entry);
      if (attempt.retriesItself) this.#retriesItself.add(entry.seq);
      this.#notices.hold(entry, attempt.reason);
      const { name, path } = entry;
      this.#logger.warn({ file: `${name}/${path}`, errno: attempt.reason.errno }, 'held');
    }
    if (done.length === 0) return;
    await this.#finish(done);
    this.#order.done(done);
    this.#endMended(done);
  }

  /** A file is mended when nothing of it is left here: what came behind may be refused as well. */
  #endMended(done: readonly Entry[]): void {
    const left = new Set<string>();
    for (const entry of this.#order.all()) left.add(`${entry.name}/${entry.path}`);
    for (const entry of done) {
      if (!left.has(`${entry.name}/${entry.path}`)) this.#notices.end(entry, 'mended');
    }
  }
}
