/**
 * The table of refusals: what a destination's errno means to people.
 *
 * A refused operation is held in the destination's spool (architecture, decision 12). The row says
 * what happened, what to do, who can do it, and whether it is worth trying again without anybody
 * saying so, because space may be made or a disk may come back. Pure: an errno name goes in, a row
 * comes out. Texts follow a path: "out/a.dat: no permission to write there".
 *
 * It does not cover the server's own shortages (no descriptor, no memory, an interrupted call):
 * those say nothing about the file, and the operation is simply applied again.
 */
import { type ErrorCode, errnoOf, KangarooError } from '../base/errors.ts';

/** Who can mend it: who sent it, who owns the export directory, who runs the machine. */
export type Mender = 'sender' | 'owner' | 'administrator';

export interface Refusal {
  /** The errno's name, as in errno(3). */
  readonly errno: string;
  /** What happened: one clause to put behind the path. */
  readonly text: string;
  /** What to do: one clause in the imperative. */
  readonly advice: string;
  readonly whoMends: Mender;
  /** May it pass later although nobody touched it? Tried every limits.heldRetryEveryMs then. */
  readonly retriesItself: boolean;
}

type Row = Omit<Refusal, 'errno'>;

function row(whoMends: Mender, retriesItself: boolean, text: string, advice: string): Row {
  return { whoMends, retriesItself, text, advice };
}

const REFUSALS: Readonly<Record<string, Row>> = {
  EACCES: row(
    'owner',
    false,
    'the server has no permission there',
    'give the account of the server access to it, then kangaroo retry',
  ),
  EPERM: row(
    'owner',
    false,
    'the operation is not permitted on it',
    'see who owns it and whether it is immutable (lsattr), then kangaroo retry',
  ),
  EROFS: row(
    'administrator',
    false,
    'the file system is read-only',
    'mount it writable, then kangaroo retry',
  ),
  ENOSPC: row('owner', true, 'no space is left', 'make room; it goes on by itself'),
  EDQUOT: row(
    'owner',
    true,
    'the disk quota is used up',
    'make room or raise the quota; it goes on by itself',
  ),
  EISDIR: row(
    'sender',
    false,
    'there is a directory of that name',
    'remove or rename the directory, then kangaroo retry; or kangaroo discard',
  ),
  ENOTDIR: row(
    'sender',
    false,
    'a part of the path is not a directory',
    'remove or rename what is in the way, then kangaroo retry; or kangaroo discard',
  ),
  ENAMETOOLONG: row(
    'sender',
    false,
    'the name is too long for the file system',
    'put it under a shorter name and kangaroo discard this one',
  ),
  ELOOP: row(
    'owner',
    false,
    'the path leads through a symbolic link that is not followed',
    'replace the link by a directory, then kangaroo retry',
  ),
  EXDEV: row(
    'owner',
    false,
    'the path leads out of the export directory or to another file system',
    'keep both names on one file system below the export directory, then kangaroo retry',
  ),
  EFBIG: row(
    'administrator',
    false,
    'the file is larger than the file system or a limit allows',
    'raise the limit (ulimit -f), then kangaroo retry; or kangaroo discard',
  ),
  ENOTEMPTY: row(
    'sender',
    false,
    'the directory is not empty',
    'empty it, then kangaroo retry; or kangaroo discard',
  ),
  EEXIST: row(
    'sender',
    false,
    'something of that name is there already',
    'remove or rename it, then kangaroo retry; or kangaroo discard',
  ),
  // Tried again by itself: a directory may be on its way in an operation that was overtaken.
  ENOENT: row(
    'sender',
    true,
    'the file or a directory above it does not exist',
    'make it, and it goes on by itself; or kangaroo discard',
  ),
  EINVAL: row(
    'sender',
    false,
    'it is no regular file, or the file system cannot do that',
    'see what lies under that name, then kangaroo retry; or kangaroo discard',
  ),
  ENXIO: row(
    'owner',
    false,
    'it is a pipe, socket or device and not a file',
    'remove or rename it, then kangaroo retry',
  ),
  ENODEV: row(
    'owner',
    false,
    'it is a device that is not there',
    'remove or rename it, then kangaroo retry',
  ),
  ETXTBSY: row(
    'owner',
    true,
    'it is a program that is running',
    'end the program; it goes on by itself',
  ),
  EMLINK: row(
    'owner',
    false,
    'the directory cannot hold more subdirectories',
    'remove some of them, then kangaroo retry',
  ),
  EBUSY: row('owner', true, 'it is in use by the system', 'end that use; it goes on by itself'),
  EIO: row(
    'administrator',
    true,
    'the disk reported an error',
    'check the disk and the kernel log; it is tried again by itself',
  ),
  EREMOTEIO: row(
    'administrator',
    true,
    'the disk reported an error',
    'check the disk and the kernel log; it is tried again by itself',
  ),
  ESTALE: row(
    'administrator',
    true,
    'the network file system lost track of it',
    'check the file server; it is tried again by itself',
  ),
  ETIMEDOUT: row(
    'administrator',
    true,
    'the network file system does not answer',
    'check the file server; it is tried again by itself',
  ),
  ENOTCONN: row(
    'administrator',
    true,
    'the file system is not connected',
    'mount it again; it is tried again by itself',
  ),
  EUCLEAN: row(
    'administrator',
    false,
    'the file system is damaged',
    'check it (fsck), then kangaroo retry',
  ),
  EBADMSG: row(
    'administrator',
    false,
    'the file system is damaged',
    'check it (fsck), then kangaroo retry',
  ),
  EOPNOTSUPP: row(
    'sender',
    false,
    'the file system cannot do that',
    'kangaroo discard, and do it in another way',
  ),
  ENOSYS: row(
    'sender',
    false,
    'the file system cannot do that',
    'kangaroo discard, and do it in another way',
  ),
  EILSEQ: row(
    'sender',
    false,
    'the file system does not take such a name',
    'put it under another name and kangaroo discard this one',
  ),
  EOVERFLOW: row(
    'sender',
    false,
    'a number in it is too large for the file system',
    'kangaroo discard, and send it with a smaller one',
  ),
};

/** Ours, not the destination's: applied again as soon as there is room. */
const SHORTAGES: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'ENOBUFS',
  'EINTR',
  'EAGAIN',
]);

/** Is this a shortage of the server itself, which says nothing about the file? */
export function isShortage(error: unknown): boolean {
  return SHORTAGES.has(errnoOf(error) ?? '');
}

/**
 * The refusal that an error of Storage.apply means; null when it is none: a shortage of our own,
 * or no errno at all (a fault of the program, which must not be hidden as a held file).
 */
export function refusalOf(error: unknown): Refusal | null {
  const errno = errnoOf(error);
  if (errno === null || SHORTAGES.has(errno)) return null;
  return refusal(errno);
}

/** Where the table's errno names a fact that asking has a code of its own for. */
const READ_CODES: Readonly<Record<string, ErrorCode>> = {
  EACCES: 'DENIED',
  EPERM: 'DENIED',
  EXDEV: 'DENIED',
  ELOOP: 'DENIED',
  ENOENT: 'NOT_FOUND',
  EISDIR: 'IS_DIRECTORY',
  ENOTDIR: 'NOT_DIRECTORY',
  EUCLEAN: 'CORRUPT',
  EBADMSG: 'CORRUPT',
};

/**
 * What a read, a stat or a list of `address` says when the file system refuses it: nothing is held
 * then, somebody waits. What may pass by itself is NOT_YET, a shortage of the server is BUSY, all
 * else that cannot be done to it NOT_SUPPORTED; the text has the errno. What is no errno is handed
 * back as it is.
 */
export function readError(error: unknown, address: string): unknown {
  const errno = errnoOf(error);
  if (errno === null || error instanceof KangarooError) return error;
  if (SHORTAGES.has(errno)) {
    const text = `${address}: the server is short of resources (${errno})`;
    return new KangarooError('BUSY', text, { cause: error });
  }
  const { text, whoMends, retriesItself } = refusal(errno);
  const code = READ_CODES[errno] ?? (retriesItself ? 'NOT_YET' : 'NOT_SUPPORTED');
  const named = text.includes(errno) ? text : `${text} (${errno})`;
  const hint = whoMends === 'sender' ? undefined : READ_HINTS[whoMends];
  return new KangarooError(code, `${address}: ${named}`, { cause: error, hint });
}

const READ_HINTS = {
  owner: 'ask the owner of the export directory there',
  administrator: 'ask who runs that machine: its disk or its kernel log says more',
} as const;

/** The row of an errno's name. One that the table does not know is held and never retried alone. */
export function refusal(errno: string): Refusal {
  const known = Object.hasOwn(REFUSALS, errno) ? REFUSALS[errno] : undefined;
  if (known !== undefined) return { errno, ...known };
  return {
    errno,
    text: `the file system refused it (${errno})`,
    advice: 'see errno(3) for the reason, mend it, then kangaroo retry; or kangaroo discard',
    whoMends: 'owner',
    retriesItself: false,
  };
}

/** The errno names with a text of their own. */
export function knownRefusals(): readonly string[] {
  return Object.keys(REFUSALS);
}
