/** STAT and LIST: names and facts as this hop sees them; LIST of '' lists servers. */
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, FOUND_KIND, type Message } from '../protocol/messages.ts';
import type { Board } from './board.ts';
import type { Facts } from './reader.ts';
import type { Session } from './session.ts';

export async function stat(session: Session, frame: Frame): Promise<void> {
  const { name, path, timeoutMs, hops } = decodeMessage('STAT', frame);
  const { server, connection } = session;
  const beneath = server.beneath(name, path, hops);
  const tell = session.local ? teller(server.board, name, path) : null;
  let facts: Facts;
  try {
    facts = await server.reader.stat(name, path, beneath, session.deadline(timeoutMs));
  } catch (error) {
    if (error instanceof KangarooError && error.code === 'NOT_FOUND') tell?.(null);
    throw error;
  }
  tell?.(facts);
  connection.send('FOUND', { ...facts, ...timeHere(session, name, path) }, frame.callId);
}

/** Tells adapted programs what a name was found to be, if names have stood still since now. */
function teller(board: Board | null, name: string, path: string): (facts: Facts | null) => void {
  const before = board?.names.changes;
  return (facts) => {
    if (board === null || board.names.changes !== before) return;
    if (facts === null) board.names.knowAbsent(name, path, false);
    else board.names.know(name, path, facts, board.slots.of(name, path), false);
  };
}

export async function list(session: Session, frame: Frame): Promise<void> {
  const { name, path, after, max, timeoutMs, hops } = decodeMessage('LIST', frame);
  const { server, connection } = session;
  if (max === 0) throw new KangarooError('PROTOCOL', 'LIST of no entries');
  const count = Math.min(max, limits.listEntriesMax);
  if (name === '') {
    connection.send('LISTED', serverNames(session, after, count), frame.callId);
    return;
  }
  const beneath = server.beneath(name, path, hops);
  const deadline = session.deadline(timeoutMs);
  const listed = await server.reader.list(name, path, after, count, beneath, deadline);
  connection.send('LISTED', { more: listed.more, entries: listed.entries }, frame.callId);
}

/** What "/kangaroo" itself lists: this server's export, and the names that it has routes to. */
function serverNames({ server }: Session, after: string, count: number): Message<'LISTED'> {
  const exact = server.routes.routes.map(({ pattern }) => pattern);
  const own = server.destination === null ? [] : [server.name];
  const names = [...new Set([...own, ...exact])]
    .filter((name) => !name.includes('*') && name > after)
    .sort();
  const entries = names.slice(0, count).map((name) => {
    return { name, kind: FOUND_KIND.directory, size: 0, mode: 0o755, mtimeNs: 0n };
  });
  return { more: names.length > count, entries };
}

/**
 * When programs here wrote into a file that they have or had open: no record says it, and at the
 * destination it is the time of arrival.
 */
function timeHere({ server }: Session, name: string, path: string): { mtimeNs?: bigint } {
  const slots = server.board?.slots;
  const slot = slots?.of(name, path) ?? null;
  if (slots === undefined || slot === null || slots.isStale(slot)) return {};
  return { mtimeNs: slots.facts(slot).mtimeNs };
}
