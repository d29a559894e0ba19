/**
 * The four suites. unit: pure code and small I/O, in parallel on two workers. integration, adapter
 * and fault: real processes started from dist/, one file at a time, because they measure waiting
 * times and kill processes, and a busy machine would make them lie.
 *
 * Every suite runs in forked processes: a native addon must not be loaded into several threads, and
 * a crash in one file then fails that file alone. KANGAROO_LONG=1 gives campaigns more rounds and
 * the time for them; the tests read the variable themselves.
 */

import { defineConfig } from 'vitest/config';

const minuteMs = 60_000;
const long = process.env['KANGAROO_LONG'] === '1';

// Projects with different worker counts may not share a group; groups run in this order.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 2 * minuteMs,
          hookTimeout: minuteMs,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'adapter',
          include: ['test/adapter/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: (long ? 20 : 2) * minuteMs,
          hookTimeout: minuteMs,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'fault',
          include: ['test/fault/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: (long ? 60 : 5) * minuteMs,
          hookTimeout: minuteMs,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
