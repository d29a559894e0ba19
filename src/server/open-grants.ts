/**
 * All grants of this server that somebody holds, to be found by what lies in them: an entry of the
 * board says where its bytes are, not whose grant that was.
 */
import type { Extent } from '../spool/data.ts';

/** An extent that a local client writes its payload into. */
export interface Grant {
  readonly extent: Extent;
  usedBytes: number;
}

export class OpenGrants {
  readonly #bySegment = new Map<number, Set<Grant>>();

  add(grant: Grant): void {
    const { segment } = grant.extent;
    const there = this.#bySegment.get(segment);
    if (there === undefined) this.#bySegment.set(segment, new Set([grant]));
    else there.add(grant);
  }

  remove(grant: Grant): void {
    const { segment } = grant.extent;
    const there = this.#bySegment.get(segment);
    there?.delete(grant);
    if (there?.size === 0) this.#bySegment.delete(segment);
  }

  /**
   * Notes that these bytes are used; false: not all of them are granted. They may lie in several
   * grants behind one another, since a writer makes an entry longer across the end of one.
   */
  use(segment: number, offset: number, bytes: number): boolean {
    const there = this.#bySegment.get(segment) ?? new Set<Grant>();
    const end = offset + bytes;
    for (let at = offset; at < end;) {
      const grant = [...there].find(({ extent }) => {
        return extent.offset <= at && at < extent.offset + extent.bytes;
      });
      if (grant === undefined) return false;
      const { extent } = grant;
      at = Math.min(end, extent.offset + extent.bytes);
      grant.usedBytes = Math.max(grant.usedBytes, at - extent.offset);
    }
    return true;
  }
}
