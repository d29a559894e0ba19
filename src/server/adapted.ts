/**
 * What OPEN and CHANGE have in common: who may ask, and how an operation that this server decided
 * on comes into its spool under the number that the session gave it.
 */
import { KangarooError } from '../base/errors.ts';
import {
  encodeHead,
  headOf,
  invalid,
  invalidName,
  invalidPath,
  type Operation,
} from '../protocol/operation.ts';
import { appendWhenRoom } from './append.ts';
import type { Board } from './board.ts';
import type { Session } from './session.ts';

/** The longest record of an operation without payload: two paths of any length. */
const RECORD_BYTES = 16 * 1024;

/**
 * The board of a session that may ask for such things about these names.
 * @throws KangarooError DENIED, NOT_SUPPORTED, PROTOCOL
 */
export function adaptedBoard(
  session: Session,
  [name, ...paths]: readonly [name: string, ...paths: readonly string[]],
): Board {
  const { board } = session.server;
  if (!session.local || session.role !== 'client') {
    throw new KangarooError('DENIED', 'that is for programs of the account of the server');
  }
  if (board === null) throw new KangarooError('NOT_SUPPORTED', 'this server has no board');
  if (invalidName(name) || paths.some(invalidPath)) {
    throw new KangarooError('PROTOCOL', 'no name of a server and path below it');
  }
  session.isAdapted = true;
  return board;
}

/**
 * Spools the operation that `decide` comes to when there is room, in the same turn; null: nothing
 * is to be done any more. `after` is called in that turn as well, when it was done. A number is
 * used up by what succeeds.
 */
export async function spoolOwn(
  session: Session,
  name: string,
  seq: number,
  decide: () => Operation | null,
  after: (op: Operation) => void = () => {},
): Promise<void> {
  const { server, senderId } = session;
  if (seq === 0) throw new KangarooError('PROTOCOL', 'a change without a number');
  // What was applied at once before it must not come again behind it (verb-put.ts).
  if (server.isDestinationOf({ name })) await server.destination?.syncDirect();
  let op: Operation | null = null;
  await appendWhenRoom(
    session,
    RECORD_BYTES,
    () => {
      op = decide();
      if (op === null) return [];
      const head = headOf(op, seq);
      const problem = invalid(head);
      if (problem !== null) throw new KangarooError('PROTOCOL', problem);
      return [{ bytes: encodeHead(head), head, senderId, place: null }];
    },
    () => {
      if (op === null) server.spool.taken.add(senderId, seq);
      else after(op);
    },
  );
}
