/**
 * Errors in the form of Node's own system errors: making them, for what the storage finds out by
 * itself (a path goes through a symbolic link, something is no regular file), and their names.
 *
 * They carry `code` ('ELOOP'), `errno` (negative), `syscall` and `path`, so that whoever catches an
 * error need not know whether the kernel or Kangaroo refused. Texts for people: refusal.ts.
 */
import { constants } from 'node:os';

type ErrnoName = keyof typeof constants.errno;

export function errnoError(code: ErrnoName, syscall: string, path: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${syscall} '${path}'`);
  error.code = code;
  error.errno = -constants.errno[code];
  error.syscall = syscall;
  error.path = path;
  return error;
}
