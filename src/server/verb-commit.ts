/**
 * COMMIT: the answer comes when every PUTS before it on this connection is on stable storage here,
 * whether spooled, applied or held (paper, 3.2: "some stable storage").
 */
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage } from '../protocol/messages.ts';
import type { Session } from './session.ts';

export async function commit(session: Session, frame: Frame): Promise<void> {
  const { lowWater } = decodeMessage('COMMIT', frame);
  const { server, senderId, connection, role } = session;
  const isClient = role === 'client';
  if (server.board?.isBehind === true) await server.board.drained();
  if (isClient) server.clientCommits += 1;
  try {
    // The two syncs are independent: what went one way did not go the other.
    await Promise.all([server.spool.sync(), server.destination?.sync()]);
  } finally {
    if (isClient) server.clientCommits -= 1;
  }
  server.spool.taken.raiseFloor(senderId, lowWater);
  connection.send('COMMITTED', { incarnation: server.spool.incarnation }, frame.callId);
}
