/**
 * The one table of errors: what can go wrong, what a script sees of it, what a person should do.
 *
 * Every error that leaves a module of Kangaroo is a KangarooError with a code of this table;
 * callers
 * match on `code`, never on the text. The same code travels on the wire in an ERROR frame, so the
 * command, the library and every hop speak of one thing in the same words. Exit statuses are the
 * contract of `kangaroo` and follow sysexits(3) where that has one.
 *
 * It does not translate errno values of a destination: those are refusals, see server/refusal.ts.
 */

import { constants } from 'node:os';

interface ErrorRow {
  /** Exit status of the command that ends with this error. */
  readonly exitStatus: number;
  /** May the same request be sent again and succeed without anybody mending anything? */
  readonly retryable: boolean;
  /** What to do next, one clause; a thrower that knows better passes its own. */
  readonly hint: string;
}

export const ERRORS = {
  USAGE: { exitStatus: 2, retryable: false, hint: 'see kangaroo help' },
  NOT_FOUND: { exitStatus: 1, retryable: false, hint: 'check the address with kangaroo ls' },
  EXISTS: { exitStatus: 1, retryable: false, hint: 'choose another name or remove it first' },
  IS_DIRECTORY: { exitStatus: 1, retryable: false, hint: 'name a file in it, or use -r' },
  NOT_DIRECTORY: { exitStatus: 1, retryable: false, hint: 'name a directory' },
  NOT_EMPTY: { exitStatus: 1, retryable: false, hint: 'use rm -r' },
  NOT_SUPPORTED: { exitStatus: 1, retryable: false, hint: 'see the README for what is supported' },
  LOCAL_FILE: { exitStatus: 1, retryable: false, hint: 'check the local file' },
  CORRUPT: { exitStatus: 1, retryable: false, hint: 'run kangaroo check on the spool' },
  PROTOCOL: { exitStatus: 1, retryable: false, hint: 'is this the address of a Kangaroo server?' },
  VERSION: { exitStatus: 1, retryable: false, hint: 'install the newer release on this side' },
  TOO_LARGE: { exitStatus: 1, retryable: false, hint: 'send it in smaller pieces' },
  NO_ROUTE: { exitStatus: 1, retryable: false, hint: 'add a --route for that name to the server' },
  LOOP: { exitStatus: 1, retryable: false, hint: 'correct the --route tables of these servers' },
  SPOOL_IN_USE: {
    exitStatus: 1,
    retryable: false,
    hint: 'stop the other server or name another --spool',
  },
  INTERNAL: { exitStatus: 1, retryable: false, hint: 'please report this with the server log' },
  UNREACHABLE: {
    exitStatus: 69,
    retryable: true,
    hint: 'start it with kangaroo server, or name another with --server',
  },
  HELD: { exitStatus: 73, retryable: false, hint: 'kangaroo messages tells what to mend' },
  NOT_YET: { exitStatus: 75, retryable: true, hint: 'nothing is lost; try again later' },
  BUSY: { exitStatus: 75, retryable: true, hint: 'try again in a moment' },
  SPOOL_FAILED: {
    exitStatus: 75,
    retryable: true,
    hint: 'mend the spool disk and start the server again',
  },
  DISCONNECTED: {
    exitStatus: 75,
    retryable: true,
    hint: 'the outcome is unknown; it is safe to try again',
  },
  DENIED: { exitStatus: 77, retryable: false, hint: 'ask the owner of the server for access' },
  INTERRUPTED: { exitStatus: 130, retryable: true, hint: 'run it again to go on' },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetail {
  /** Overrides the table's hint. */
  hint?: string | undefined;
  cause?: unknown;
}

/** An error with a code of the table; `message` is one line without the hint. */
export class KangarooError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    const { stackTraceLimit } = Error;
    // An answer, not a fault: to walk the stack for it takes longer than to find it.
    if (code === 'NOT_FOUND') Error.stackTraceLimit = 0;
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'KangarooError';
    this.code = code;
    this.hint = detail.hint ?? ERRORS[code].hint;
  }

  get exitStatus(): number {
    return ERRORS[this.code].exitStatus;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }
}

/** Is `code` one that this release knows? A newer server may send one that it does not. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** The one-line form of any error for standard error: what failed, and what to do next. */
export function explain(error: unknown): string {
  const known = asKangarooError(error);
  return oneLine(`${known.message} (${known.hint})`);
}

/** Any thrown value as a KangarooError; what is not one already becomes INTERNAL. */
export function asKangarooError(error: unknown): KangarooError {
  if (error instanceof KangarooError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new KangarooError('INTERNAL', text, { cause: error });
}

/**
 * The errno name of a failed system call ('ENOENT'), or null when it is something else. By number
 * where libuv has no name for it (EDQUOT, ESTALE).
 */
export function errnoOf(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || error instanceof KangarooError) return null;
  const { code, errno } = error as { readonly code?: unknown; readonly errno?: unknown };
  if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)) return code;
  if (typeof errno !== 'number' || !Number.isInteger(errno) || errno >= 0) return null;
  const known = Object.entries(constants.errno).find(([, number]) => number === -errno);
  return known?.[0] ?? `E${-errno}`;
}

/** File names are bytes of strangers: control characters must not reach a terminal or a log. */
function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => {
    return `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}
