/**
 * GRANT: room in a data segment for a client of this machine and account, which writes its payload
 * there itself and sends only the heads (decision 8). The answer waits while the spool is full.
 */
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage } from '../protocol/messages.ts';
import { reserveWhenRoom } from './append.ts';
import type { Session } from './session.ts';

export async function grant(session: Session, frame: Frame, signal: AbortSignal): Promise<void> {
  const { bytes } = decodeMessage('GRANT', frame);
  const { server, connection, grants } = session;
  if (!session.local) throw new KangarooError('DENIED', 'grants are for clients of this machine');
  const wanted = Math.min(Math.max(bytes, limits.payloadBytesMax), limits.grantBytesMax);
  let granted = Math.min(wanted, Math.max(limits.payloadBytesMax, server.spool.limitBytes / 16));
  // What is left may be less than one grant, and nothing may be leaving.
  while (granted > limits.copyInBytes && !server.spool.hasRoom(granted)) {
    granted = Math.max(limits.copyInBytes, Math.ceil(granted / 2));
  }
  const extent = await reserveWhenRoom(session, granted, signal);
  try {
    // What stands in the board may lie in the one that is given up for it.
    if (server.board?.isBehind === true) await server.board.drained();
    session.assertOpen();
  } catch (error) {
    server.spool.data.giveBack(extent, 0);
    throw error;
  }
  // The oldest is given up for the newest: its records came before this request on the connection.
  while (grants.length >= limits.grantsPerConnectionMax) giveBackOldest(session);
  const added = { extent, usedBytes: 0 };
  grants.push(added);
  server.grants.add(added);
  connection.send(
    'GRANTED',
    {
      segment: extent.segment,
      file: server.spool.files.path(extent.segment),
      offset: extent.offset,
      bytes: extent.bytes,
    },
    frame.callId,
  );
}

/** When its session is over: behind what its program wrote into the board before it ended. */
export async function endGrants(session: Session): Promise<void> {
  const { board, logger } = session.server;
  if (session.grants.length === 0) return;
  if (board?.isBehind === true) {
    try {
      await board.drained();
    } catch (error) {
      // The server ends: what is left in the board keeps its bytes for the next one.
      logger.debug({ err: error }, 'grants stay');
      return;
    }
  }
  giveBackGrants(session);
}

function giveBackGrants(session: Session): void {
  while (session.grants.length > 0) giveBackOldest(session);
}

function giveBackOldest(session: Session): void {
  const oldest = session.grants.shift();
  if (oldest === undefined) return;
  session.server.grants.remove(oldest);
  session.server.spool.data.giveBack(oldest.extent, oldest.usedBytes);
}
