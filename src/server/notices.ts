/**
 * What people must be told: one notice a file and reason, not one an operation.
 *
 * A held file has one notice while it is held; its counts are live. What ended (mended, discarded)
 * stays as a line of history in the index, bounded there. What was found damaged (quarantined) has
 * its own notices until somebody discards it: damage.ts.
 */
import { formatAddress } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { SpoolIndex } from '../spool/index.ts';
import { FLAGS, KIND } from '../protocol/operation.ts';
import { Damage } from './damage.ts';

/** Why something waits here that no waiting mends. */
export interface Reason {
  /** errno name, or LOOP, NO_ROUTE, NO_EXPORT. */
  readonly errno: string;
  readonly text: string;
  readonly todo: string;
}

export interface Notice {
  readonly id: number;
  readonly at: string;
  readonly server: string;
  readonly address: string;
  readonly operation: string;
  readonly reason: string;
  readonly errno: string;
  readonly since: string;
  readonly todo: string;
  readonly operations: number;
  readonly bytes: number;
  readonly state: 'held' | 'mended' | 'discarded' | 'quarantined';
}

interface HeldFile {
  notice: Notice;
  operations: number;
  bytes: number;
}

export class Notices {
  readonly damage: Damage;
  readonly #index: SpoolIndex;
  readonly #server: string;
  readonly #held = new Map<string, HeldFile>();

  constructor(index: SpoolIndex, server: string) {
    this.#index = index;
    this.#server = server;
    this.damage = new Damage(index, server);
  }

  /** An operation is held, or one waits behind a held one of the same file (`reason` null then). */
  hold(entry: Entry, reason: Reason): void {
    const address = formatAddress(entry.name, entry.path);
    const known = this.#held.get(address);
    if (known !== undefined && known.notice.errno === reason.errno) {
      known.operations += 1;
      known.bytes += entry.payloadBytes;
      return;
    }
    const notice = this.#write({
      address,
      operation: describe(entry),
      reason: reason.text,
      errno: reason.errno,
      todo: reason.todo,
      operations: 1,
      bytes: entry.payloadBytes,
      state: 'held',
    });
    this.#held.set(address, { notice, operations: 1, bytes: entry.payloadBytes });
  }

  /** Nothing of that file is held any more. */
  end(entry: Entry, state: 'mended' | 'discarded'): void {
    const address = formatAddress(entry.name, entry.path);
    const known = this.#held.get(address);
    if (known === undefined) return;
    this.#held.delete(address);
    const { operations, bytes } = known;
    this.#write({ ...known.notice, operations, bytes, state });
  }

  /** The operation is tried again: if it is refused again it is counted again. */
  retrying(entry: Entry): void {
    const known = this.#held.get(formatAddress(entry.name, entry.path));
    if (known === undefined) return;
    known.operations = Math.max(0, known.operations - 1);
    known.bytes = Math.max(0, known.bytes - entry.payloadBytes);
  }

  /** The notice that says why this entry, or the one in its way, is held. */
  ofEntry(entry: Entry): Notice | null {
    return this.#held.get(formatAddress(entry.name, entry.path))?.notice ?? null;
  }

  /** The first notice of a held file that `matches`, for the message of a push that fails. */
  firstHeld(matches: (address: string) => boolean): Notice | null {
    for (const [address, { notice }] of this.#held) if (matches(address)) return notice;
    return null;
  }

  /** What is held or damaged as it is now, and history after `id`. */
  since(id: number): { readonly messages: Notice[]; readonly last: number } {
    const messages: Notice[] = [];
    for (const { notice, operations, bytes } of this.#held.values()) {
      if (notice.id > id) messages.push({ ...notice, operations, bytes });
    }
    messages.push(...this.damage.notices.filter((notice) => notice.id > id));
    let last = id;
    for (const row of this.#index.messagesAfter(id, 1_000)) {
      last = row.id;
      const { place: _, ...parts } = JSON.parse(row.json) as Notice & { place?: string };
      if (parts.state === 'held' || parts.state === 'quarantined') continue;
      messages.push({ ...parts, id: row.id });
    }
    messages.sort((a, b) => a.id - b.id);
    return { messages, last };
  }

  #write(parts: Omit<Notice, 'id' | 'at' | 'server' | 'since'> & { since?: string }): Notice {
    const at = new Date().toISOString();
    const body = { ...parts, at, server: this.#server, since: parts.since ?? at };
    return { ...body, id: this.#index.addMessage(body) };
  }
}

/** What the operation would have done, in a word or two. */
export function describe(entry: Entry): string {
  switch (entry.kind) {
    case KIND.mkdir:
      return 'make directory';
    case KIND.rename:
      return `rename to ${formatAddress(entry.name, entry.path2)}`;
    case KIND.remove:
      return 'remove';
    case KIND.write:
      if (entry.payloadBytes > 0) return 'write';
      if ((entry.flags & FLAGS.CREATE) !== 0) return 'create';
      return (entry.flags & FLAGS.TRUNCATE) !== 0 ? 'truncate' : 'set attributes';
  }
}
