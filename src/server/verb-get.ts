/**
 * GET: bytes of a range as this hop sees them, in DATA frames, then FOUND with the file's facts.
 *
 * One connection may ask for much at once and read none of it: what is worked out for it at a time
 * is bounded, the rest of its GETs wait their turn.
 */
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, FOUND_KIND } from '../protocol/messages.ts';
import { limits } from '../base/limits.ts';
import { checkedLength } from './reader.ts';
import type { Session } from './session.ts';

const PIECE_BYTES = limits.payloadBytesMax;

/** Bytes asked for by the GETs of a connection that are being answered, and who waits for less. */
interface UnderWay {
  bytes: number;
  readonly waiting: (() => void)[];
}

const underWay = new WeakMap<Session, UnderWay>();

export async function get(session: Session, frame: Frame): Promise<void> {
  const wanted = checkedLength(decodeMessage('GET', frame).length);
  let mine = underWay.get(session);
  if (mine === undefined) {
    mine = { bytes: 0, waiting: [] };
    underWay.set(session, mine);
  }
  while (mine.bytes > 0 && mine.bytes + wanted > limits.getsUnderWayBytesMax) {
    const { waiting } = mine;
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  mine.bytes += wanted;
  try {
    session.assertOpen();
    await answer(session, frame, wanted);
  } finally {
    mine.bytes -= wanted;
    for (const wake of mine.waiting.splice(0)) wake();
  }
}

async function answer(session: Session, frame: Frame, wanted: number): Promise<void> {
  const { name, path, offset, timeoutMs, hops } = decodeMessage('GET', frame);
  const { server, connection } = session;
  const deadline = session.deadline(timeoutMs);
  const beneath = server.beneath(name, path, hops);
  const bytes = await server.reader.read(name, path, offset, wanted, beneath, deadline);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await connection.roomToSend();
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    connection.sendData(offset + at, piece, frame.callId);
  }
  // The size is known for sure only where the range met the end; a reader goes on until then.
  const size = offset + bytes.length;
  const found = { kind: FOUND_KIND.file, size, mode: 0, mtimeNs: 0n, pendingBytes: 0 };
  connection.send('FOUND', found, frame.callId);
}
