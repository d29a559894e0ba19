/** GET: bytes of a range as this hop sees them, in DATA frames, then FOUND with the file's facts. */
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, FOUND_KIND } from '../protocol/messages.ts';
import { limits } from '../base/limits.ts';
import { checkedLength } from './reader.ts';
import type { Session } from './session.ts';

const PIECE_BYTES = limits.payloadBytesMax;

export async function get(session: Session, frame: Frame): Promise<void> {
  const { name, path, offset, length, timeoutMs, hops } = decodeMessage('GET', frame);
  const { server, connection } = session;
  const deadline = session.deadline(timeoutMs);
  const beneath = server.beneath(name, path, hops);
  const wanted = checkedLength(length);
  const bytes = await server.reader.read(name, path, offset, wanted, beneath, deadline);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await connection.roomToSend();
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    connection.send('DATA', { offset: offset + at, bytes: piece }, frame.callId);
  }
  // The size is known for sure only where the range met the end; a reader goes on until then.
  const size = offset + bytes.length;
  const found = { kind: FOUND_KIND.file, size, mode: 0, mtimeNs: 0n, pendingBytes: 0 };
  connection.send('FOUND', found, frame.callId);
}
