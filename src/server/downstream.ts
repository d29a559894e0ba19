/**
 * This server's own connections to the next hops, for what is asked of them: reads, pushes,
 * reports.
 * The mover has its own connections for what is put.
 *
 * One connection an address, dialled when first needed, greeted as a client. A call that loses its
 * connection is sent again on a new one until its deadline: everything asked here may be repeated.
 */
import { randomBytes } from 'node:crypto';
import {
  type Deadline,
  deadlineIn,
  hasPassed,
  nowMs,
  remainingMs,
  sleep,
  within,
} from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type Connection, decodeError, dial } from '../protocol/connection.ts';
import { greet } from '../protocol/hello.ts';
import { MESSAGES } from '../protocol/messages.ts';
import { formatServerAddress, type ServerAddress } from '../protocol/server-address.ts';

interface Link {
  readonly address: ServerAddress;
  connection: Promise<Connection> | null;
  /** When the last attempt failed; null while it is reachable as far as known. */
  awaySinceMs: number | null;
  awayReason: string;
  /** Those who must not wait do not ask before. */
  askAgainMs: number;
}

/** How much longer than the last wait for it: a program that asks for many names hardly waits. */
const PAUSE_OF_WAITS = 9;

/** Nobody answered in `waitedMs`. */
function leaveAlone(link: Link, waitedMs: number): void {
  const shortMs = Math.min(waitedMs, limits.awayLookupMs);
  link.askAgainMs = nowMs() + Math.max(limits.awayLookupMs, PAUSE_OF_WAITS * shortMs);
}

export class Downstream {
  readonly #links = new Map<string, Link>();
  readonly #senderId = randomBytes(16).toString('hex');
  #closed = false;

  /** Is the server there known to be away just now, and why? */
  awayReason(address: ServerAddress): string | null {
    const link = this.#links.get(formatServerAddress(address));
    return link === undefined || link.awaySinceMs === null ? null : link.awayReason;
  }

  /**
   * Did nobody answer just now, so that asking again would only cost time? For a second; where
   * nothing even says no, on a new connection or on one that there was, for as long as makes the
   * waits a tenth of the time.
   */
  isJustAway(address: ServerAddress): boolean {
    const link = this.#links.get(formatServerAddress(address));
    return link !== undefined && nowMs() < link.askAgainMs;
  }

  /**
   * A question about names: when the hop turns out to be away it waits `limits.awayLookupMs`, and
   * while it is known to be away it tries once, so that work goes on through an outage (decision
   * 4). Otherwise as `with`.
   */
  async lookup<T>(
    address: ServerAddress,
    deadline: Deadline,
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    return await this.with(address, deadline, work, undefined, limits.awayLookupMs);
  }

  /**
   * Runs `work` with a connection to `address`, again on a new one if it breaks, until the
   * deadline, or until `awayMs` have passed while the hop is away.
   * @throws KangarooError NOT_YET at the deadline, or whatever the server there answers
   */
  async with<T>(
    address: ServerAddress,
    callDeadline: Deadline,
    work: (connection: Connection) => Promise<T>,
    signal?: AbortSignal,
    awayMs = Infinity,
  ): Promise<T> {
    const link = this.#link(address);
    const where = formatServerAddress(address);
    const awayDeadline = Math.min(callDeadline, nowMs() + awayMs);
    const isLookup = Number.isFinite(awayMs);
    const knownAway = link.awaySinceMs !== null && isLookup;
    let deadline = knownAway ? awayDeadline : callDeadline;
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 1_000)) {
      const begunMs = nowMs();
      let connectedMs = begunMs;
      try {
        const connecting = this.#connect(link, deadline);
        const connection = await connecting.finally(() => (connectedMs = nowMs()));
        // It is there, whatever it is going to answer.
        link.awaySinceMs = null;
        const answer = await work(connection);
        link.askAgainMs = -Infinity;
        return answer;
      } catch (error) {
        const known = asKangarooError(error);
        // A push may take longer than its caller waits, and who has hardly waited knows nothing.
        const triedMs = nowMs() - begunMs;
        const isSilent = isLookup && triedMs >= limits.awayLookupMs / 2;
        if (known.code === 'NOT_YET' && isSilent) leaveAlone(link, triedMs);
        if (known.code !== 'DISCONNECTED' && known.code !== 'UNREACHABLE') throw known;
        leaveAlone(link, connectedMs - begunMs);
        link.awaySinceMs ??= nowMs();
        link.awayReason = known.message;
        deadline = awayDeadline;
        const over = remainingMs(deadline) <= pauseMs || hasPassed(deadline);
        if (this.#closed || knownAway || over) {
          throw new KangarooError('NOT_YET', `${where} is away: ${known.message}`, {
            cause: known,
          });
        }
        await sleep(pauseMs, signal);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { connection } of this.#links.values()) {
      const open = await connection?.catch(() => null);
      open?.close(null);
    }
  }

  #link(address: ServerAddress): Link {
    const key = formatServerAddress(address);
    let link = this.#links.get(key);
    if (link === undefined) {
      link = {
        ...{ address, connection: null, awaySinceMs: null, awayReason: '' },
        askAgainMs: -Infinity,
      };
      this.#links.set(key, link);
    }
    return link;
  }

  async #connect(link: Link, deadline: Deadline): Promise<Connection> {
    for (;;) {
      const current = link.connection;
      if (current !== null) {
        // Somebody else's attempt may take longer than this caller has.
        const what = `connect to ${formatServerAddress(link.address)}`;
        const known = await within(
          current.catch(() => null),
          deadline,
          what,
        );
        if (known?.isOpen === true) return known;
        // Whoever noticed first is dialling already.
        if (link.connection !== current) continue;
      }
      const dialling = this.#dial(link.address, deadline);
      link.connection = dialling;
      dialling.catch(() => {
        if (link.connection === dialling) link.connection = null;
      });
      return await dialling;
    }
  }

  async #dial(address: ServerAddress, deadline: Deadline): Promise<Connection> {
    const limit = Math.min(deadline, deadlineIn(limits.connectTimeoutMs));
    const connection = await dial(address, limit);
    connection.onFrame = (frame) => {
      // Belongs to no call: why the next hop is about to hang up.
      if (frame.type === MESSAGES.ERROR.type) connection.close(decodeError(frame));
    };
    try {
      await greet(connection, 'client', this.#senderId, limit);
    } catch (error) {
      connection.close(null);
      const known = asKangarooError(error);
      if (known.code !== 'NOT_YET') throw known;
      throw new KangarooError('UNREACHABLE', known.message, { cause: known });
    }
    connection.startHeartbeat();
    return connection;
  }
}
