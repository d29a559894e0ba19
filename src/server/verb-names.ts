/** STAT and LIST: names and facts as this hop sees them. */
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage } from '../protocol/messages.ts';
import type { Session } from './session.ts';

export async function stat(session: Session, frame: Frame): Promise<void> {
  const { name, path, timeoutMs, hops } = decodeMessage('STAT', frame);
  const { server, connection } = session;
  const beneath = server.beneath(name, path, hops);
  const facts = await server.reader.stat(name, path, beneath, session.deadline(timeoutMs));
  connection.send('FOUND', facts, frame.callId);
}

export async function list(session: Session, frame: Frame): Promise<void> {
  const { name, path, after, max, timeoutMs, hops } = decodeMessage('LIST', frame);
  const { server, connection } = session;
  if (max === 0) throw new KangarooError('PROTOCOL', 'LIST of no entries');
  const beneath = server.beneath(name, path, hops);
  const count = Math.min(max, limits.listEntriesMax);
  const deadline = session.deadline(timeoutMs);
  const listed = await server.reader.list(name, path, after, count, beneath, deadline);
  connection.send('LISTED', { more: listed.more, entries: listed.entries }, frame.callId);
}
