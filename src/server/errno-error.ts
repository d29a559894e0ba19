/**
 * Errors in the form of Node's own system errors: making them, for what the storage finds out itself
 * (a path goes through a symbolic link, something is no regular file), and telling their names.
 *
 * They carry `code` ('ELOOP'), `errno` (negative), `syscall` and `path`, so that whoever catches an
 * error need not know whether the kernel or Kangaroo refused. Texts for people: refusal.ts.
 */
import { constants } from 'node:os';
import { errnoOf } from '../base/errors.ts';

type ErrnoName = keyof typeof constants.errno;

export function errnoError(code: ErrnoName, syscall: string, path: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${syscall} '${path}'`);
  error.code = code;
  error.errno = -constants.errno[code];
  error.syscall = syscall;
  error.path = path;
  return error;
}

/**
 * The errno's name of a failed system call, null when the error is something else. Node has no name
 * for some that file systems answer (EDQUOT, ESTALE): they have a number alone, and a code like
 * "Unknown system error -122". One that Linux does not name either comes out as "E" and its number.
 */
export function errnoName(error: unknown): string | null {
  const name = errnoOf(error);
  if (name !== null) return name;
  if (typeof error !== 'object' || error === null || !('errno' in error)) return null;
  const { errno } = error;
  if (typeof errno !== 'number' || !Number.isInteger(errno) || errno >= 0) return null;
  const known = Object.entries(constants.errno).find(([, number]) => number === -errno);
  return known?.[0] ?? `E${-errno}`;
}
