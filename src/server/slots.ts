/**
 * The slots of the board: which open file each stands for, and what programs know of it.
 *
 * All opens of one file share its slot, which is what makes appenders agree on its end. A slot goes
 * along with its file when that is renamed; when the name is taken away it is marked, and when
 * somebody without a board changes the file too. The names are this server's to write; sizes and
 * times belong to whoever holds the lock. After a restart everything is read back from the file.
 */
import { readSync } from 'node:fs';
import { type NativeAddon } from '../base/addon.ts';
import { invalidName, invalidPath } from '../protocol/operation.ts';
import { isWithin } from '../route/address.ts';
import { type BoardFile, reserveMemory } from './board-file.ts';
import {
  BOARD,
  HEADER,
  inodeNumber,
  SLOT,
  SLOT_FLAGS,
  SLOT_KIND,
  SLOTS_AT,
  SPARES_AT,
} from './board-layout.ts';
import type { SlotFacts } from './board-ring.ts';

/** Read back at a time after a restart; by read, because looking at memory would make it exist. */
const READ_SLOTS = 256;
/** Spare ones at the start; more when programs make files faster than they are looked after. */
const SPARES_AT_LEAST = 32;

export interface OpenSlot {
  readonly index: number;
  readonly generation: number;
  readonly kind: number;
  readonly name: string;
  path: string;
  removed: boolean;
  /** When it was given out last. */
  givenMs: number;
  /** Size and time of what lay beneath when it was opened last: is it still the same? */
  beneath: string;
}

export class Slots {
  readonly #native: NativeAddon;
  readonly #file: BoardFile;
  readonly #bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #longs: BigUint64Array;
  readonly #locked: <T>(work: () => T) => T;
  readonly #open = new Map<number, OpenSlot>();
  readonly #byPlace = new Map<string, OpenSlot>();
  readonly #free: number[] = [];
  /** Those that have had their memory since this server began. */
  readonly #hasMemory = new Uint8Array(BOARD.slots);
  /** Those that programs may make files in; some have one already, which is still in the ring. */
  readonly #spare = new Set<number>();
  #sparesWanted = SPARES_AT_LEAST;
  /** Another one on each board: what programs keep of an earlier board must not fit this one. */
  readonly #first: number;

  constructor(native: NativeAddon, file: BoardFile, locked: <T>(work: () => T) => T) {
    this.#native = native;
    this.#file = file;
    this.#bytes = Buffer.from(file.memory);
    this.#words = new Uint32Array(file.memory);
    this.#longs = new BigUint64Array(file.memory);
    this.#locked = locked;
    this.#first = Number.parseInt(file.boardId.slice(0, 8), 16) || 1;
    if (file.isKept) this.#readBack();
    // The lowest first: memory is only taken for slots that were in use at some time.
    for (let i = BOARD.slots - 1; i >= 0; i--) if (!this.#open.has(i)) this.#free.push(i);
  }

  get freeCount(): number {
    return this.#free.length;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** The slot of a file that is open under this name. */
  of(name: string, path: string): OpenSlot | null {
    return this.#byPlace.get(keyOf(name, path)) ?? null;
  }

  /** What an entry or a program means; null when that slot is another file's now. */
  live(index: number, generation: number): OpenSlot | null {
    const slot = this.#open.get(index);
    return slot?.generation === generation ? slot : null;
  }

  all(): Iterable<OpenSlot> {
    return this.#open.values();
  }

  /** A slot for a file that has none. null: there is none left. @throws errno errors: no memory */
  give(name: string, path: string, kind: number, facts: SlotFacts, nowMs: number): OpenSlot | null {
    const index = this.#free.at(-1);
    if (index === undefined) return null;
    const at = SLOTS_AT + index * BOARD.slotBytes;
    this.#reserve(index);
    this.#free.pop();
    const generation = this.#nextGeneration(at);
    this.#word(at + SLOT.flags, 0);
    this.#writeName(at, name, path);
    this.#writeFacts(at, facts);
    this.#word(at + SLOT.kind, kind);
    this.#word(at + SLOT.generation, generation);
    return this.#opened({ index, generation, kind, name, path, removed: false, givenMs: nowMs });
  }

  /** Spare slots for programs that make files, if there are too few and slots are not short. */
  refill(): void {
    const given = Atomics.load(this.#words, HEADER.sparesGiven / 4);
    const left = (given - Atomics.load(this.#words, HEADER.sparesTaken / 4)) >>> 0;
    if (left >= this.#sparesWanted / 2 || this.#free.length < BOARD.spares) return;
    if (left === 0) this.#sparesWanted = Math.min(this.#sparesWanted * 4, BOARD.spares);
    const more = this.#free.slice(-(this.#sparesWanted - left)).reverse();
    for (const [i, index] of more.entries()) {
      const at = SLOTS_AT + index * BOARD.slotBytes;
      try {
        this.#reserve(index);
      } catch {
        // Programs ask then, and are told.
        more.length = i;
        break;
      }
      this.#word(at + SLOT.kind, SLOT_KIND.free);
      this.#word(at + SLOT.generation, this.#nextGeneration(at));
      this.#bytes.writeUInt32LE(index, SPARES_AT + (((given + i) >>> 0) % BOARD.spares) * 4);
      this.#spare.add(index);
    }
    this.#free.length -= more.length;
    const count = (given + more.length) >>> 0;
    this.#locked(() => Atomics.store(this.#words, HEADER.sparesGiven / 4, count));
  }

  /**
   * The slot that a program made a file in, by its entry in the ring. null: it is none that was
   * spare, or what the program wrote into it is no name.
   */
  adopt(index: number, generation: number, nowMs: number): OpenSlot | null {
    const known = this.live(index, generation);
    if (known !== null || !this.#spare.has(index)) return known;
    const at = SLOTS_AT + index * BOARD.slotBytes;
    const slot = readSlot(this.#bytes, at, index, nowMs);
    if (slot?.generation !== generation || slot.kind !== SLOT_KIND.file) return null;
    this.#spare.delete(index);
    return this.#opened(slot);
  }

  /** What stands in a slot that was not adopted yet; null: nothing that could be a name. */
  nameIn(index: number): Pick<OpenSlot, 'name' | 'path'> | null {
    if (index >= BOARD.slots) return null;
    return readSlot(this.#bytes, SLOTS_AT + index * BOARD.slotBytes, index, 0);
  }

  /** Gives a slot its memory. @throws errno errors: there is none */
  #reserve(index: number): void {
    if (this.#hasMemory[index] === 1) return;
    const at = SLOTS_AT + index * BOARD.slotBytes;
    reserveMemory(this.#native, this.#file.fd, at, BOARD.slotBytes);
    this.#hasMemory[index] = 1;
  }

  #nextGeneration(at: number): number {
    const last = Atomics.load(this.#words, (at + SLOT.generation) / 4);
    return last === 0 ? this.#first : last === 0xffff_ffff ? 1 : last + 1;
  }

  #opened(slot: Omit<OpenSlot, 'beneath'>): OpenSlot {
    const { index, generation, kind, name, path, removed, givenMs } = slot;
    const opened = { index, generation, kind, name, path, removed, givenMs, beneath: '' };
    this.#open.set(slot.index, opened);
    if (!slot.removed) this.#byPlace.set(keyOf(slot.name, slot.path), opened);
    return opened;
  }

  facts(slot: OpenSlot): SlotFacts {
    const at = atOf(slot);
    return {
      size: Number(Atomics.load(this.#longs, (at + SLOT.size) / 8)),
      mode: this.#bytes.readUInt32LE(at + SLOT.mode),
      mtimeNs: this.#bytes.readBigInt64LE(at + SLOT.mtimeNs),
    };
  }

  isStale(slot: OpenSlot): boolean {
    return (Atomics.load(this.#words, (atOf(slot) + SLOT.flags) / 4) & SLOT_FLAGS.STALE) !== 0;
  }

  /** To be called under the lock. The slot is not stale any more. */
  setFacts(slot: OpenSlot, facts: SlotFacts): void {
    this.#writeFacts(atOf(slot), facts);
    Atomics.and(this.#words, (atOf(slot) + SLOT.flags) / 4, ~SLOT_FLAGS.STALE);
  }

  /** To be called under the lock. */
  setAttributes(slot: OpenSlot, { mode, mtimeNs }: Omit<SlotFacts, 'size'>): void {
    this.#bytes.writeUInt32LE(mode, atOf(slot) + SLOT.mode);
    this.#bytes.writeBigInt64LE(mtimeNs, atOf(slot) + SLOT.mtimeNs);
  }

  /** What programs keep of its bytes is void. */
  changed(slot: OpenSlot): void {
    Atomics.add(this.#longs, (atOf(slot) + SLOT.version) / 8, 1n);
  }

  /** Somebody without a board has changed the file. */
  stale(name: string, path: string): void {
    const slot = this.of(name, path);
    if (slot === null) return;
    Atomics.or(this.#words, (atOf(slot) + SLOT.flags) / 4, SLOT_FLAGS.STALE);
    this.changed(slot);
  }

  /** The name is gone: of a file, or of a directory and what is open below it. */
  removed(name: string, path: string): void {
    for (const slot of this.#below(name, path)) {
      slot.removed = true;
      this.#byPlace.delete(keyOf(name, slot.path));
      Atomics.or(this.#words, (atOf(slot) + SLOT.flags) / 4, SLOT_FLAGS.REMOVED);
      this.changed(slot);
    }
  }

  /** What is open there has another name now; what was open under that is gone. */
  renamed(name: string, from: string, to: string): void {
    if (from === to) return;
    if (!isWithin(from, to)) this.removed(name, to);
    for (const slot of this.#below(name, from)) {
      this.#byPlace.delete(keyOf(name, slot.path));
      const path = to + slot.path.slice(from.length);
      if (path.length >= SLOT_PATH_BYTES) {
        slot.removed = true;
        Atomics.or(this.#words, (atOf(slot) + SLOT.flags) / 4, SLOT_FLAGS.REMOVED);
        continue;
      }
      slot.path = path;
      this.#byPlace.set(keyOf(name, path), slot);
      this.#locked(() => this.#writeName(atOf(slot), name, path));
    }
  }

  /** When a program opened it last without asking, on the clock of monotonicMs. */
  openedMs(slot: OpenSlot): number {
    return Number(Atomics.load(this.#longs, (atOf(slot) + SLOT.openedMs) / 8));
  }

  /**
   * Nobody has it open. False: somebody has opened it since `sinceMs`, and it stays: a program says
   * so first and looks then whether it is free, here it is the other way round.
   */
  free(slot: OpenSlot, sinceMs: number): boolean {
    this.#word(atOf(slot) + SLOT.kind, SLOT_KIND.free);
    if (this.openedMs(slot) >= sinceMs) {
      this.#word(atOf(slot) + SLOT.kind, slot.kind);
      return false;
    }
    this.#open.delete(slot.index);
    const key = keyOf(slot.name, slot.path);
    if (this.#byPlace.get(key) === slot) this.#byPlace.delete(key);
    this.#free.push(slot.index);
    return true;
  }

  #below(name: string, path: string): OpenSlot[] {
    const found: OpenSlot[] = [];
    for (const slot of this.#byPlace.values()) {
      if (slot.name === name && isWithin(slot.path, path)) found.push(slot);
    }
    return found;
  }

  #writeName(at: number, name: string, path: string): void {
    const bytes = this.#bytes;
    bytes.writeUInt16LE(name.length, at + SLOT.nameBytes);
    bytes.writeUInt16LE(path.length, at + SLOT.pathBytes);
    bytes[at + SLOT.name + bytes.write(name, at + SLOT.name, 'latin1')] = 0;
    bytes[at + SLOT.path + bytes.write(path, at + SLOT.path, 'latin1')] = 0;
    bytes.writeBigUInt64LE(BigInt(inodeNumber(name, path)), at + SLOT.ino);
  }

  #writeFacts(at: number, { size, mode, mtimeNs }: SlotFacts): void {
    Atomics.store(this.#longs, (at + SLOT.size) / 8, BigInt(size));
    this.#bytes.writeUInt32LE(mode, at + SLOT.mode);
    this.#bytes.writeBigInt64LE(mtimeNs, at + SLOT.mtimeNs);
  }

  #word(at: number, value: number): void {
    Atomics.store(this.#words, at / 4, value);
  }

  #readBack(): void {
    const part = Buffer.alloc(READ_SLOTS * BOARD.slotBytes);
    for (let first = 0; first < BOARD.slots; first += READ_SLOTS) {
      readSync(this.#file.fd, part, 0, part.length, SLOTS_AT + first * BOARD.slotBytes);
      for (let i = 0; i < READ_SLOTS; i++) {
        const slot = readSlot(part, i * BOARD.slotBytes, first + i, 0);
        if (slot !== null) this.#opened(slot);
      }
    }
  }
}

/** null: there is no file in it. */
function readSlot(
  bytes: Buffer,
  at: number,
  index: number,
  givenMs: number,
): Omit<OpenSlot, 'beneath'> | null {
  const kind = bytes.readUInt32LE(at + SLOT.kind);
  if (kind !== SLOT_KIND.file && kind !== SLOT_KIND.directory) return null;
  const nameBytes = bytes.readUInt16LE(at + SLOT.nameBytes);
  const pathBytes = bytes.readUInt16LE(at + SLOT.pathBytes);
  if (nameBytes >= SLOT_NAME_BYTES || pathBytes >= SLOT_PATH_BYTES) return null;
  const name = bytes.toString('latin1', at + SLOT.name, at + SLOT.name + nameBytes);
  const path = bytes.toString('latin1', at + SLOT.path, at + SLOT.path + pathBytes);
  if (invalidName(name) || invalidPath(path)) return null;
  const generation = bytes.readUInt32LE(at + SLOT.generation);
  const removed = (bytes.readUInt32LE(at + SLOT.flags) & SLOT_FLAGS.REMOVED) !== 0;
  return { index, generation, kind, name, path, removed, givenMs };
}

const SLOT_NAME_BYTES = SLOT.path - SLOT.name;
const SLOT_PATH_BYTES = 4160;

function atOf({ index }: OpenSlot): number {
  return SLOTS_AT + index * BOARD.slotBytes;
}

function keyOf(name: string, path: string): string {
  return `${name}/${path}`;
}
