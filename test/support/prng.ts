/**
 * Seeded random numbers for tests that must be repeatable: splitmix32, 32 bits of state.
 *
 * The same seed gives the same choices; what processes do with them still depends on the machine's
 * timing. `chooseSeed` takes KANGAROO_SEED, else a fresh one; whoever uses it prints it.
 */
import { randomInt } from 'node:crypto';

/** Stirs 32 bits until each of them depends on all of them. */
export function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

export class Prng {
  #state: number;

  constructor(seed: number) {
    this.#state = mix(seed);
  }

  /** 32 random bits. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    return mix(this.#state);
  }

  /** 0 ... `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }

  /** `low` ... `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True in `share` of the cases, 0 to 1. */
  chance(share: number): boolean {
    return this.next() / 2 ** 32 < share;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** A key of `weights`, each as often as its number says. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const rows = Object.entries(weights) as [K, number][];
    let at = this.below(rows.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [key, weight] of rows) {
      if (at < weight) return key;
      at -= weight;
    }
    throw new Error('no weights');
  }
}

export function chooseSeed(): number {
  const given = process.env['KANGAROO_SEED'];
  return given === undefined ? randomInt(2 ** 31) : Number(given) >>> 0;
}
