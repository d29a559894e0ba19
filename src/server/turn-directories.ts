/**
 * The directories that operations of this turn of the event loop work in, each opened once.
 *
 * Thousands of small files often go to one directory, and resolving its path each time would cost
 * more than the file. Within one turn nobody can tell that it was resolved a moment ago; when the
 * turn ends, or a name of ours changes, all are closed. So a directory that others move or replace
 * at the destination is believed for some milliseconds, never for the length of a connection.
 */
import { errnoOf } from '../base/errors.ts';
import { Held } from './held.ts';
import type { Jail } from './storage-jail.ts';
import type { Unsynced } from './unsynced.ts';

/** Kept at the start of an operation; one operation adds two at most. */
const directoriesKeptMax = 16;

export class TurnDirectories {
  readonly #jail: Jail;
  readonly #unsynced: Unsynced;
  readonly #open = new Map<string, Held>();
  #turn = 0;
  #turnEnds = false;

  constructor(jail: Jail, unsynced: Unsynced) {
    this.#jail = jail;
    this.#unsynced = unsynced;
  }

  /** Starts an operation: the number of its turn. Directories of earlier turns are closed. */
  begin(): number {
    if (this.#open.size > directoriesKeptMax) this.forget();
    if (!this.#turnEnds) {
      this.#turnEnds = true;
      setImmediate(() => {
        this.#turnEnds = false;
        this.#turn++;
        this.forget();
      });
    }
    return this.#turn;
  }

  /**
   * The directory, open for reading; good until the operation ends. With `make` the missing ones
   * are made, with 0777 less the umask.
   * @throws errno errors; ENOENT only without `make` (or through a link that leads nowhere)
   */
  get(path: string, make: boolean): Held {
    const known = this.#open.get(path);
    if (known !== undefined) return known;
    const held = this.#find(path, make) ?? this.#make(path);
    this.#open.set(path, held);
    return held;
  }

  /** To be called when a directory's name has changed. */
  forget(): void {
    for (const held of this.#open.values()) held.release();
    this.#open.clear();
  }

  /** null when it is not there and may be made. */
  #find(path: string, mayMake: boolean): Held | null {
    try {
      return openHeld(this.#jail, path);
    } catch (error) {
      if (!mayMake || path === '' || errnoOf(error) !== 'ENOENT') throw error;
      return null;
    }
  }

  /**
   * From the deepest directory that exists down to `path`: two descriptors however deep. The last
   * one is noted as changed by the operation that puts something into it.
   */
  #make(path: string): Held {
    const names = path.split('/');
    const { held: deepest, depth } = this.#deepest(names);
    let above = deepest;
    let abovePath = names.slice(0, depth).join('/');
    for (const name of names.slice(depth)) {
      try {
        this.#unsynced.directory(above, abovePath);
        makeUnlessThere(this.#jail, above.fd, name);
        const fd = this.#jail.openDirectoryIn(above.fd, name);
        abovePath = abovePath === '' ? name : `${abovePath}/${name}`;
        above.release();
        above = new Held(fd, this.#jail.stat(fd));
      } catch (error) {
        above.release();
        throw error;
      }
    }
    return above;
  }

  /**
   * By halving, so that a path of 2,000 components costs eleven looks. All of `names` together are
   * known not to exist; the root does.
   */
  #deepest(names: readonly string[]): { held: Held; depth: number } {
    let depth = 0;
    let missing = names.length;
    let held = openHeld(this.#jail, '');
    while (depth + 1 < missing) {
      const middle = (depth + missing) >>> 1;
      try {
        const found = this.#find(names.slice(0, middle).join('/'), true);
        if (found === null) {
          missing = middle;
          continue;
        }
        held.release();
        held = found;
        depth = middle;
      } catch (error) {
        held.release();
        throw error;
      }
    }
    return { held, depth };
  }
}

/** The path of the directory that `path` lies in. */
export function directoryOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
}

/** Its last component. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** A new hold of a directory, open for reading. */
export function openHeld(jail: Jail, path: string): Held {
  const fd = jail.openDirectory(path);
  return new Held(fd, jail.stat(fd));
}

function makeUnlessThere(jail: Jail, directory: number, name: string): void {
  try {
    jail.mkdir(directory, name, 0o777);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}
