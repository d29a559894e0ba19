/**
 * Can the library reach a program? Looked up before it is started, from its file: a program without
 * a dynamic loader never loads the library, and one that runs with another account's rights is not
 * let. It would run, and see no /kangaroo, which is worth a line.
 *
 * It judges the program that is named and, for a script, its interpreter; what those start in turn
 * is not looked at. A program that cannot be read or is of no known form is left to the kernel.
 */
import { accessSync, closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** An interpreter may be a script again, execve(2); the kernel follows a few. */
const SCRIPTS_MAX = 4;
/** The kernel reads this much of a `#!` line. */
const HEAD_BYTES = 256;
const PT_INTERP = 3;
const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;
/** e_machine of elf(5) for what Node calls the architecture. */
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** Whose rights the program is started with. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export type Found =
  | { readonly path: string }
  /** As a shell has it: 127 there is none, 126 it is there and cannot be run. */
  | { readonly status: 126 | 127; readonly why: string };

/** Where execvp(3) would find `name`: as it stands when it has a slash, else in `pathList`. */
export function findProgram(name: string, pathList: string | undefined): Found {
  if (name.includes('/')) return judged(name) ?? { path: name };
  let refused: Found = { status: 127, why: 'not found' };
  for (const directory of (pathList ?? '/bin:/usr/bin').split(':')) {
    const path = join(directory === '' ? '.' : directory, name);
    const problem = judged(path);
    if (problem === null) return { path: path.includes('/') ? path : `./${path}` };
    if ('status' in problem && problem.status === 126) refused = problem;
  }
  return refused;
}

/** Why `path` cannot be run; null when it can be tried. */
function judged(path: string): Found | null {
  try {
    if (statSync(path).isDirectory()) return { status: 126, why: 'it is a directory' };
    accessSync(path, constants.X_OK);
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { status: 127, why: 'not found' };
    return { status: 126, why: code === 'EACCES' ? 'not executable' : (code ?? 'not readable') };
  }
}

/**
 * Why the library does not reach the program at `path`, as one clause that names the file; null
 * when it does, or when nothing can be said.
 */
export function whyNotReached(
  path: string,
  pathList: string | undefined,
  account: Account | null = ownAccount(),
  architecture: string = process.arch,
): string | null {
  let file = path;
  for (let scripts = 0; scripts <= SCRIPTS_MAX; scripts++) {
    const look = lookAt(file);
    if (look === null) return null;
    const { head, mode, uid, gid } = look;
    if (head.toString('latin1', 0, 2) === '#!') {
      // The set-user-ID bit of a script means nothing on Linux.
      const next = interpreterOf(head, pathList);
      if (next === null) return null;
      file = next;
      continue;
    }
    const foreign = account !== null && hasForeignRights({ mode, uid, gid }, account);
    if (foreign) return `${file} runs with rights of its own (set-user-ID or set-group-ID)`;
    const why = whyNotThisElf(file, head, architecture);
    return why === null ? null : `${file} ${why}`;
  }
  return null;
}

interface Look {
  readonly head: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

function lookAt(file: string): Look | null {
  try {
    const fd = openSync(file, 'r');
    try {
      const { mode, uid, gid } = fstatSync(fd);
      const head = Buffer.alloc(HEAD_BYTES);
      const bytes = readSync(fd, head, 0, HEAD_BYTES, 0);
      return { head: head.subarray(0, bytes), mode, uid, gid };
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}

/** The program that a `#!` line starts; that of `env NAME` is looked up. */
function interpreterOf(head: Buffer, pathList: string | undefined): string | null {
  const line = head.toString('latin1', 2).split('\n')[0] ?? '';
  const words = line.trim().split(/[ \t]+/);
  const [interpreter = ''] = words;
  if (interpreter === '') return null;
  if (interpreter.split('/').at(-1) !== 'env') return interpreter;
  const name = words.slice(1).find((word) => !word.startsWith('-') && !word.includes('='));
  if (name === undefined) return interpreter;
  const found = findProgram(name, pathList);
  return 'path' in found ? found.path : null;
}

function hasForeignRights(file: Omit<Look, 'head'>, account: Account): boolean {
  const otherUser = (file.mode & SET_USER_ID) !== 0 && file.uid !== account.uid;
  const otherGroup = (file.mode & SET_GROUP_ID) !== 0 && file.gid !== account.gid;
  return otherUser || otherGroup;
}

/** elf(5): the class at byte 4, the byte order at 5, e_machine at 18, the program headers. */
function whyNotThisElf(file: string, head: Buffer, architecture: string): string | null {
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46) return null;
  if (head[4] !== 2) return 'is a 32-bit program';
  const machine = MACHINES[architecture];
  if (head[5] !== 1 || (machine !== undefined && head.readUInt16LE(18) !== machine)) {
    return 'is a program of another architecture';
  }
  return hasInterpreter(file, head) === false ? 'is linked statically' : null;
}

/** Has it a PT_INTERP header? null: it cannot be read. */
function hasInterpreter(file: string, head: Buffer): boolean | null {
  const at = Number(head.readBigUInt64LE(32));
  const size = head.readUInt16LE(54);
  const count = head.readUInt16LE(56);
  if (size < 56 || count === 0 || count > 1_024) return null;
  try {
    const fd = openSync(file, 'r');
    try {
      const table = Buffer.alloc(size * count);
      if (readSync(fd, table, 0, table.length, at) < table.length) return null;
      for (let i = 0; i < count; i++) {
        if (table.readUInt32LE(i * size) === PT_INTERP) return true;
      }
      return false;
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}

function ownAccount(): Account | null {
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  return uid === undefined || gid === undefined ? null : { uid, gid };
}
