/**
 * Who has files of the board open: read from /proc, because the kernel knows it of every process,
 * however it came by its descriptors.
 *
 * A placeholder is a memfd named `kangaroo:<board id>:<slot>.<generation>:...`. A slot is taken
 * back when two looks at all processes of this account, some time apart, found nobody with it: a
 * descriptor that wanders from a process to its child may be missed by one. What was given out just
 * now has no placeholder yet and stays. What its program wrote is taken first: entries in the ring
 * outlive their writers.
 */
import { readdir, readlink, stat } from 'node:fs/promises';
import { monotonicMs, nowMs, sleep } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import type { OpenSlot, Slots } from './slots.ts';

/** Between the two looks. */
const APART_MS = 200;

export class SlotHolders {
  readonly #pattern: RegExp;
  readonly #slots: Slots;
  /** Waits until what stands in the ring is taken. False: that takes too long now. */
  readonly #caughtUp: () => Promise<boolean>;
  #round: Promise<void> | null = null;
  #nextRoundMs = 0;

  constructor(boardId: string, slots: Slots, caughtUp: () => Promise<boolean>) {
    this.#pattern = new RegExp(`^/memfd:kangaroo:${boardId}:(\\d+)\\.(\\d+)(?::|\\b)`);
    this.#slots = slots;
    this.#caughtUp = caughtUp;
  }

  /** Was the last round long enough ago? */
  get isDue(): boolean {
    return this.#round === null && nowMs() >= this.#nextRoundMs;
  }

  /** Takes back what nobody has. Rounds do not overlap. */
  async takeBack(): Promise<void> {
    this.#round ??= this.#takeBack().finally(() => {
      this.#round = null;
      this.#nextRoundMs = nowMs() + limits.slotRoundEveryMs;
    });
    await this.#round;
  }

  /** Does any other process have a file of this board open? */
  async isAnyHeld(): Promise<boolean> {
    return this.#slots.openCount > 0 && (await this.#look()).size > 0;
  }

  async #takeBack(): Promise<void> {
    const before = nowMs();
    const sinceMs = monotonicMs() - limits.slotKeptMs;
    const first = await this.#look();
    const unheld = [...this.#slots.all()].filter((slot) => {
      const isOld = slot.givenMs < before - limits.slotKeptMs;
      return isOld && this.#slots.openedMs(slot) < sinceMs && !first.has(keyOf(slot));
    });
    if (unheld.length === 0) return;
    await sleep(APART_MS);
    const second = await this.#look();
    if (!(await this.#caughtUp())) return;
    for (const slot of unheld) {
      const isStill = this.#slots.live(slot.index, slot.generation) === slot;
      // Given out again since, to somebody who opened the same file.
      const isOld = slot.givenMs < before - limits.slotKeptMs;
      if (isStill && isOld && !second.has(keyOf(slot))) this.#slots.free(slot, sinceMs);
    }
  }

  /** `slot.generation` of all that is open anywhere. */
  async #look(): Promise<Set<string>> {
    const held = new Set<string>();
    const uid = process.getuid?.() ?? -1;
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      // A process that ended meanwhile, or is not to be looked into, has nothing of ours.
      const owner = await stat(`/proc/${pid}`).catch(() => null);
      if (owner?.uid !== uid) continue;
      const directory = `/proc/${pid}/fd`;
      for (const fd of await readdir(directory).catch(() => [])) {
        const link = await readlink(`${directory}/${fd}`).catch(() => '');
        const [, slot, generation] = this.#pattern.exec(link) ?? [];
        if (slot !== undefined) held.add(`${slot}.${generation}`);
      }
    }
    return held;
  }
}

function keyOf({ index, generation }: OpenSlot): string {
  return `${index}.${generation}`;
}
