/** The heap is held while much is kept, and V8 heeds that. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { HeapGrowth } from '../../../src/base/heap.ts';

test('is held while much is kept, and not changed back and forth in between', () => {
  const flags: string[] = [];
  const growth = new HeapGrowth((flag) => flags.push(flag));
  for (const kept of [1, 199_999, 200_001, 300_000, 150_000, 99_999, 150_000]) growth.note(kept);
  growth.tighten();
  growth.tighten();
  growth.note(0);
  const [tight, free] = ['--heap-growing-percent=20', '--heap-growing-percent=0'];
  expect(flags).toEqual([tight, free, tight, free]);
});

/**
 * A million objects live, as many again die; prints the most that the old generation had, in MB.
 * The young one has a size of its own, which differs much between releases of Node.
 */
const PROGRAM = `
  import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
  for (const flag of process.argv.slice(1)) setFlagsFromString(flag);
  const kept = [], passing = [];
  const bytes = () => getHeapSpaceStatistics()
    .filter(({ space_name: name }) => !name.startsWith('new_'))
    .reduce((sum, { space_size: size }) => sum + size, 0);
  let most = 0;
  for (let i = 0; i < 2_000_000; i++) {
    kept[i >>> 1] = { i, next: { i } };
    // Long enough there to be moved to the old generation, from which only a full look frees it.
    passing[i % 200_000] = { i, next: { i }, more: [i] };
    if (i % 10_000 === 0) most = Math.max(most, bytes());
  }
  console.log(most / 1e6);
`;

test('memory is less with it, also when it is set late', { timeout: 60_000 }, () => {
  const flags: string[] = [];
  new HeapGrowth((flag) => flags.push(flag)).tighten();
  const [free, tight] = [[], flags].map((argv) => {
    const options = ['--input-type=module', '-e', PROGRAM, '--', ...argv];
    const ended = spawnSync(process.execPath, options, { encoding: 'utf8' });
    expect(ended.stderr).toBe('');
    return Number(ended.stdout);
  });
  expect(tight).toBeLessThan(0.9 * (free as number));
});
