/**
 * Into the spool, waiting for room as long as it takes.
 *
 * What is appended is made at the last moment, when there is room: whoever decides by what lies in
 * the spool (is the name free? what is the file called now?) decides in the same turn of the event
 * loop in which its records go in, so that nothing comes between.
 */
import { deadlineIn, NEVER, sleep } from '../base/deadline.ts';
import { errnoOf } from '../base/errors.ts';
import type { Extent } from '../spool/data.ts';
import { saysFull } from '../spool/room.ts';
import type { Incoming } from '../spool/spool.ts';
import type { Server } from './server.ts';

/** While a full disk is waited for without a sign of room. */
export const RETRY_MS = 200;

/** On whose behalf: a session, or the board. */
export interface Taker {
  readonly server: Server;
  /** Aborts when there is nobody to take for any more. */
  readonly ended: AbortSignal;
  /** @throws KangarooError DISCONNECTED then */
  assertOpen(): void;
}

/**
 * Appends without a wait. False: nothing was appended, there is no room now.
 * @throws KangarooError SPOOL_FAILED, DISCONNECTED
 */
export function appendAtOnce(taker: Taker, bytes: number, records: readonly Incoming[]): boolean {
  if (!taker.server.spool.hasRoom(bytes)) return false;
  taker.assertOpen();
  return fits(taker.server, records);
}

/** Appends them. False: the disk is full. @throws KangarooError SPOOL_FAILED */
function fits(server: Server, records: readonly Incoming[]): boolean {
  try {
    if (records.length > 0) server.appended(server.spool.append(records));
    return true;
  } catch (error) {
    if (saysFull(error)) return false;
    throw errnoOf(error) === null ? error : server.spool.fail(error);
  }
}

/**
 * Appends what `make` gives when there is room for `bytes`; `after` is called in the same turn.
 * `make` may be called again when the disk is full all the same; what it throws ends the call.
 */
export async function appendWhenRoom(
  taker: Taker,
  bytes: number,
  make: () => readonly Incoming[],
  after: (records: readonly Incoming[]) => void = () => {},
): Promise<void> {
  const { server, ended } = taker;
  const { spool } = server;
  for (;;) {
    if (!spool.hasRoom(bytes)) await spool.room(bytes, NEVER, ended);
    taker.assertOpen();
    const records = make();
    if (fits(server, records)) {
      after(records);
      return;
    }
    spool.noteDiskFull();
    await spool.room(bytes, deadlineIn(RETRY_MS), ended).catch(() => {});
  }
}

/**
 * Room for payload in a data segment, waited for as long as it takes or until `signal` aborts.
 * @throws KangarooError SPOOL_FAILED, DISCONNECTED, INTERRUPTED
 */
export async function reserveWhenRoom(
  taker: Taker,
  bytes: number,
  signal = taker.ended,
): Promise<Extent> {
  const { spool } = taker.server;
  for (;;) {
    await spool.room(bytes, NEVER, signal);
    taker.assertOpen();
    try {
      return spool.reserve(bytes);
    } catch (error) {
      // Bytes may be free and no file be possible: inodes have a limit of their own.
      if (!saysFull(error)) throw error;
      spool.noteDiskFull();
      await sleep(RETRY_MS, signal);
    }
  }
}
