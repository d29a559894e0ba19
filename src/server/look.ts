/**
 * What is there under some paths of one server name, for whoever is going to change it: asked of
 * what lies beneath while there is time, then looked at again in the very turn in which the
 * decision is made.
 *
 * `prepare` asks; `at` answers at once from the answers and from what is pending now, or throws
 * LookAgain when an answer is missing or older than an operation that has left the spool since:
 * nobody would see that one, neither beneath then nor here now. A destination that is away has
 * nothing (decision 4); `isAway` tells.
 */
import { type Deadline, deadlineIn, hasPassed } from '../base/deadline.ts';
import { KangarooError } from '../base/errors.ts';
import { FOUND_KIND } from '../protocol/messages.ts';
import { FLAGS } from '../protocol/operation.ts';
import { formatAddress, isWithin } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { Sight } from '../spool/view.ts';
import { type Beneath, type Facts, isAway, saysAll, merge, sizeOf } from './reader.ts';
import type { Server } from './server.ts';

/** Ask `prepare` first. */
export class LookAgain extends Error {}

/** More of these at one go say that a path changes faster than it can be looked at. */
const ROUNDS_MAX = 16;

const NOTHING: Facts = { kind: FOUND_KIND.absent, size: 0, mode: 0, mtimeNs: 0n, pendingBytes: 0 };

export interface There extends Facts {
  /** Nobody could be asked what lies beneath. */
  readonly isAway: boolean;
  /** What lies beneath has changed when this has; empty when that played no part. */
  readonly beneath: string;
}

interface Answer {
  readonly base: Facts | null;
  readonly isAway: boolean;
}

export class Look {
  readonly #server: Server;
  readonly #name: string;
  readonly #beneath: Beneath;
  readonly #deadline: Deadline;
  /** A deadline of our own: when it has passed, that is nobody's error. */
  readonly #isShort: boolean;
  readonly #kindOnly: ReadonlySet<string>;
  readonly #answers = new Map<string, Answer>();
  /** Moves when something that a path depends on has left the spool. */
  readonly #moved = new Map<string, number>();
  readonly #onRelease: (entries: readonly Entry[]) => void;
  #rounds = 0;

  /**
   * Of `parents` only the kind is asked for. `deadline`: of the questions; `waitsMs`: less than
   * that for who must not wait for a network.
   * @throws KangarooError NO_ROUTE
   */
  constructor(
    server: Server,
    name: string,
    paths: readonly string[],
    parents: readonly string[],
    deadline: Deadline,
    waitsMs = Infinity,
  ) {
    this.#server = server;
    this.#name = name;
    this.#beneath = server.beneath(name, paths[0] ?? '', 0);
    this.#deadline = Math.min(deadline, deadlineIn(waitsMs));
    this.#isShort = this.#deadline < deadline;
    for (const path of [...paths, ...parents]) this.#moved.set(path, 0);
    this.#kindOnly = new Set(parents.filter((path) => !paths.includes(path)));
    this.#onRelease = (entries) => this.#released(entries);
    server.spool.on('release', this.#onRelease);
  }

  close(): void {
    this.#server.spool.off('release', this.#onRelease);
  }

  /** Asks for all that is not known, everything at the same time. */
  async prepare(): Promise<void> {
    this.#rounds += 1;
    if (this.#rounds > ROUNDS_MAX) {
      throw new KangarooError('BUSY', `${formatAddress(this.#name, '')} changes all the time`);
    }
    await Promise.all([...this.#moved.keys()].map(async (path) => await this.#ask(path)));
  }

  /** What is there now. @throws LookAgain */
  at(path: string): There {
    const sight = this.#sight(path);
    if (sight.known === 'absent') return { ...NOTHING, isAway: false, beneath: '' };
    let answer: Answer = { base: null, isAway: false };
    if (!this.#isAnswered(sight, path)) {
      if (this.#isOwn && sight.beneath === 'natural') answer = this.#ownAnswer(path);
      else {
        const known = this.#answers.get(path);
        if (known === undefined) throw new LookAgain();
        answer = known;
      }
    }
    const { base, isAway } = answer;
    const size = sizeOf(sight);
    const beneath = base === null ? '' : `${base.size} ${base.mtimeNs}`;
    if (path === '') {
      const root = merge({ ...sight, known: 'directory' }, size, base);
      return { ...root, isAway, beneath };
    }
    if (base === null && sight.known === 'unknown') return { ...NOTHING, isAway, beneath };
    return { ...merge(sight, size, base), isAway, beneath };
  }

  /** Needs nobody be asked? The export directory is always there. */
  #isAnswered(sight: Sight, path: string): boolean {
    if (path === '' || saysAll(sight)) return true;
    return this.#kindOnly.has(path) && sight.known !== 'unknown';
  }

  get #isOwn(): boolean {
    return this.#server.destination !== null && this.#name === this.#server.name;
  }

  #sight(path: string): Sight {
    return this.#server.spool.view(this.#name).lookup(path);
  }

  #ownAnswer(path: string): Answer {
    const found = this.#server.destination?.storage.stat(path) ?? null;
    return { base: found && { ...found, pendingBytes: 0 }, isAway: false };
  }

  async #ask(path: string): Promise<void> {
    const sight = this.#sight(path);
    if (sight.known === 'absent' || this.#isAnswered(sight, path) || this.#answers.has(path))
      return;
    if (this.#isOwn && sight.beneath === 'natural') return;
    const moved = this.#moved.get(path);
    let answer: Answer;
    try {
      if (sight.beneath === 'unsettled') {
        await this.#server.reader.settle(sight.settle, this.#deadline);
        return;
      }
      const isNeeded = !this.#isShort && sight.known !== 'directory';
      answer = { base: await this.#beneath.stat(path, this.#deadline, isNeeded), isAway: false };
    } catch (error) {
      if (!isAway(error) || (hasPassed(this.#deadline) && !this.#isShort)) throw error;
      answer = { base: null, isAway: true };
    }
    if (this.#moved.get(path) === moved) this.#answers.set(path, answer);
  }

  #released(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.name !== this.#name) continue;
      for (const path of this.#moved.keys()) {
        if (!concerns(entry, path)) continue;
        this.#moved.set(path, (this.#moved.get(path) ?? 0) + 1);
        this.#answers.delete(path);
      }
    }
  }
}

/** May what is beneath `path` be another thing now that `entry` has arrived there? */
function concerns(entry: Entry, path: string): boolean {
  if (isWithin(path, entry.path)) return true;
  if (entry.path2 !== '' && isWithin(path, entry.path2)) return true;
  return (entry.flags & FLAGS.PARENTS) !== 0 && isWithin(entry.path, path);
}
