/**
 * LOCATE: where in the spool's segments the bytes of a file lie that a program wants to read, so
 * that it reads them there itself and they cross no socket.
 *
 * The answer is made in one turn of the event loop, of what the view shows behind all that programs
 * wrote before they asked. It speaks of a leading run of the range: it ends at the first byte that
 * is not here but at the next hop, and says nothing when that is the first one. Log segments and
 * what is in them never change; data segments it speaks of are not punched for the lease. A full
 * spool gives no new lease, since punching is what empties it. Where this server is the
 * destination, bytes that have arrived are told in the file of the export directory itself.
 */
import { nowMs } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, type Message } from '../protocol/messages.ts';
import type { Piece } from '../spool/extents.ts';
import type { Spool } from '../spool/spool.ts';
import type { Sight } from '../spool/view.ts';
import { planOf, sizeOf } from './reader.ts';
import type { Session } from './session.ts';
import type { Where } from './storage.ts';

/** The plan of a long range is made in parts of this much: it may be of very many pieces. */
const PART_BYTES = 2 * 1024 * 1024;
/** A row of the list without the file's path. */
const ROW_BYTES = 40;
/** Segment number of bytes that nobody has written. */
const ZEROS = 0;
/** What is in the export directory has a number of its own, made of its inode's. */
const ARRIVED = 2 ** 52;

type Row = Message<'PLACES'>['pieces'][number];

export async function locate(session: Session, frame: Frame): Promise<void> {
  const { name, path, offset, length } = decodeMessage('LOCATE', frame);
  const { server, connection } = session;
  if (!session.local || session.role !== 'client') {
    throw new KangarooError('DENIED', 'places are for programs of this machine');
  }
  const isHere = server.isDestinationOf({ name });
  const arrived = isHere ? (server.destination?.storage.where(path) ?? null) : null;
  const pieces = placesOf(server.spool, name, path, offset, length, arrived);
  const last = pieces.at(-1);
  const end = last === undefined ? offset : last.offset + last.bytes;
  connection.send('PLACES', { end, leaseMs: limits.placesLeaseMs, pieces }, frame.callId);
  await connection.roomToSend();
}

/** The pieces of an answer; `arrived`: the file beneath. They are lent from now on. */
export function placesOf(
  spool: Spool,
  name: string,
  path: string,
  offset: number,
  length: number,
  arrived: Where | null = null,
): readonly Row[] {
  const sight = spool.view(name).lookup(path);
  if (sight.known === 'absent' || sight.known === 'directory') return [];
  const beneath = sight.beneath === 'natural' ? arrived : null;
  const places = new Places(spool, nowMs() + limits.placesLeaseMs, beneath);
  places.add(sight, offset, Math.min(length, limits.locateBytesMax));
  return places.rows;
}

class Places {
  readonly rows: Row[] = [];
  readonly #spool: Spool;
  readonly #untilMs: number;
  readonly #isFull: boolean;
  readonly #beneath: Where | null;
  readonly #named = new Map<number, number>();
  #bytes = 0;

  constructor(spool: Spool, untilMs: number, beneath: Where | null) {
    this.#spool = spool;
    this.#beneath = beneath;
    this.#untilMs = untilMs;
    this.#isFull = spool.state !== 'ok';
  }

  /** As many as can be told of that range. */
  add(sight: Sight, offset: number, length: number): void {
    // Where there is a hole below the end, the next hop has no say in where that is.
    const size = sizeOf(sight)(this.#beneath?.size ?? 0);
    const end = Math.min(offset + length, size);
    for (let at = offset; at < end; at += PART_BYTES) {
      for (const piece of planOf(sight, at, Math.min(PART_BYTES, end - at))) {
        if (!this.#addPiece(piece)) return;
      }
    }
  }

  /** False: nothing can be said from here on. */
  #addPiece(piece: Piece): boolean {
    const bytes = piece.end - piece.start;
    if (piece.from === 'base') return this.#addBase(piece.start, piece.end);
    if (piece.from === 'hole') return this.#addRow(piece.start, bytes, ZEROS, 0);
    const { payloadSegment, payloadOffset } = piece.op;
    return this.#addRow(piece.start, bytes, payloadSegment, payloadOffset + piece.at);
  }

  /** What has arrived; behind its end there are zeros, since the file is longer here. */
  #addBase(start: number, end: number): boolean {
    const beneath = this.#beneath;
    if (beneath === null) return false;
    const split = Math.min(end, Math.max(start, beneath.size));
    const number = ARRIVED + beneath.ino;
    if (start < split && !this.#addRow(start, split - start, number, start)) return false;
    return split === end || this.#addRow(split, end - split, ZEROS, 0);
  }

  #addRow(offset: number, bytes: number, segment: number, at: number): boolean {
    const last = this.rows.at(-1);
    if (last?.segment === segment && (segment === ZEROS || last.at + last.bytes === at)) {
      this.rows[this.rows.length - 1] = { ...last, bytes: last.bytes + bytes };
      return true;
    }
    const { data, files } = this.#spool;
    if (this.rows.length >= limits.placesMax) return false;
    const isNamed = segment === ZEROS || this.#named.has(segment);
    const arrived = segment >= ARRIVED ? this.#beneath : null;
    const file = isNamed ? '' : (arrived?.file ?? files.path(segment));
    this.#bytes += ROW_BYTES + Buffer.byteLength(file);
    if (this.#bytes > limits.placesBytesMax) return false;
    let ino = this.#named.get(segment) ?? 0;
    if (!isNamed) {
      if (this.#isFull && data.has(segment)) return false;
      try {
        ino = arrived?.ino ?? files.inode(segment);
      } catch {
        // GET says what is wrong with it.
        return false;
      }
      this.#named.set(segment, ino);
      data.lend(segment, this.#untilMs);
    }
    this.rows.push({ offset, bytes, segment, at, ino, file });
    return true;
  }
}
