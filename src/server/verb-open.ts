/**
 * OPEN: an adapted program opens a file or directory. The answer names the slot of the board that
 * stands for it, and its facts.
 *
 * What has to be made or emptied is decided here for all clients of this server, by the rules of
 * open(2), and spooled in the same turn of the event loop in which it was decided: of two exclusive
 * opens one fails. An open that creates does not wait long for a network: a destination that does
 * not answer in limits.awayLookupMs counts as one where the file is not and its directory is.
 */
import { type Deadline, nowMs, within } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, FOUND_KIND, type Message } from '../protocol/messages.ts';
import { FLAGS, KIND, operation, type Operation } from '../protocol/operation.ts';
import { formatAddress, splitPath } from '../route/address.ts';
import { adaptedBoard, spoolOwn } from './adapted.ts';
import type { Board } from './board.ts';
import { inodeNumber, SLOT_KIND } from './board-layout.ts';
import { Look, LookAgain, type There } from './look.ts';
import type { Session } from './session.ts';
import type { OpenSlot } from './slots.ts';

/** `flags` of OPEN; the numbers of KG_OPEN_* in native/core/core.h. */
export const OPEN_FLAGS = {
  CREATE: 1,
  EXCLUSIVE: 2,
  TRUNCATE: 4,
  WRITE: 8,
  DIRECTORY: 16,
} as const;

interface Opening {
  readonly session: Session;
  readonly board: Board;
  readonly request: Message<'OPEN'>;
  readonly look: Look;
  readonly parent: string;
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
}

/** What an open comes to: the file as it was, and what is to be done to it. */
interface Plan {
  readonly there: There;
  readonly op: Operation | null;
}

export async function open(session: Session, frame: Frame, signal: AbortSignal): Promise<void> {
  const request = decodeMessage('OPEN', frame);
  const { server, connection } = session;
  const { name, path, flags } = request;
  const board = adaptedBoard(session, [name, path]);
  const deadline = session.deadline(request.timeoutMs);
  const creates = (flags & OPEN_FLAGS.CREATE) !== 0;
  const [parent] = splitPath(path);
  const waitsMs = creates ? limits.awayLookupMs : Infinity;
  const look = new Look(server, name, [path], creates ? [parent] : [], deadline, waitsMs);
  try {
    const slot = await openSlot({ session, board, request, look, parent, deadline, signal });
    const { index, generation, kind } = slot;
    const facts = board.slots.facts(slot);
    const ino = inodeNumber(name, path);
    connection.send('OPENED', { slot: index, generation, kind, ino, ...facts }, frame.callId);
  } finally {
    look.close();
  }
}

async function openSlot(opening: Opening): Promise<OpenSlot> {
  const { session, board, request, look } = opening;
  for (;;) {
    if (board.isBehind) await within(board.drained(), opening.deadline, 'open', opening.signal);
    await look.prepare();
    await board.roomForSlot(opening.deadline);
    try {
      const planned = plan(opening);
      if (planned.op === null) {
        if (isNumbered(request)) session.server.spool.taken.add(session.senderId, request.seq);
        const slot = slotFor(opening, planned);
        tellOf(opening, planned.there, slot);
        return slot;
      }
      return await makeFile(opening);
    } catch (error) {
      if (!(error instanceof LookAgain)) throw error;
    }
  }
}

/** Appends what has to be done, if that is still so when there is room for it. */
async function makeFile(opening: Opening): Promise<OpenSlot> {
  const { session, board, request } = opening;
  let slot: OpenSlot | null = null;
  let last: Plan | null = null;
  const decide = (): Operation | null => {
    if (!board.names.claim(request.name, request.path)) throw new LookAgain();
    last = plan(opening);
    // Before anything is done: there may be no memory for one.
    slot = slotFor(opening, last);
    return last.op;
  };
  await spoolOwn(session, request.name, request.seq, decide, () => {
    if (slot !== null && last !== null) tellOf(opening, last.there, slot);
  });
  if (slot === null || last === null) throw new KangarooError('INTERNAL', 'open without a plan');
  return slot;
}

/** Programs need not ask for it again, nor perhaps for others that they make beside it. */
function tellOf({ session, board, request, parent }: Opening, there: There, slot: OpenSlot): void {
  const { name, path } = request;
  const kind = slot.kind === SLOT_KIND.directory ? FOUND_KIND.directory : FOUND_KIND.file;
  board.names.know(name, path, { ...there, kind }, slot, false);
  if (there.kind !== FOUND_KIND.absent) return;
  const { known, beneath } = session.server.spool.view(name).lookup(parent);
  const isAllHere = known === 'directory' && beneath === 'none';
  if (there.isAway || isAllHere) board.names.keep(name, parent);
}

/** By the rules of open(2). @throws KangarooError, LookAgain */
function plan({ session, board, request, look, parent }: Opening): Plan {
  const { name, path, flags, mode, seq } = request;
  const { taken } = session.server.spool;
  const isWanted = (flag: number): boolean => (flags & flag) !== 0;
  const address = formatAddress(name, path);
  const isDone = isNumbered(request) && taken.has(session.senderId, seq);
  const there = look.at(path);
  const isThere = there.kind !== FOUND_KIND.absent;
  if (!isThere && !isWanted(OPEN_FLAGS.CREATE)) {
    board.names.knowAbsent(name, path, there.isAway);
    throw new KangarooError('NOT_FOUND', `${address}: no such file or directory`);
  }
  if (isThere && isWanted(OPEN_FLAGS.CREATE) && isWanted(OPEN_FLAGS.EXCLUSIVE) && !isDone) {
    throw new KangarooError('EXISTS', `${address}: exists`);
  }
  if (there.kind === FOUND_KIND.directory) {
    if (isWanted(OPEN_FLAGS.CREATE | OPEN_FLAGS.TRUNCATE | OPEN_FLAGS.WRITE)) {
      throw new KangarooError('IS_DIRECTORY', `${address}: is a directory`);
    }
    return { there, op: null };
  }
  if (isThere && isWanted(OPEN_FLAGS.DIRECTORY)) {
    throw new KangarooError('NOT_DIRECTORY', `${address}: is not a directory`);
  }
  if (!isThere) assertParent(look, name, parent);
  const creates = !isThere ? FLAGS.CREATE | FLAGS.MODE : 0;
  const truncates = isThere && isWanted(OPEN_FLAGS.TRUNCATE) ? FLAGS.TRUNCATE : 0;
  // One that nobody could look at may be there after all.
  const empties = !isThere && there.isAway && isWanted(OPEN_FLAGS.TRUNCATE) ? FLAGS.TRUNCATE : 0;
  const does = creates | truncates | empties;
  if (does === 0 || isDone) return { there, op: null };
  const permissions = creates === 0 ? 0 : mode & 0o777;
  return { there, op: operation({ kind: KIND.write, name, path, flags: does, mode: permissions }) };
}

/** @throws KangarooError NOT_FOUND, NOT_DIRECTORY, LookAgain */
export function assertParent(look: Look, name: string, parent: string): void {
  if (parent === '') return;
  const { kind, isAway } = look.at(parent);
  const address = formatAddress(name, parent);
  if (kind === FOUND_KIND.file || kind === FOUND_KIND.other) {
    throw new KangarooError('NOT_DIRECTORY', `${address}: is not a directory`);
  }
  if (kind === FOUND_KIND.absent && !isAway) {
    throw new KangarooError('NOT_FOUND', `${address}: no such directory`);
  }
}

/** Does it have a number of its own, so that it is done once? */
function isNumbered({ flags, seq }: Message<'OPEN'>): boolean {
  return seq > 0 && (flags & (OPEN_FLAGS.CREATE | OPEN_FLAGS.TRUNCATE)) !== 0;
}

/** The slot of the file, with the facts that it has once the plan is done. */
function slotFor({ board, request }: Opening, { there, op }: Plan): OpenSlot {
  const { name, path } = request;
  const { slots } = board;
  const kind = there.kind === FOUND_KIND.directory ? SLOT_KIND.directory : SLOT_KIND.file;
  const now = BigInt(Date.now()) * 1_000_000n;
  const isNew = there.kind === FOUND_KIND.absent;
  const isEmptied = op !== null;
  const facts = {
    size: isEmptied ? 0 : there.size,
    mode: isNew ? request.mode & 0o777 : there.mode,
    mtimeNs: isEmptied || there.mtimeNs === 0n ? now : there.mtimeNs,
  };
  const known = slots.of(name, path);
  if (known !== null && known.kind !== kind) slots.removed(name, path);
  else if (known !== null) {
    known.givenMs = nowMs();
    bringUpToDate(board, known, there, facts, isEmptied);
    return known;
  }
  const slot = slots.give(name, path, kind, facts, nowMs());
  if (slot === null) throw new LookAgain();
  slot.beneath = there.beneath;
  return slot;
}

/** A file that programs here have open already: they know its size, unless others changed it. */
function bringUpToDate(
  board: Board,
  slot: OpenSlot,
  there: There,
  facts: { readonly size: number; readonly mode: number; readonly mtimeNs: bigint },
  isEmptied: boolean,
): void {
  const { slots } = board;
  const isStale = slots.isStale(slot);
  const before = slots.facts(slot);
  if (there.isAway && !isEmptied) {
    // Whoever could ask nobody knows less than the slot does.
    if (!isStale) return;
    board.refresh(slot, { ...before, size: Math.max(before.size, facts.size) });
    slots.stale(slot.name, slot.path);
    return;
  }
  const isChangedBeneath = there.beneath !== '' && there.beneath !== slot.beneath;
  const isSame = !isStale && !isEmptied && before.size === facts.size;
  // Nobody else has changed it: what programs set here is right, and perhaps not seen beneath yet.
  const mode = isStale || isChangedBeneath ? facts.mode : before.mode;
  board.refresh(slot, { ...facts, mode, ...(isSame ? { mtimeNs: before.mtimeNs } : {}) });
  if (there.beneath !== '') slot.beneath = there.beneath;
  if (isEmptied || isChangedBeneath) slots.changed(slot);
}
