/**
 * How much memory this process keeps beside what it uses.
 *
 * Left alone V8 lets the heap grow to about twice what lives in it before it looks through all of
 * it: fine for the few megabytes of most days, half a gigabyte of nothing for a million operations.
 * While much is kept the heap may grow by a fifth only, for some milliseconds of processor time in
 * each second of busy work. The flag is one that V8 reads at each collection, so it may be changed
 * at any time. Large blocks that are not V8's go back to the system when they are freed.
 */
import { setFlagsFromString } from 'node:v8';
import { native } from './addon.ts';

/** Objects kept from which on memory counts more than time, and below which it no longer does. */
const MANY = 200_000;
const FEW = 100_000;
/** Larger than any buffer that comes and goes in the course of moving data. */
const LARGE_BYTES = 4 * 1024 * 1024;
const TIGHT_PERCENT = 20;
/** V8's own choice. */
const FREE_PERCENT = 0;

export class HeapGrowth {
  readonly #setFlag: (flag: string) => void;
  #isTight = false;

  constructor(setFlag: (flag: string) => void = setFlagsFromString) {
    this.#setFlag = setFlag;
  }

  /** Nobody knows yet how much there will be. */
  tighten(): void {
    native?.mapLargeFrom(LARGE_BYTES);
    if (!this.#isTight) this.#set(true);
  }

  /** So many objects are kept now. */
  note(kept: number): void {
    if (this.#isTight ? kept < FEW : kept > MANY) this.#set(!this.#isTight);
  }

  #set(isTight: boolean): void {
    this.#isTight = isTight;
    this.#setFlag(`--heap-growing-percent=${isTight ? TIGHT_PERCENT : FREE_PERCENT}`);
  }
}
