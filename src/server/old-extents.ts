/**
 * Data segments that entries of the board speak of which stood there when the server started.
 *
 * Their grants ended with the server before, and nothing in the log refers to them yet, so they are
 * held until those entries have been taken: housekeeping removes what nobody needs.
 */
import type { DataSegments } from '../spool/data.ts';
import { ENTRY_KIND } from './board-layout.ts';
import type { Standing } from './board-ring.ts';

export class OldExtents {
  readonly #data: DataSegments;
  /** How long each of them is. */
  readonly #held = new Map<number, number>();

  constructor(data: DataSegments, standing: Iterable<Standing>) {
    this.#data = data;
    for (const { entry } of standing) {
      if (entry?.kind !== ENTRY_KIND.segment || this.#held.has(entry.segment)) continue;
      const bytes = data.hold(entry.segment);
      if (bytes !== null) this.#held.set(entry.segment, bytes);
    }
  }

  holds(segment: number, offset: number, bytes: number): boolean {
    const end = this.#held.get(segment);
    return end !== undefined && offset + bytes <= end;
  }

  release(): void {
    for (const segment of this.#held.keys()) this.#data.letGo(segment);
    this.#held.clear();
  }
}
