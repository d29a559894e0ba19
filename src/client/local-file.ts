/**
 * Local files as the puts and gets see them: names as bytes, errors with the name in them.
 *
 * A local path is a latin1 string inside, one character a byte, as paths of operations are, because
 * a file's name need not be UTF-8. The calls are synchronous where that is faster by far (a small
 * file is four system calls of microseconds each); bulk data never passes here.
 */
import type { Dir } from 'node:fs';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readSync,
  statSync,
} from 'node:fs';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { toDisplay } from '../route/address.ts';

/** What a put needs to know of a local file. */
export interface LocalFacts {
  readonly kind: 'file' | 'directory' | 'other';
  readonly bytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** Null where it was not asked for. */
  readonly mtimeNs: bigint | null;
}

export type LocalKind = LocalFacts['kind'] | 'symlink';

/** A local path's bytes, for the calls of node:fs. */
export function localBytes(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** A failed call as a LOCAL_FILE error that names the file. */
export function localError(path: string, error: unknown): KangarooError {
  if (error instanceof KangarooError) return error;
  const why = errnoOf(error) ?? (error instanceof Error ? error.message : String(error));
  return new KangarooError('LOCAL_FILE', `${toDisplay(path)}: ${why}`, { cause: error });
}

/** Opens for reading; never waits for the other end of a FIFO. @throws KangarooError LOCAL_FILE */
export function openLocal(path: string): number {
  try {
    return openSync(localBytes(path), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw localError(path, error);
  }
}

export function closeLocal(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // It was only read: there is nothing that a failing close could have lost.
  }
}

/** @throws KangarooError LOCAL_FILE */
export function factsOf(fd: number, path: string, withTimes: boolean): LocalFacts {
  try {
    const facts = fstatSync(fd, { bigint: true });
    const bytes = Number(facts.size);
    const mode = Number(facts.mode) & 0o777;
    const mtimeNs = withTimes ? facts.mtimeNs : null;
    return { kind: kindOf(facts), bytes, mode, mtimeNs };
  } catch (error) {
    throw localError(path, error);
  }
}

/** What a path leads to, links followed. @throws KangarooError LOCAL_FILE */
export function statLocal(path: string): LocalFacts {
  try {
    const facts = statSync(localBytes(path));
    return { kind: kindOf(facts), bytes: facts.size, mode: facts.mode & 0o777, mtimeNs: null };
  } catch (error) {
    throw localError(path, error);
  }
}

/** What a path is, links not followed. @throws KangarooError LOCAL_FILE */
export function kindAt(path: string): LocalKind {
  try {
    const facts = lstatSync(localBytes(path));
    return facts.isSymbolicLink() ? 'symlink' : kindOf(facts);
  } catch (error) {
    throw localError(path, error);
  }
}

/** Fills `target` from the file's start. @throws KangarooError LOCAL_FILE, also when it is short */
export function readWhole(fd: number, target: Buffer, path: string): void {
  let done = 0;
  while (done < target.length) {
    const got = readNow(fd, target, done, path);
    if (got === 0) throw shrunk(path, target.length, done);
    done += got;
  }
}

const probe = Buffer.allocUnsafeSlow(limits.inlinePayloadBytesMax);

/**
 * How much a file gives that says it has 0 bytes: mostly none.
 * @throws KangarooError LOCAL_FILE when it is more than a small file
 */
export function bytesByReading(fd: number, path: string): number {
  let done = 0;
  for (let got = -1; got !== 0 && done < probe.length; done += got) {
    got = readNow(fd, probe, done, path);
  }
  if (done < probe.length) return done;
  throw new KangarooError('LOCAL_FILE', `${toDisplay(path)}: it does not tell its size`, {
    hint: 'put it through a pipe, as -',
  });
}

export function shrunk(path: string, wanted: number, got: number): KangarooError {
  const text = `${toDisplay(path)}: it shrank from ${wanted} to ${got} bytes while it was put`;
  return new KangarooError('LOCAL_FILE', text, { hint: 'put it again when nobody writes to it' });
}

/** A directory's entries as they come, without '.' and '..'. @throws KangarooError LOCAL_FILE */
export function* entriesOf(
  path: string,
): Generator<{ readonly name: string; readonly kind: LocalKind }, void, undefined> {
  let directory: Dir | undefined;
  try {
    // The buffer encoding is not in the type; names that are no UTF-8 need it.
    const encoding = 'buffer' as BufferEncoding;
    directory = opendirSync(localBytes(path), { encoding, bufferSize: 256 });
    for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
      const name = (entry.name as unknown as Buffer).toString('latin1');
      const link = entry.isSymbolicLink();
      yield { name, kind: link ? 'symlink' : kindOf(entry) };
    }
  } catch (error) {
    throw localError(path, error);
  } finally {
    directory?.closeSync();
  }
}

/** 'a/b' of 'a' and 'b'. */
export function joinLocal(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`;
}

interface Kinds {
  isFile(): boolean;
  isDirectory(): boolean;
}

function kindOf(facts: Kinds): LocalFacts['kind'] {
  if (facts.isFile()) return 'file';
  return facts.isDirectory() ? 'directory' : 'other';
}

function readNow(fd: number, target: Buffer, done: number, path: string): number {
  try {
    return readSync(fd, target, done, target.length - done, done);
  } catch (error) {
    throw localError(path, error);
  }
}
