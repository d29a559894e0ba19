/**
 * A frame for a second connection, when its records named payload in a granted data segment.
 *
 * A grant ends with its connection, so the records cannot be sent again as they were: the payload
 * is read back from the segment's file and travels in the frame. That is rare (the server was
 * killed between taking a head and remembering it) and small, so it need not be fast. Bytes that
 * are gone or changed are found here, by name and checksum, and end the session honestly.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import { encodePrefix, FRAME_FLAGS, PREFIX_BYTES, PUTS_TYPE } from '../protocol/frame.ts';
import { decodeHead, FLAGS, measure, type RecordHeader, renumber } from '../protocol/operation.ts';
import type { WindowFrame } from './window.ts';

/**
 * The frame's records above `takenFloor`, each in a REPEATED frame with its payload behind it. What
 * the server has taken is left out: it may have been delivered since, and its segment be gone.
 * @throws KangarooError DISCONNECTED when payload is gone
 */
export async function* inlineCopies(
  frame: WindowFrame,
  takenFloor: number,
): AsyncGenerator<Buffer, void, undefined> {
  const bytes = Buffer.concat(frame.parts);
  let next = PREFIX_BYTES;
  while (next < bytes.length) {
    const at = next;
    const size = measure(bytes, at);
    const head = decodeHead(bytes, at);
    if (size === null || typeof head === 'string') {
      throw new KangarooError('INTERNAL', 'a record of the window cannot be read back');
    }
    next += size.total;
    if (head.seq <= takenFloor) continue;
    const external = (head.flags & FLAGS.EXTERNAL) !== 0;
    const record = Buffer.from(bytes.subarray(at, next));
    if (external) renumber(record, 0, record.length, { payload: null });
    const file = frame.segmentFiles?.get(head.payloadSegment);
    const payload = external ? await readBack(head, file) : null;
    const bodyBytes = record.length + (payload?.length ?? 0);
    const prefix = encodePrefix(PUTS_TYPE, 0, bodyBytes, 0, FRAME_FLAGS.REPEATED);
    yield Buffer.concat(payload === null ? [prefix, record] : [prefix, record, payload]);
  }
}

async function readBack(head: RecordHeader, file: string | undefined): Promise<Buffer> {
  const payload = Buffer.allocUnsafe(head.payloadBytes);
  let source: FileHandle | undefined;
  try {
    if (file === undefined) throw new Error('its segment is not known');
    source = await open(file, 'r');
    let done = 0;
    while (done < payload.length) {
      const left = payload.length - done;
      const got = await source.read(payload, done, left, head.payloadOffset + done);
      if (got.bytesRead === 0) throw new Error('its segment is cut short');
      done += got.bytesRead;
    }
    if (crc32c(payload) !== head.payloadCrc) throw new Error('its segment holds other bytes');
    return payload;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const what = `kangaroo://${head.name}/${head.path}: bytes that were not committed are gone`;
    throw new KangarooError('DISCONNECTED', `${what}: ${why}`, { cause: error });
  } finally {
    await source?.close();
  }
}
