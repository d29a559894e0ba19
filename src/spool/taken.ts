/**
 * What this server has taken from each sender: the receiving half of "once in effect" (decision 6).
 *
 * Three sets a sender. `all`: taken so far, so that repeats are dropped. `direct`: applied to the
 * export directory and not yet durable there. `durable`: what the index says or is to say. Numbers
 * of spooled operations need no row while their record is in a log segment; they become durable
 * when that segment goes (`promote`). A number must never be durable before its operation is.
 * Sets of ranges, not "the last one": A, B, A again must not put A over B.
 */
import { RangeSet } from '../base/ranges.ts';
import type { TakenRow } from './index.ts';

interface Sender {
  all: RangeSet;
  direct: RangeSet;
  readonly durable: RangeSet;
  readonly session: boolean;
  dirty: boolean;
}

/** Numbers by sender. */
export type Numbers = Map<string, RangeSet>;

export class Taken {
  readonly #senders = new Map<string, Sender>();
  readonly #forgotten: string[] = [];

  constructor(rows: readonly TakenRow[]) {
    for (const { sender, ranges, session } of rows) {
      this.#senders.set(sender, {
        all: ranges.clone(),
        direct: new RangeSet(),
        durable: ranges,
        session,
        dirty: false,
      });
    }
  }

  has(sender: string, seq: number): boolean {
    return this.#senders.get(sender)?.all.has(seq) ?? false;
  }

  /** A spooled operation was taken; its record says so. */
  add(sender: string, seq: number): void {
    this.meet(sender, false).all.add(seq);
  }

  /** What recovery found in a log segment; `sessions` are the clients among the senders. */
  takeIn(numbers: Numbers, sessions: ReadonlySet<string>): void {
    for (const [sender, ranges] of numbers) {
      this.meet(sender, sessions.has(sender)).all.addAll(ranges);
    }
  }

  /** An operation was applied without being spooled. */
  addDirect(sender: string, seq: number): void {
    const known = this.meet(sender, false);
    known.all.add(seq);
    known.direct.add(seq);
  }

  /** The sender will never send a number up to `seq` again. */
  raiseFloor(sender: string, seq: number): void {
    const known = this.#senders.get(sender);
    if (known === undefined || seq <= known.durable.floor) return;
    known.all.raiseFloor(seq);
    known.durable.raiseFloor(seq);
    known.dirty = true;
  }

  /** All of this sender's operations up to there have been taken. */
  floor(sender: string): number {
    return this.#senders.get(sender)?.all.floor ?? 0;
  }

  /** The greatest number that has been taken from it; 0 when there is none. */
  highest(sender: string): number {
    const all = this.#senders.get(sender)?.all;
    if (all === undefined) return 0;
    let highest = all.floor;
    for (const [, last] of all.ranges()) highest = last;
    return highest;
  }

  /** Makes the sender known, and its kind: a client's session, or a spool. */
  meet(sender: string, session: boolean): Sender {
    let known = this.#senders.get(sender);
    if (known === undefined) {
      const [all, direct, durable] = [new RangeSet(), new RangeSet(), new RangeSet()];
      known = { all, direct, durable, session, dirty: false };
      this.#senders.set(sender, known);
    }
    return known;
  }

  /** The session is over for good and everything of it was committed. */
  forget(sender: string): void {
    const known = this.#senders.get(sender);
    if (known === undefined || known.direct.rangeCount > 0 || known.direct.floor > 0) return;
    this.#senders.delete(sender);
    this.#forgotten.push(sender);
  }

  /** Hands over what was applied directly, for the caller to make durable and then promote. */
  takeDirect(): Numbers {
    const direct: Numbers = new Map();
    for (const [sender, known] of this.#senders) {
      if (known.direct.rangeCount === 0 && known.direct.floor === 0) continue;
      direct.set(sender, known.direct);
      known.direct = new RangeSet();
    }
    return direct;
  }

  /**
   * The operations with these numbers are durable, or have been passed on: the index may say so.
   */
  promote(numbers: Numbers): void {
    for (const [sender, ranges] of numbers) {
      // Forgotten, if it is not known: a session that is over sends nothing again.
      const known = this.#senders.get(sender);
      if (known === undefined) continue;
      known.durable.addAll(ranges);
      known.dirty = true;
    }
  }

  /**
   * What was applied directly since the last durable state can no longer be trusted: it counts as
   * not taken, so that the senders send it again. `spooled` is what lies in log segments.
   */
  distrustDirect(spooled: Numbers): void {
    for (const [sender, known] of this.#senders) {
      known.direct = new RangeSet();
      known.all = known.durable.clone();
      const here = spooled.get(sender);
      if (here !== undefined) known.all.addAll(here);
    }
  }

  /** What the index does not say yet; for one flush. */
  changes(): { readonly taken: TakenRow[]; readonly forgottenSenders: string[] } {
    const taken: TakenRow[] = [];
    for (const [sender, known] of this.#senders) {
      if (!known.dirty) continue;
      known.dirty = false;
      taken.push({ sender, ranges: known.durable.clone(), session: known.session });
    }
    return { taken, forgottenSenders: this.#forgotten.splice(0) };
  }

  /** A flush of `changes` failed: they are still to be written. */
  restore(changes: ReturnType<Taken['changes']>): void {
    for (const { sender } of changes.taken) {
      const known = this.#senders.get(sender);
      if (known !== undefined) known.dirty = true;
    }
    this.#forgotten.push(...changes.forgottenSenders);
  }
}
