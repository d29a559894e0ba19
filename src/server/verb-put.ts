/**
 * PUTS: records go to the export directory, if they are for this server, or into the spool.
 *
 * No reply, and no failure but a broken frame: what the file system refuses is held, what there is
 * no room for waits while its client is not read (paper, 3.2). Checksums are verified before a byte
 * goes anywhere. Repeats are dropped by the sender's number.
 */
import { write } from 'node:fs';
import { promisify } from 'node:util';
import { crc32c } from '../base/crc32c.ts';
import { NEVER, sleep } from '../base/deadline.ts';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { native } from '../base/addon.ts';
import { type Frame, FRAME_FLAGS, PREFIX_BYTES, PUTS_TYPE } from '../protocol/frame.ts';
import {
  decodeHead,
  decodeSound,
  FLAGS,
  headBytes,
  KIND,
  measure,
  recordBytes,
  type RecordHeader,
} from '../protocol/operation.ts';
import type { Extent } from '../spool/data.ts';
import { saysFull } from '../spool/room.ts';
import type { Incoming } from '../spool/spool.ts';
import { appendAtOnce, appendWhenRoom, reserveWhenRoom, RETRY_MS } from './append.ts';
import type { Reason } from './notices.ts';
import type { Session } from './session.ts';

const writeFile = promisify(write);

/** Handed to the addon at a time by one connection, so that others get its threads as well. */
const BURST_BLOCKS_MAX = 32;
/** As many as that into the spool, where room has to be reserved for them. */
const SPOOLED_BLOCKS_MAX = 8;

/** Flags that the bulk path can do without looking at each record. */
const BULK_FLAGS = FLAGS.CREATE | FLAGS.PARENTS;

/** The board comes first: its writers had their answers before this client sent. */
export function puts(session: Session, frame: Frame): void | Promise<void> {
  const { board } = session.server;
  if (board?.isBehind !== true) return putsNow(session, frame);
  return board.drained().then(() => putsNow(session, frame));
}

function putsNow(session: Session, frame: Frame): void | Promise<void> {
  const records = readRecords(session, frame.body);
  const fresh = records.filter(({ head }) => !isRepeat(session, head));
  if (fresh.length === 0 || spoolAtOnce(session, fresh)) return undefined;
  return take(session, fresh);
}

/**
 * The common case of a first hop: all of them go into the log, and there is room. False: nothing
 * was done. A wait that is over at once would still cost more than the rest of a small record.
 */
function spoolAtOnce(session: Session, records: readonly Incoming[]): boolean {
  const { server } = session;
  let bytes = 0;
  for (const record of records) {
    if (server.isDestinationOf(record.head) || isLarge(record)) return false;
    bytes += record.bytes.length;
  }
  if (!appendAtOnce(session, bytes, records)) return false;
  for (const { head } of records) server.board?.noteOther(head);
  return true;
}

/** The records of a PUTS body, each checked. @throws KangarooError PROTOCOL, CORRUPT */
function readRecords(session: Session, body: Buffer): Incoming[] {
  const { payloadBytesMax, pathBytesMax, extensionBytesMax } = limits;
  const isSound = native?.checkRecords(body, payloadBytesMax, pathBytesMax, extensionBytesMax);
  const records: Incoming[] = [];
  let at = 0;
  while (at < body.length) {
    // Where something is wrong, the slower way finds the words for it.
    if (isSound !== true) checkRecord(body, at);
    const head = decodeSound(body, at);
    if (typeof head === 'string') throw new KangarooError('CORRUPT', `a record: ${head}`);
    const external = (head.flags & FLAGS.EXTERNAL) !== 0;
    if (external) checkGranted(session, head);
    const end = at + recordBytes(head);
    records.push({
      bytes: body.subarray(at, end),
      head,
      senderId: session.senderId,
      place: external ? [head.payloadSegment, head.payloadOffset] : null,
    });
    at = end;
  }
  return records;
}

function checkRecord(body: Buffer, at: number): void {
  const size = measure(body, at);
  if (size === null || at + size.total > body.length) {
    throw new KangarooError('PROTOCOL', 'PUTS: the frame does not hold whole records');
  }
  const head = decodeHead(body, at);
  if (typeof head === 'string') throw new KangarooError('CORRUPT', `a record: ${head}`);
  const payload = body.subarray(at + size.head, at + size.total);
  if (payload.length > 0 && crc32c(payload) !== head.payloadCrc) {
    throw new KangarooError('CORRUPT', `record ${head.seq}: payload checksum`);
  }
}

/** A payload in a data segment must lie where this client was granted room. */
function checkGranted(session: Session, head: RecordHeader): void {
  const end = head.payloadOffset + head.payloadBytes;
  const granted = session.grants.find(
    ({ extent }) =>
      extent.segment === head.payloadSegment &&
      extent.offset <= head.payloadOffset &&
      end <= extent.offset + extent.bytes,
  );
  if (granted === undefined) {
    throw new KangarooError('PROTOCOL', `record ${head.seq}: its payload is outside of any grant`);
  }
  granted.usedBytes = Math.max(granted.usedBytes, end - granted.extent.offset);
}

function isRepeat(session: Session, head: RecordHeader): boolean {
  return session.server.spool.taken.has(session.senderId, head.seq);
}

/**
 * Takes fresh records in order; resolves when all of them are taken. After every wait it looks
 * whether the session has ended meanwhile: its sender may send the same again on a new one, and
 * what is behind it, so that to go on would put the older bytes over the newer ones.
 */
async function take(session: Session, records: readonly Incoming[]): Promise<void> {
  const { server } = session;
  let from = 0;
  while (from < records.length) {
    const first = records[from] as Incoming;
    if (server.isDestinationOf(first.head) && !server.stuck.inTheWay(first.head)) {
      await apply(session, first);
      server.board?.noteOther(first.head);
      from += 1;
      continue;
    }
    const isOwn = server.isDestinationOf(first.head);
    // What came before it and was applied at once must not come again behind it.
    if (isOwn) await server.destination?.sync();
    let to = from + 1;
    // Neighbours that take the same way go into the log with one write.
    while (
      to < records.length &&
      !isOwn &&
      !server.isDestinationOf((records[to] as Incoming).head)
    ) {
      to += 1;
    }
    const run = records.slice(from, to);
    await placeAndAppend(session, run);
    for (const { head } of run) server.board?.noteOther(head);
    from = to;
  }
}

async function apply(session: Session, incoming: Incoming): Promise<void> {
  const { server } = session;
  const { head } = incoming;
  const payload =
    incoming.place !== null
      ? await server.spool.files.read(incoming.place[0], incoming.place[1], head.payloadBytes)
      : head.payloadBytes > 0
        ? incoming.bytes.subarray(headBytes(head))
        : null;
  if (incoming.place !== null && payload !== null && crc32c(payload) !== head.payloadCrc) {
    throw new KangarooError('CORRUPT', `record ${head.seq}: payload checksum`);
  }
  for (;;) {
    if (server.destination?.mustSettle(head) === true) await server.destination.settle(head);
    session.assertOpen();
    let reason: Reason | null;
    try {
      reason = server.destination?.apply(incoming, payload) ?? null;
    } catch (error) {
      if (errnoOf(error) === null) throw error;
      // Out of descriptors or memory: nothing that the sender could mend.
      server.logger.warn({ err: error }, 'short of resources, trying again');
      await sleep(RETRY_MS, session.ended);
      continue;
    }
    if (reason === null) return;
    // Refused: kept here until it can be applied, behind what was applied before it.
    await server.destination?.sync();
    await placeAndAppend(session, [incoming]);
    return;
  }
}

/** Has it to be put in a data segment first? */
function isLarge({ head, place }: Incoming): boolean {
  return place === null && head.payloadBytes > limits.inlinePayloadBytesMax;
}

/** Appends to the spool, waiting for room as long as it takes, or until the session ends. */
async function placeAndAppend(session: Session, records: readonly Incoming[]): Promise<void> {
  const { spool } = session.server;
  const extents: Extent[] = [];
  let taken = false;
  try {
    const placed = await placeLargePayloads(session, records, extents);
    await append(session, placed);
    taken = true;
  } finally {
    for (const extent of extents) spool.data.giveBack(extent, taken ? extent.bytes : 0);
  }
}

async function append(session: Session, records: readonly Incoming[]): Promise<void> {
  let bytes = 0;
  for (const record of records) bytes += record.bytes.length;
  await appendWhenRoom(session, bytes, () => records);
}

/**
 * Payloads too large for the log go to a data segment (the way without the addon). The room that
 * they got is added to `extents`.
 */
async function placeLargePayloads(
  session: Session,
  records: readonly Incoming[],
  extents: Extent[],
): Promise<readonly Incoming[]> {
  if (!records.some(isLarge)) return records;
  const placed: Incoming[] = [];
  for (const record of records) {
    if (!isLarge(record)) {
      placed.push(record);
      continue;
    }
    const at = headBytes(record.head);
    const extent = await writePayload(session, record.bytes.subarray(at));
    extents.push(extent);
    placed.push({
      ...record,
      bytes: record.bytes.subarray(0, at),
      place: [extent.segment, extent.offset],
    });
  }
  return placed;
}

async function writePayload(session: Session, payload: Buffer): Promise<Extent> {
  const { spool } = session.server;
  for (;;) {
    const extent = await reserveWhenRoom(session, payload.length);
    try {
      await writeAt(spool.data.fd(extent.segment) as number, payload, extent.offset);
      return extent;
    } catch (error) {
      spool.data.giveBack(extent, 0);
      if (!saysFull(error)) throw spool.fail(error);
      spool.noteDiskFull();
      await sleep(RETRY_MS, session.ended);
    }
  }
}

async function writeAt(fd: number, bytes: Buffer, at: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await writeFile(fd, bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}

/**
 * The native way for a run of large blocks of one file. null when the record is not for it.
 * `head` starts at the frame's prefix and holds at least the record's head.
 */
export function putsInBulk(
  session: Session,
  bytes: Buffer,
  socket: number,
): Promise<Buffer> | null {
  const { server } = session;
  const flags = bytes[5] as number;
  if (native === null || (flags & FRAME_FLAGS.REPEATED) !== 0) return null;
  const head = decodeHead(bytes, PREFIX_BYTES);
  if (typeof head === 'string' || head.kind !== KIND.write) return null;
  if ((head.flags & ~BULK_FLAGS) !== 0 || isRepeat(session, head)) return null;
  if (server.board?.isBehind === true) return null;
  if (!server.isDestinationOf(head)) return spoolInBulk(session, bytes, socket, head);
  if (server.stuck.inTheWay(head)) return null;
  return applyInBulk(session, bytes, socket, head);
}

function burstOptions(bytes: Buffer, socket: number, head: RecordHeader) {
  const names = PREFIX_BYTES + 136;
  return {
    socket,
    head: bytes,
    template: bytes.subarray(names, names + head.name.length + head.path.length),
    templateNameBytes: head.name.length,
    kind: KIND.write,
    version: 1,
    flagsAllowed: BULK_FLAGS,
    maxBlocks: BURST_BLOCKS_MAX,
    deadlineMs: limits.linkSilenceMs,
    putsType: PUTS_TYPE,
  };
}

async function applyInBulk(
  session: Session,
  bytes: Buffer,
  socket: number,
  first: RecordHeader,
): Promise<Buffer> {
  const { destination } = session.server;
  if (native === null || destination === null) return bytes;
  let file: { readonly fd: number };
  if (destination.mustSettle(first)) await destination.settle(first);
  session.assertOpen();
  try {
    destination.beginBulk(first);
    file = destination.storage.openForBulk({ ...first, payloadBytes: 0 });
  } catch {
    // It is refused: the normal way finds that again and holds it.
    session.connection.passBulkOnce();
    return bytes;
  }
  try {
    const burst = await native.receiveBurst({
      ...burstOptions(bytes, socket, first),
      file: file.fd,
      mode: 'at-offset',
    });
    const heads = burst.records.map((record) => decoded(record));
    destination.wroteBulk(heads, session.senderId);
    for (const head of heads) session.server.board?.noteOther(head);
    return afterBurst(session, burst.leftover, burst.stop);
  } finally {
    destination.storage.release(first.path);
  }
}

async function spoolInBulk(
  session: Session,
  bytes: Buffer,
  socket: number,
  first: RecordHeader,
): Promise<Buffer> {
  const { server } = session;
  const { spool: target } = server;
  const wanted = SPOOLED_BLOCKS_MAX * limits.payloadBytesMax;
  const room = Math.min(wanted, Math.max(limits.payloadBytesMax, target.limitBytes / 16));
  await target.room(room, NEVER, session.ended);
  session.assertOpen();
  if (native === null) return bytes;
  let extent: Extent;
  try {
    extent = target.reserve(room);
  } catch {
    session.connection.passBulkOnce();
    return bytes;
  }
  let used = 0;
  try {
    const burst = await native.receiveBurst({
      ...burstOptions(bytes, socket, first),
      file: target.data.fd(extent.segment) as number,
      mode: 'append',
      fileOffset: extent.offset,
      capacityBytes: extent.bytes,
      earlyWriteback: false,
    });
    const records = burst.records.map((record, i): Incoming => {
      const head = decoded(record);
      const place = burst.placed[i] as number;
      used = place + head.payloadBytes - extent.offset;
      return {
        bytes: Buffer.from(record.buffer, record.byteOffset, record.byteLength),
        head,
        senderId: session.senderId,
        place: [extent.segment, place],
      };
    });
    if (records.length > 0) await placeAndAppend(session, records);
    for (const { head } of records) server.board?.noteOther(head);
    return afterBurst(session, burst.leftover, burst.stop);
  } finally {
    target.data.giveBack(extent, used);
  }
}

function decoded(record: Uint8Array): RecordHeader {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  const head = decodeHead(bytes);
  if (typeof head === 'string') throw new KangarooError('CORRUPT', `a record: ${head}`);
  return head;
}

/** What the burst did not want goes on; what it could not do is done the normal way, to be held. */
function afterBurst(session: Session, leftover: Buffer, stop: string): Buffer {
  if (stop === 'closed') {
    session.connection.close(new KangarooError('DISCONNECTED', 'closed in mid-block'));
  } else if (stop === 'deadline') {
    session.connection.close(new KangarooError('DISCONNECTED', 'stalled in mid-block'));
  } else if (stop === 'corrupt') {
    throw new KangarooError('CORRUPT', 'a record: checksum');
  } else if (stop === 'error') {
    session.connection.passBulkOnce();
  }
  return leftover;
}
