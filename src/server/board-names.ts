/**
 * What adapted programs may believe of names without asking: rows of the board (known.h in
 * native/core).
 *
 * A row is written in the turn in which its answer was found, and only if no program has made that
 * name meanwhile. Whatever changes a name in another way than by its slot comes here first: from
 * then on who wants to know has to ask, and gets an answer behind that change.
 */
import type { KnownName, NativeAddon } from '../base/addon.ts';
import { FOUND_KIND } from '../protocol/messages.ts';
import { FLAGS, KIND, type Operation } from '../protocol/operation.ts';
import { splitPath } from '../route/address.ts';
import { BOARD, HEADER } from './board-layout.ts';
import type { Facts } from './reader.ts';
import type { OpenSlot } from './slots.ts';

/** Of a name, or of all below a directory: has a program made one that is still in the ring? */
export type IsBeingMade = (name: string, path: string) => boolean;

export class BoardNames {
  readonly #native: NativeAddon;
  readonly #memory: ArrayBuffer;
  readonly #words: Uint32Array;
  readonly #locked: <T>(work: () => T) => T;
  readonly #isBeingMade: IsBeingMade;
  #changes = 0;

  constructor(
    native: NativeAddon,
    memory: ArrayBuffer,
    locked: <T>(work: () => T) => T,
    isBeingMade: IsBeingMade,
  ) {
    this.#native = native;
    this.#memory = memory;
    this.#words = new Uint32Array(memory);
    this.#locked = locked;
    this.#isBeingMade = isBeingMade;
  }

  /** Moves with every change of a name: an answer from before one says nothing. */
  get changes(): number {
    return this.#changes;
  }

  /** What it was found to be just now. `slot`: stands for it. */
  know(name: string, path: string, facts: Facts, slot: OpenSlot | null, isUnsure: boolean): void {
    this.#write(name, path, {
      kind: facts.kind,
      size: facts.size,
      mode: facts.mode & 0o7777,
      mtimeNs: facts.mtimeNs,
      ...{ slot: slot?.index ?? 0, generation: slot?.generation ?? 0 },
      ...{ isUnsure, leaseMs: BOARD.leaseMs, namesLeaseMs: 0 },
    });
  }

  /** `isUnsure`: it counts as absent because nobody could ask. */
  knowAbsent(name: string, path: string, isUnsure: boolean): void {
    const facts = { kind: FOUND_KIND.absent, size: 0, mode: 0, mtimeNs: 0n, pendingBytes: 0 };
    this.know(name, path, facts, null, isUnsure);
  }

  /** A directory that was made just now: there is nothing in it. */
  knowNew(name: string, path: string, mode: number, isUnsure: boolean): void {
    this.#write(name, path, {
      ...{ kind: FOUND_KIND.directory, size: 0, mode, mtimeNs: BigInt(Date.now()) * 1_000_000n },
      ...{ slot: 0, generation: 0, isUnsure },
      ...{ leaseMs: BOARD.leaseMs, namesLeaseMs: BOARD.leaseMs },
    });
  }

  /** Nobody else can have made names in it since. */
  keep(name: string, path: string): void {
    if (!this.#isUsed) return;
    this.#locked(() => this.#native.keepNames(this.#memory, name, path, BOARD.leaseMs));
  }

  /**
   * From now on no program makes that name, or one below it, without asking. False: one has done so
   * and is still in the ring, which has to be taken first.
   */
  claim(name: string, path: string): boolean {
    this.#changes += 1;
    return this.#locked(() => {
      this.#native.askName(this.#memory, name, path);
      return !this.#isBeingMade(name, path);
    });
  }

  /** The same of a directory whose names are to become others, with all that are below it. */
  claimAll(name: string, path: string): boolean {
    this.#changes += 1;
    return this.#locked(() => {
      this.#native.clearNames(this.#memory);
      return !this.#isBeingMade(name, path);
    });
  }

  /** An operation that came from elsewhere has been taken. */
  noteOther({ kind, flags, name, path }: Operation): void {
    this.#changes += 1;
    if (!this.#isUsed) return;
    this.#locked(() => {
      if (kind === KIND.rename) {
        // Perhaps of a directory, and then of all names below it.
        this.#native.clearNames(this.#memory);
        return;
      }
      this.#native.askName(this.#memory, name, path);
      if ((flags & FLAGS.PARENTS) === 0) return;
      for (let [at] = splitPath(path); at !== ''; [at] = splitPath(at)) {
        this.#native.askName(this.#memory, name, at);
      }
    });
  }

  clear(): void {
    this.#changes += 1;
    this.#locked(() => this.#native.clearNames(this.#memory));
  }

  get #isUsed(): boolean {
    return Atomics.load(this.#words, HEADER.rowsUsed / 4) > 0;
  }

  #write(name: string, path: string, known: KnownName): void {
    this.#locked(() => {
      if (this.#isBeingMade(name, path)) return;
      this.#native.knowName(this.#memory, name, path, known);
    });
  }
}
