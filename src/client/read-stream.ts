/**
 * Reading a file through the first hop: one GET after the other, a few of them ahead of the reader.
 *
 * Pieces have limits.getBytesMax; how many are asked for ahead grows with every full one up to
 * limits.getsAheadMax, because only a short piece tells where the file ends. So memory stays
 * constant, a small file is one question, and a reader that stops makes everything stop. A lost
 * connection is taken up where it broke. The file may change while it is read, as on a local disk.
 */
import { deadlineIn, toWireMs } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage } from '../protocol/messages.ts';
import { type Address, formatAddress } from '../route/address.ts';
import { callOf } from './call-options.ts';
import type { Session, Wait } from './session.ts';

export interface PieceRange {
  readonly offset: number;
  /** At most limits.getBytesMax. */
  readonly length: number;
}

export interface Piece {
  readonly chunks: readonly Buffer[];
  readonly bytes: number;
}

/** One GET. Shorter than asked only at the end of the file. @throws KangarooError */
export async function getPiece(
  session: Session,
  address: Address,
  range: PieceRange,
  wait: Wait,
): Promise<Piece> {
  const where = formatAddress(address.name, address.path);
  const chunks: Buffer[] = [];
  let bytes = 0;
  let broken = false;
  const onPart = (frame: Frame): void => {
    const data = decodeMessage('DATA', frame);
    broken ||= data.offset !== range.offset + bytes || bytes + data.bytes.length > range.length;
    if (broken || data.bytes.length === 0) return;
    chunks.push(data.bytes);
    bytes += data.bytes.length;
  };
  const found = await session.call(wait, async (connection) => {
    const get = {
      name: address.name,
      path: address.path,
      offset: range.offset + bytes,
      length: range.length - bytes,
      timeoutMs: toWireMs(wait.deadline),
      hops: 0,
    };
    const options = { ...callOf(wait, `read ${where}`), onPart };
    return await connection.ask('GET', get, 'FOUND', options);
  });
  // Short means the end of the file; `size` is only sure to be the whole file's then.
  if (broken || (bytes < range.length && found.size > range.offset + bytes)) {
    throw new KangarooError('PROTOCOL', `read ${where}: ${bytes} bytes came, more were announced`);
  }
  return { chunks, bytes };
}

/**
 * The file's bytes from `offset` on, `length` of them or up to the end. Each piece may take
 * `timeoutMs`, however long the whole is.
 */
export async function* readRange(
  session: Session,
  address: Address,
  range: { readonly offset: number; readonly length: number },
  wait: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Buffer, void, undefined> {
  const leaving = new AbortController();
  const signal =
    wait.signal === undefined ? leaving.signal : AbortSignal.any([leaving.signal, wait.signal]);
  let asked = range.offset;
  let aheadMax = 1;
  const end = range.offset + range.length;
  const ahead: { readonly length: number; readonly piece: Promise<Piece> }[] = [];
  const ask = (): void => {
    const length = Math.min(limits.getBytesMax, end - asked);
    const deadline = deadlineIn(wait.timeoutMs);
    const piece = getPiece(session, address, { offset: asked, length }, { deadline, signal });
    // Those behind a failed one fail too, and nobody asks how.
    piece.catch(() => {});
    ahead.push({ length, piece });
    asked += length;
  };
  try {
    ask();
    for (let next = ahead.shift(); next !== undefined; next = ahead.shift()) {
      const { chunks, bytes } = await next.piece;
      const over = bytes < next.length;
      aheadMax = Math.min(aheadMax * 2, limits.getsAheadMax);
      while (!over && asked < end && ahead.length < aheadMax) ask();
      yield* chunks;
      if (over) return;
    }
  } finally {
    leaving.abort();
  }
}
