/**
 * Random calls of several processes against a local directory as oracle (native/test/random-ops.c),
 * and SIGKILL of a program and of its server while it writes: what a call that had returned has
 * written must arrive, whoever died.
 *
 * KANGAROO_SEED=N repeats a run; the seed is printed. KANGAROO_LONG=1 makes more of everything.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Site, whyNoAdapter } from '../support/adapted.ts';
import { compileC, whyNoCompiler } from '../support/c-program.ts';
import { differenceOf, linesOfTree } from '../support/tree.ts';
import { pause } from '../support/wait.ts';

const why = whyNoAdapter() ?? whyNoCompiler();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);
const long = process.env['KANGAROO_LONG'] === '1';
const seed = Number(process.env['KANGAROO_SEED'] ?? Math.floor(Math.random() * 1e9));
const rounds = long ? 40 : 4;
const KiB = 1024;

/** As byte_at in steady-writer.c; of its sum the lowest 15 bits are all that counts. */
function byteAt(fileSeed: number, i: number): number {
  const sum = Math.imul(i >>> 3, 2_654_435_761) + Math.imul(fileSeed, 40_503) + i;
  return (sum >>> 7) & 0xff;
}

function firstWrong(bytes: Buffer, fileSeed: number): number | null {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== byteAt(fileSeed, i)) return i;
  return null;
}

describe.skipIf(why !== null)(`random (KANGAROO_SEED=${seed})`, () => {
  let site: Site;
  let randomOps: string;
  let steadyWriter: string;

  beforeAll(async () => {
    process.stderr.write(`random adapter tests: KANGAROO_SEED=${seed}\n`);
    site = await Site.open(2);
    const programs = site.cluster.scratch('programs');
    randomOps = compileC('random-ops', programs);
    steadyWriter = compileC('steady-writer', programs);
  });

  afterAll(async () => await site?.close());

  const runs = Array.from({ length: rounds }, (_, i) => [seed + i, [1, 3, 2, 6][i % 4]] as const);
  test.each(runs)('calls as on a local directory: seed %d, %d processes', async (n, processes) => {
    const name = `random-${n}`;
    const subject = site.makeDirectory(name);
    const oracle = site.cluster.scratch(`oracle/${name}`);
    const steps = long ? 20_000 : 3_000;
    const argv = [randomOps, String(n), String(steps), String(processes), subject, oracle];
    const { status, signal, stderr } = await site.run(argv, { deadlineMs: 110_000 });
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
    await site.push(name);
    expect(differenceOf(linesOfTree(oracle), linesOfTree(site.arrived(name)))).toBe('');
  });

  /** What the writer noted in its log, in bytes. */
  const noted = (log: string): number => Number(readFileSync(log).readBigUInt64LE(0));

  test('a program that is killed while it writes has written what it was told', async () => {
    site.makeDirectory('killed');
    const logs = site.cluster.scratch('logs');
    for (let round = 0; round < (long ? 40 : 6); round++) {
      const fileSeed = (seed + round) % 1_000_000;
      const [name, log] = [`killed/f${round}`, join(logs, `k${round}`)];
      const argv = [steadyWriter, site.path(name), log, String(fileSeed), String(1 << 30)];
      const writer = site.begin(argv);
      await pause(30 + ((seed + round * 37) % 250));
      writer.kill('SIGKILL');
      await writer.ended;
      const least = noted(log);
      await site.push();
      const bytes = readFileSync(site.arrived(name));
      expect(bytes.length).toBeGreaterThanOrEqual(least);
      // One write more may have been done and not noted.
      expect(bytes.length).toBeLessThanOrEqual(least + 64 * KiB);
      expect(firstWrong(bytes, fileSeed)).toBe(null);
      expect(least).toBeGreaterThan(0);
    }
  });

  test('a server that is killed under a program: it goes on, and all arrives', async () => {
    site.makeDirectory('server-killed');
    const logs = site.cluster.scratch('logs');
    for (let round = 0; round < (long ? 20 : 3); round++) {
      const fileSeed = (seed + round) % 1_000_000;
      const [name, log] = [`server-killed/f${round}`, join(logs, `s${round}`)];
      const total = 24 * KiB * KiB;
      const argv = [steadyWriter, site.path(name), log, String(fileSeed), String(total)];
      const writer = site.begin(argv, { deadlineMs: 90_000 });
      for (let kill = 0; kill < 2; kill++) {
        await pause(20 + ((seed + round * 53 + kill * 91) % 150));
        await site.first.kill();
        await pause(50 + ((seed + kill) % 200));
        await site.first.start();
      }
      const { status, signal, stderr } = await writer.ended;
      expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
      expect(noted(log)).toBe(total);
      await site.push();
      const bytes = readFileSync(site.arrived(name));
      expect(bytes.length).toBe(total);
      expect(firstWrong(bytes, fileSeed)).toBe(null);
    }
  });

  test('appenders to one file, one of them killed, the server too: all in order', async () => {
    site.makeDirectory('appended');
    const logs = site.cluster.scratch('logs');
    mkdirSync(logs, { recursive: true });
    const records = long ? 200_000 : 20_000;
    const ids = ['one', 'two', 'three', 'four'];
    const path = site.path('appended/log');
    const writers = ids.map((id) =>
      site.begin([steadyWriter, path, join(logs, id), '1', String(records * 64), 'append', id], {
        deadlineMs: 110_000,
      }),
    );
    await pause(60 + (seed % 100));
    writers[0]?.kill('SIGKILL');
    await site.first.kill();
    await pause(100);
    await site.first.start();
    const ended = await Promise.all(writers.map(async (writer) => await writer.ended));
    for (const { status, stderr } of ended.slice(1)) {
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    }
    await site.push();
    const text = readFileSync(site.arrived('appended/log'), 'latin1');
    expect(text.length % 64).toBe(0);
    const seen = new Map(ids.map((id) => [id, 0]));
    for (let at = 0; at < text.length; at += 64) {
      const [id = '', number] = text.slice(at, at + 64).split(':');
      expect(Number(number)).toBe(seen.get(id));
      seen.set(id, Number(number) + 1);
    }
    for (const id of ids) {
      expect(seen.get(id)).toBeGreaterThanOrEqual(noted(join(logs, id)) / 64);
    }
  });
});
