/**
 * The small files of a directory into the session, many at a time, by the addon: for ten thousand
 * files of 4 KiB the objects, strings and calls of each would cost more than its bytes.
 *
 * What cannot go this way comes out for the normal one, which also has the words for what is wrong
 * with a file: what is no plain file, is large, cannot be read or shrinks, and what there is no
 * room for now. Nothing is skipped and nothing comes twice.
 */
import { type EntryType, native, type NativeAddon } from '../base/addon.ts';
import { limits } from '../base/limits.ts';
import { encodeHead, FLAGS, headOf, KIND } from '../protocol/operation.ts';
import type { Address } from '../route/address.ts';
import {
  closeLocal,
  entriesOf,
  joinLocal,
  kindAt,
  type LocalKind,
  localError,
  openLocal,
} from './local-file.ts';
import type { Session } from './session.ts';

/** Files that have been put. */
export interface PackedStep {
  readonly files: number;
  readonly bytes: number;
  /** The name of the last one. */
  readonly last: string;
}

/** An entry that is left to do, or what has been done. */
export type Step = { readonly name: string; readonly kind: LocalKind } | PackedStep;

/**
 * The entries of the directory `local`. Files on their way to `target` with mode and times are put
 * here as far as that goes. Between two steps the caller may wait.
 * @throws KangarooError LOCAL_FILE, and what ends the session
 */
export function* packDirectory(
  session: Session,
  local: string,
  target: Address,
  addon: NativeAddon | null = native,
): Generator<Step, void, undefined> {
  if (addon === null) return yield* entriesOf(local);
  const fd = openLocal(local);
  try {
    const head = headFor(target);
    for (let listed = next(addon, fd, local); listed !== null; listed = next(addon, fd, local)) {
      yield* packFiles(session, addon, fd, head, listed.files);
      for (const { name, type } of listed.others) {
        const text = name.toString('latin1');
        yield { name: text, kind: kindOf(type, joinLocal(local, text)) };
      }
    }
  } finally {
    closeLocal(fd);
  }
}

function* packFiles(
  session: Session,
  addon: NativeAddon,
  fd: number,
  head: Buffer,
  names: Buffer,
): Generator<Step, void, undefined> {
  const { inlinePayloadBytesMax, pathBytesMax } = limits;
  for (let from = 0; from < names.length;) {
    const packed = session.fill((out, at, seq) =>
      addon.packFiles(fd, names, from, head, seq, out, at, inlinePayloadBytesMax, pathBytesMax),
    );
    if (packed !== null && packed.files > 0) {
      const { files, payloadBytes, next: end } = packed;
      yield { files, bytes: payloadBytes, last: nameBefore(names, end) };
      from = end;
    }
    // A frame that was full is sent, and the next one has room again.
    if (packed?.isFull === true || from === names.length) continue;
    const end = names.indexOf(0, from);
    yield { name: names.toString('latin1', from, end), kind: 'file' };
    from = end + 1;
  }
}

function next(addon: NativeAddon, fd: number, local: string) {
  try {
    return addon.listNames(fd);
  } catch (error) {
    throw localError(local, error);
  }
}

/** The head of every record up to the file's name; the addon fills in what differs. */
function headFor({ name, path }: Address): Buffer {
  const flags = FLAGS.CREATE | FLAGS.TRUNCATE | FLAGS.PARENTS | FLAGS.MODE | FLAGS.MTIME;
  const below = path === '' ? '' : `${path}/`;
  return encodeHead(headOf({ kind: KIND.write, flags, name, path: below }, 0));
}

function nameBefore(names: Buffer, end: number): string {
  const start = end < 2 ? 0 : names.lastIndexOf(0, end - 2) + 1;
  return names.toString('latin1', start, end - 1);
}

/** On file systems whose directories do not say, the file does; links are not followed. */
function kindOf(type: EntryType, local: string): LocalKind {
  if (type === 'unknown') return kindAt(local);
  return type === 'directory' || type === 'symlink' || type === 'file' ? type : 'other';
}
