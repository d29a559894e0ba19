/**
 * How two things are compared: in turns, A B A B, on the same machine in the same minute, after
 * rounds that do not count. What is compared are medians; the spread is reported beside them.
 */

import { settle } from './scratch.mjs';

/**
 * Rounds that do not count, where a server's time for each of many small operations is measured: a
 * new one has to run them ten thousand times before V8 has compiled what they use, and servers are
 * there for weeks.
 */
export const WARM_UP_OF_SERVERS = 4;

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) throw new Error('the median of nothing');
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The value below which `share` of the values lie. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export function summaryOf(values) {
  return {
    median: median(values),
    least: Math.min(...values),
    most: Math.max(...values),
    rounds: values.length,
  };
}

/**
 * Runs `first` and `second` in turns. Each gets the number of the round and resolves with one
 * sample: a number, or an object of numbers with the same keys every time. `between` runs before
 * each of them, unmeasured.
 * @returns {Promise<[object, object]>} for each side the summary, by key
 */
export async function inTurns(first, second, { rounds, warmUp = 1, between = settle }) {
  const samples = [[], []];
  for (let round = -warmUp; round < rounds; round++) {
    for (const [side, work] of [first, second].entries()) {
      await between();
      const sample = await work(round + warmUp);
      if (round >= 0) samples[side].push(typeof sample === 'number' ? { value: sample } : sample);
    }
  }
  return samples.map(summariesOf);
}

function summariesOf(samples) {
  const keys = Object.keys(samples[0]);
  return Object.fromEntries(
    keys.map((key) => [key, summaryOf(samples.map((sample) => sample[key]))]),
  );
}
