/**
 * What a trace of a server's system calls must keep to (SPOOL.md, "Order of durability"): before an
 * answer that promises durability is written, every byte and name it stands for has been synced.
 *
 *   write to a segment -> fdatasync of it ┐
 *   new segment -> fsync of its directory ┴> COMMITTED
 *   write, name in the export -> fsync, or syncfs -> what was taken, in the index -> sync of its
 *   write-ahead log -> COMMITTED, DONE
 *   which file a rename is to move, in the index, synced -> rename
 *
 * ext4 would forgive a forgotten fsync of a directory at a power cut; this does not. Pure: calls go
 * in, complaints come out. It sees what goes through system calls: no mapped memory.
 */
import { PREFIX_BYTES } from '../../src/protocol/frame.ts';
import { MESSAGES } from '../../src/protocol/messages.ts';
import { buffersOf, type Call, openedPath, pathOf } from './strace.ts';

export const TRACED = [
  ...['openat', 'openat2', 'mkdirat', 'rename', 'renameat', 'renameat2', 'unlink', 'unlinkat'],
  ...['write', 'writev', 'sendto', 'sendmsg', 'pwrite64', 'pwritev', 'pwritev2', 'ftruncate'],
  ...['fsync', 'fdatasync', 'syncfs'],
];
/** strace arguments for a trace that can be linted. */
export const TRACE_ARGS = ['-y', '-x', '-s', '64', '-ttt', '-e', `trace=${TRACED.join(',')}`];

const PROMISES: ReadonlySet<number> = new Set([MESSAGES.COMMITTED.type, MESSAGES.DONE.type]);
const WRITES = new Set(['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'ftruncate']);
const SENDS = new Set(['write', 'writev', 'sendto', 'sendmsg']);
const SYNCS = new Set(['fsync', 'fdatasync', 'syncfs']);
const RENAMES = new Set(['rename', 'renameat', 'renameat2']);

export interface Places {
  readonly spool: string;
  /** null: the server has none. */
  readonly exportDirectory: string | null;
}

/** One change that a later promise stands for. */
interface Change {
  readonly what: string;
  readonly ended: number;
  /** What has to be synced: a file's or a directory's path. */
  readonly path: string;
  readonly inExport: boolean;
}

export interface Lint {
  /** Promises that were looked at: an answer with at least one change before it. */
  readonly promises: number;
  /** Syncs of the index's write-ahead log. */
  readonly indexSyncs: number;
  readonly complaints: readonly string[];
}

export function lint(calls: readonly Call[], places: Places): Lint {
  const done = calls.filter(({ result }) => !result.startsWith('-1'));
  const changes = done.flatMap((call) => changesOf(call, places));
  const syncs = done.filter(({ name }) => SYNCS.has(name));
  const wal = `${places.spool}/index.db-wal`;
  const walSyncs = syncs.filter((call) => pathOf(call) === wal);
  const complaints: string[] = [];
  let promises = 0;
  const answers = done.filter(isPromise);
  for (const [i, answer] of answers.entries()) {
    const previous = answers[i - 1]?.began ?? 0;
    const before = changes.filter(({ ended }) => ended < answer.began);
    if (before.length > 0) promises += 1;
    for (const change of before) {
      const sync = syncs.find((call) => covers(call, change) && call.ended < answer.began);
      if (sync === undefined) {
        // It may have come behind the request, while the answer was being made. After the last
        // answer of a trace there is nothing of that kind.
        const isRecent = change.ended > previous || isBesideSync(change, syncs, answer);
        if (answer !== answers.at(-1) && isRecent) continue;
        complaints.push(`line ${answer.began}: answered, and ${change.what} was not synced`);
      } else if (change.inExport) {
        const noted = walSyncs.some(
          ({ began, ended }) => began > sync.ended && ended < answer.began,
        );
        if (!noted) {
          complaints.push(`line ${answer.began}: answered, and what was taken is not in the index`);
        }
      }
    }
  }
  for (const call of done.filter(({ name }) => RENAMES.has(name))) {
    const isExport =
      places.exportDirectory !== null && pathOf(call).startsWith(places.exportDirectory);
    if (isExport && !walSyncs.some(({ ended }) => ended < call.began)) {
      complaints.push(`line ${call.began}: a rename that was not noted before`);
    }
  }
  complaints.push(...unlinkedEarly(done, changes, walSyncs, places));
  return { promises, indexSyncs: walSyncs.length, complaints };
}

/** Did it come while a sync before the answer was running? */
function isBesideSync(change: Change, syncs: readonly Call[], answer: Call): boolean {
  return syncs.some(({ began, ended }) => began < change.ended && ended < answer.began);
}

/** A segment goes only when the index durably says that nothing in it is needed. */
function unlinkedEarly(
  calls: readonly Call[],
  changes: readonly Change[],
  walSyncs: readonly Call[],
  { spool }: Places,
): string[] {
  return calls.flatMap((call) => {
    const path = call.name === 'unlink' ? (/^"([^"]*)"/.exec(call.args)?.[1] ?? '') : '';
    if (!path.startsWith(`${spool}/segments/`)) return [];
    const last = Math.max(-1, ...changes.filter((c) => c.path === path).map((c) => c.ended));
    const noted = walSyncs.some(({ began, ended }) => began > last && ended < call.began);
    return noted ? [] : [`line ${call.began}: ${path} went before the index said so`];
  });
}

function changesOf(call: Call, { spool, exportDirectory }: Places): Change[] {
  const segments = `${spool}/segments`;
  const isOurs = (path: string): boolean => {
    if (path.startsWith(`${segments}/`)) return true;
    return exportDirectory !== null && `${path}/`.startsWith(`${exportDirectory}/`);
  };
  const change = (what: string, path: string): Change[] => {
    if (!isOurs(path) && path !== segments) return [];
    return [{ what, ended: call.ended, path, inExport: !path.startsWith(segments) }];
  };
  if (WRITES.has(call.name)) return change(`${call.name} of ${pathOf(call)}`, pathOf(call));
  if (call.name.startsWith('open') && call.args.includes('O_CREAT')) {
    const path = openedPath(call);
    return change(`the name ${path}`, path.slice(0, path.lastIndexOf('/')));
  }
  if (call.name === 'mkdirat') return change(`mkdir in ${pathOf(call)}`, pathOf(call));
  if (RENAMES.has(call.name)) return change(`rename in ${pathOf(call)}`, pathOf(call));
  return [];
}

/** Did the sync begin behind the change, and is it of that file, or of all of its file system? */
function covers(call: Call, { ended, path, inExport }: Change): boolean {
  if (call.began <= ended) return false;
  return call.name === 'syncfs' ? inExport : pathOf(call) === path;
}

function isPromise(call: Call): boolean {
  return SENDS.has(call.name) && buffersOf(call).some((bytes) => hasPromise(bytes));
}

/** Walks the frames of a buffer as far as it was traced. */
function hasPromise(bytes: Buffer): boolean {
  for (let at = 0; at + PREFIX_BYTES <= bytes.length;) {
    // Bytes 6 and 7 are zero in every frame, and hardly ever in anything else.
    if (bytes.readUInt16LE(at + 6) !== 0) return false;
    if (PROMISES.has(bytes[at + 4] as number)) return true;
    at += PREFIX_BYTES + bytes.readUInt32LE(at);
  }
  return false;
}

/** When the last answer of `type` was written, in seconds; 0: never. */
export function answeredAt(calls: readonly Call[]): number {
  return calls.filter(isPromise).at(-1)?.endedAt ?? 0;
}
