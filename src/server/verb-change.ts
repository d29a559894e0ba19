/**
 * CHANGE: an adapted program changes names, or a file that it has not open; DONE when that is
 * spooled.
 *
 * As OPEN, each is decided by the rules of the call it stands for (mkdir(2), rename(2), ...) in the
 * turn in which it is spooled, and the slots of files that are open follow in that turn as well.
 */
import { type Deadline, within } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, FOUND_KIND, type Message } from '../protocol/messages.ts';
import { FLAGS, KIND, operation, type Operation } from '../protocol/operation.ts';
import { formatAddress, isWithin, splitPath } from '../route/address.ts';
import { adaptedBoard, spoolOwn } from './adapted.ts';
import type { Board } from './board.ts';
import { Look, LookAgain, type There } from './look.ts';
import type { Session } from './session.ts';
import { assertParent } from './verb-open.ts';

/** `kind` of CHANGE; the numbers of enum kg_change_kind in native/core/core.h. */
export const CHANGE_KIND = { mkdir: 1, rmdir: 2, unlink: 3, rename: 4, set: 5, cut: 6 } as const;

/** `flags` of a rename, as RENAME_NOREPLACE of renameat2(2). */
const NOREPLACE = 1;
const SET_FLAGS = FLAGS.MODE | FLAGS.MTIME | FLAGS.ATIME;

type Request = Message<'CHANGE'>;

interface Changing {
  readonly session: Session;
  readonly board: Board;
  readonly request: Request;
  readonly look: Look;
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
}

interface Change {
  /** What has to be there, or not: whose facts are asked for. */
  readonly paths: (request: Request) => readonly string[];
  /** Directories that a name is made in. */
  readonly parents: (request: Request) => readonly string[];
  /** Further questions, before it is decided. */
  readonly ask?: (changing: Changing) => Promise<void>;
  /** null: nothing has to be done. @throws KangarooError, LookAgain */
  readonly decide: (changing: Changing) => Operation | null;
  readonly after: (changing: Changing, op: Operation) => void;
}

const onlyPath = ({ path }: Request): readonly string[] => [path];
const none = (): readonly string[] => [];

const CHANGES: Readonly<Record<number, Change>> = {
  [CHANGE_KIND.mkdir]: {
    paths: onlyPath,
    parents: ({ path }) => [splitPath(path)[0]],
    decide: mkdir,
    after: ({ board, request: { name, path, mode } }, { flags }) => {
      board.names.knowNew(name, path, mode & 0o777, (flags & FLAGS.PARENTS) !== 0);
    },
  },
  [CHANGE_KIND.rmdir]: {
    paths: onlyPath,
    parents: none,
    ask: async (changing) => await assertEmptyBeneath(changing, changing.request.path),
    decide: rmdir,
    after: afterRemoval,
  },
  [CHANGE_KIND.unlink]: {
    paths: onlyPath,
    parents: none,
    decide: unlink,
    after: afterRemoval,
  },
  [CHANGE_KIND.rename]: {
    paths: ({ path, path2 }) => [path, path2],
    parents: ({ path2 }) => [splitPath(path2)[0]],
    ask: async (changing) => {
      const { path, path2 } = changing.request;
      if (path !== path2) await assertEmptyBeneath(changing, path2);
    },
    decide: rename,
    after: ({ board, request: { name, path, path2 } }) => board.slots.renamed(name, path, path2),
  },
  [CHANGE_KIND.set]: { paths: onlyPath, parents: none, decide: set, after: afterSet },
  [CHANGE_KIND.cut]: { paths: onlyPath, parents: none, decide: cut, after: afterCut },
};

export async function change(session: Session, frame: Frame, signal: AbortSignal): Promise<void> {
  const request = decodeMessage('CHANGE', frame);
  const { server, connection } = session;
  const { name, path, path2, kind, seq } = request;
  const board = adaptedBoard(session, [name, path, path2]);
  const row = CHANGES[kind];
  if (row === undefined) throw new KangarooError('PROTOCOL', `CHANGE of kind ${kind}`);
  const deadline = session.deadline(request.timeoutMs);
  if (board.isBehind) await within(board.drained(), deadline, 'change', signal);
  if (server.spool.taken.has(session.senderId, seq)) {
    connection.send('DONE', {}, frame.callId);
    return;
  }
  const makesName = kind === CHANGE_KIND.mkdir;
  const waitsMs = makesName ? limits.awayLookupMs : Infinity;
  const look = new Look(server, name, row.paths(request), row.parents(request), deadline, waitsMs);
  const changing = { session, board, request, look, deadline, signal };
  try {
    await carryOut(changing, row);
  } finally {
    look.close();
  }
  connection.send('DONE', {}, frame.callId);
}

async function carryOut(changing: Changing, row: Change): Promise<void> {
  const { session, board, request, look, deadline, signal } = changing;
  for (;;) {
    if (board.isBehind) await within(board.drained(), deadline, 'change', signal);
    await look.prepare();
    try {
      // What is refused already need not wait for room.
      row.decide(changing);
      await row.ask?.(changing);
      const decide = (): Operation | null => {
        if (!claim(changing)) throw new LookAgain();
        return row.decide(changing);
      };
      const after = (op: Operation): void => row.after(changing, op);
      await spoolOwn(session, request.name, request.seq, decide, after);
      return;
    } catch (error) {
      if (!(error instanceof LookAgain)) throw error;
    }
  }
}

/** Programs ask for these names from now on. False: one has been made meanwhile. */
function claim({ board, request, look }: Changing): boolean {
  const { kind, name, path, path2 } = request;
  if (kind !== CHANGE_KIND.rename) return board.names.claim(name, path);
  const isDirectory = look.at(path).kind === FOUND_KIND.directory;
  const isFree = isDirectory ? board.names.claimAll(name, path) : board.names.claim(name, path);
  return board.names.claim(name, path2) && isFree;
}

function mkdir({ look, request }: Changing): Operation {
  const { name, path, mode } = request;
  const { kind, isAway } = look.at(path);
  if (kind !== FOUND_KIND.absent) throw failed('EXISTS', name, path);
  assertParent(look, name, splitPath(path)[0]);
  // One that nobody could look at may be there after all, and is what was wanted then.
  const flags = FLAGS.MODE | (isAway ? FLAGS.PARENTS : 0);
  return operation({ kind: KIND.mkdir, name, path, flags, mode: mode & 0o777 });
}

function rmdir(changing: Changing): Operation {
  const { look, request } = changing;
  const { name, path } = request;
  assertMayGo(name, path);
  const there = assertThere(look, name, path);
  if (there.kind !== FOUND_KIND.directory) throw failed('NOT_DIRECTORY', name, path);
  assertEmptyHere(changing, path);
  return operation({ kind: KIND.remove, name, path, flags: FLAGS.DIRECTORY });
}

function unlink({ look, request: { name, path } }: Changing): Operation {
  const there = assertThere(look, name, path);
  if (there.kind === FOUND_KIND.directory) throw failed('IS_DIRECTORY', name, path);
  return operation({ kind: KIND.remove, name, path });
}

function rename(changing: Changing): Operation | null {
  const { look, request } = changing;
  const { name, path, path2, flags } = request;
  assertMayGo(name, path);
  assertMayGo(name, path2);
  const from = assertThere(look, name, path);
  const isDirectory = from.kind === FOUND_KIND.directory;
  const to = look.at(path2);
  const isThere = to.kind !== FOUND_KIND.absent;
  if (isThere && (flags & NOREPLACE) !== 0) throw failed('EXISTS', name, path2);
  if (path === path2) return null;
  if (isWithin(path2, path)) {
    throw new KangarooError('USAGE', `${formatAddress(name, path2)}: is below what is to move`);
  }
  if (!isThere) assertParent(look, name, splitPath(path2)[0]);
  else if (to.kind === FOUND_KIND.directory) {
    if (!isDirectory) throw failed('IS_DIRECTORY', name, path2);
    assertEmptyHere(changing, path2);
  } else if (isDirectory) {
    throw failed('NOT_DIRECTORY', name, path2);
  }
  return operation({ kind: KIND.rename, name, path, path2 });
}

function set({ look, request }: Changing): Operation | null {
  const { name, path, mode, mtimeNs, atimeNs } = request;
  const flags = request.flags & SET_FLAGS;
  assertThere(look, name, path);
  if (flags === 0) return null;
  const attributes = { mode: mode & 0o7777, mtimeNs, atimeNs };
  return operation({ kind: KIND.write, name, path, flags, ...attributes });
}

function cut({ look, request: { name, path, size } }: Changing): Operation {
  const there = assertThere(look, name, path);
  if (there.kind === FOUND_KIND.directory) throw failed('IS_DIRECTORY', name, path);
  return operation({ kind: KIND.write, name, path, flags: FLAGS.TRUNCATE, size });
}

function afterRemoval({ board, request: { name, path } }: Changing): void {
  board.slots.removed(name, path);
  board.names.knowAbsent(name, path, false);
}

function afterSet({ board, request }: Changing): void {
  const { name, path, flags, mode, mtimeNs } = request;
  const slot = board.slots.of(name, path);
  if (slot === null) return;
  board.locked(() => {
    const before = board.slots.facts(slot);
    board.slots.setAttributes(slot, {
      mode: (flags & FLAGS.MODE) !== 0 ? mode & 0o777 : before.mode,
      mtimeNs: (flags & FLAGS.MTIME) !== 0 ? mtimeNs : before.mtimeNs,
    });
  });
}

function afterCut({ board, request: { name, path, size } }: Changing): void {
  const slot = board.slots.of(name, path);
  if (slot === null) return;
  const { mode } = board.slots.facts(slot);
  board.refresh(slot, { size, mode, mtimeNs: BigInt(Date.now()) * 1_000_000n });
  board.slots.changed(slot);
}

/** Below the directory, if it is one, there must be nothing: also not where it is kept. */
async function assertEmptyBeneath(changing: Changing, path: string): Promise<void> {
  const { look, request, session, deadline } = changing;
  if (look.at(path).kind !== FOUND_KIND.directory) return;
  const { server } = session;
  const { name } = request;
  const beneath = server.beneath(name, path, 0);
  const { entries } = await server.reader.list(name, path, '', 1, beneath, deadline);
  if (entries.length > 0) throw failed('NOT_EMPTY', name, path);
}

/** What came to be in it since. */
function assertEmptyHere({ session, request: { name } }: Changing, path: string): void {
  for (const { known } of session.server.spool.view(name).list(path).entries.values()) {
    if (known === 'file' || known === 'directory') throw failed('NOT_EMPTY', name, path);
  }
}

function assertThere(look: Look, name: string, path: string): There {
  const there = look.at(path);
  if (there.kind === FOUND_KIND.absent) throw failed('NOT_FOUND', name, path);
  return there;
}

function assertMayGo(name: string, path: string): void {
  if (path !== '') return;
  throw new KangarooError('DENIED', `${formatAddress(name, path)}: is the export directory`);
}

const TEXTS = {
  NOT_FOUND: 'no such file or directory',
  EXISTS: 'exists',
  IS_DIRECTORY: 'is a directory',
  NOT_DIRECTORY: 'is not a directory',
  NOT_EMPTY: 'is not empty',
} as const;

function failed(code: keyof typeof TEXTS, name: string, path: string): Error {
  return new KangarooError(code, `${formatAddress(name, path)}: ${TEXTS[code]}`);
}
