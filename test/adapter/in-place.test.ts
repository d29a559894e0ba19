/**
 * Reading in place: what is spooled here, or has arrived at a server with the export directory, is
 * read by the C core from the files it lies in. That nobody is asked meanwhile is shown by servers
 * that are stopped, and that a lease holds by segments that are punched out beside a reader.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { crc32c } from '../../src/base/crc32c.ts';
import { whyNoCompiler } from '../support/c-program.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import { compileCore, CoreDriver, pattern } from '../support/core.ts';
import { signal } from '../support/proc.ts';

const why = process.platform === 'linux' ? whyNoCompiler() : 'the adapter needs Linux';
if (why !== null) process.stderr.write(`in-place.test.ts: skipped: ${why}\n`);

const CREATE_WRITE = 9;
const CREATE_TRUNCATE_WRITE = 13;

describe.skipIf(why !== null)('files of a server', () => {
  const cluster = new Cluster();
  const drivers: CoreDriver[] = [];
  let directory = '';
  let program = '';
  let job: Hop;
  let archive: Hop;
  let alones = 0;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'kg-place-'));
    program = compileCore(directory, ['file'], 'sanitized')['file'] ?? '';
    [job, archive] = (await cluster.chain(['job', 'archive'])) as [Hop, Hop];
  }, 180_000);
  afterEach(async () => {
    await Promise.all(drivers.splice(0).map(async (driver) => await driver.close()));
  });
  afterAll(async () => {
    await cluster.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function drive(env: Readonly<Record<string, string>> = job.clientEnv): CoreDriver {
    const driver = new CoreDriver(program, env);
    drivers.push(driver);
    return driver;
  }

  /** Reads a file as programs do, a piece at a time; the answers that are not as they should be. */
  async function inPieces(driver: CoreDriver, bytes: number, seed: number): Promise<string[]> {
    const wrong: string[] = [];
    for (let at = 0; at < bytes; at += 100_000) {
      const answer = await driver.ask(`check 0 ${at} 100000 ${seed}`, 3_000);
      if (answer !== 'ok 100000') wrong.push(`${at}: ${answer}`);
    }
    return wrong;
  }

  it('are read in place, and never as zeros while they are delivered and punched out', async () => {
    const bytes = 20 << 20;
    const path = '/kangaroo/archive/in-place';
    const [writer, reader] = [drive(), drive()];
    expect(await writer.ask(`open 0 ${path} ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await writer.ask('write 0 0 10 3')).toBe('ok 10');
    // The link is there from now on, and goes on when the next hop does.
    expect(await writer.ask(`push ${path}`)).toBe('ok');
    expect(await reader.ask(`open 0 ${path} 0 0`)).toMatch(/^ok/);
    signal(archive.pid, 'SIGSTOP');
    // Its writer has room in the segments for as long as it runs, so that they stay.
    const before = segmentBlocks();
    expect(await writer.ask(`write 0 0 ${bytes} 3`)).toBe(`ok ${bytes}`);
    expect(await writer.ask(`write 0 100 10 3`)).toBe('ok 110');
    expect(await writer.ask(`commit`)).toBe('ok');
    expect(await reader.ask(`check 0 0 ${bytes} 3`)).toBe(`ok ${bytes}`);
    signal(job.pid, 'SIGSTOP');
    try {
      // Nobody is asked about what was found before.
      expect(await reader.ask(`check 0 0 ${bytes} 3`, 3_000)).toBe(`ok ${bytes}`);
    } finally {
      signal(job.pid, 'SIGCONT');
    }
    signal(archive.pid, 'SIGCONT');
    let rounds = 0;
    let isPunched = false;
    for (const end = performance.now() + 30_000; performance.now() < end && !isPunched;) {
      // Keeps the places good for as long as they are told.
      expect(await reader.ask(`check 0 0 ${bytes} 3`)).toBe(`ok ${bytes}`);
      for (let at = 0; at < bytes; at += 3 << 20) {
        expect(await reader.ask(`check 0 ${at} 8192 3`)).toBe('ok 8192');
      }
      rounds += 1;
      isPunched = segmentBlocks() < before + (bytes / 512) * 0.5;
    }
    expect(isPunched).toBe(true);
    expect(rounds).toBeGreaterThan(20);
    expect(await reader.ask(`check 0 0 ${bytes} 3`)).toBe(`ok ${bytes}`);
  }, 90_000);

  it('are found again in place after the server was killed', async () => {
    const path = '/kangaroo/archive/in-place-killed';
    const alone = await startAlone();
    const [writer, reader] = [drive(alone.clientEnv), drive(alone.clientEnv)];
    expect(await writer.ask(`open 0 ${path} ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await writer.ask('write 0 0 3000000 7')).toBe('ok 3000000');
    expect(await reader.ask(`open 0 ${path} 0 0`)).toMatch(/^ok/);
    for (let i = 0; i < 3; i++) {
      expect(await reader.ask('check 0 0 4000000 7')).toBe('ok 3000000');
      await alone.kill();
      expect(await reader.ask('check 0 0 2500000 7')).toBe('ok 2500000');
      await alone.start();
    }
    expect(await reader.ask('check 0 0 4000000 7')).toBe('ok 3000000');
    await alone.destroy();
  });

  it('are read in place where they have arrived, at their destination', async () => {
    const driver = drive(archive.clientEnv);
    const path = '/kangaroo/archive/in-place-arrived';
    expect(await driver.ask(`open 0 ${path} ${CREATE_TRUNCATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('write 0 0 3000000 4')).toBe('ok 3000000');
    expect(await driver.ask(`push ${path}`)).toBe('ok');
    expect(await driver.ask('check 0 0 9999999 4')).toBe('ok 3000000');
    signal(archive.pid, 'SIGSTOP');
    try {
      expect(await driver.ask('check 0 0 9999999 4', 3_000)).toBe('ok 3000000');
    } finally {
      signal(archive.pid, 'SIGCONT');
    }
    expect(await driver.ask('write 0 1000000 1000 6')).toBe('ok 1001000');
    expect(await driver.ask('check 0 1000000 1000 6')).toBe('ok 1000');
    expect(await driver.ask('check 0 1001000 9999999 4')).toBe('ok 1999000');
    expect(await driver.ask('cut 0 500')).toBe('ok');
    expect(await driver.ask('append 0 100 4')).toBe('ok 600');
    expect(await driver.ask('check 0 0 500 4')).toBe('ok 500');
    expect(await driver.ask(`push ${path}`)).toBe('ok');
    expect(await driver.ask('check 0 0 500 4')).toBe('ok 500');
    expect(await driver.ask('read 0 0 9999')).toMatch(/^ok 600 /);
  });

  it('are kept for other programs when one has fetched them from another hop', async () => {
    const bytes = 12_000_000;
    const path = '/kangaroo/archive/on-the-shelf';
    const [writer, first, second] = [drive(), drive(), drive()];
    expect(await writer.ask(`open 0 ${path} ${CREATE_TRUNCATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await writer.ask(`write 0 0 ${bytes} 5`)).toBe(`ok ${bytes}`);
    expect(await writer.ask(`push ${path}`)).toBe('ok');
    for (const driver of [first, second]) {
      expect(await driver.ask(`open 0 ${path} 0 0`)).toMatch(/^ok/);
    }
    expect(await inPieces(first, bytes, 5)).toEqual([]);
    for (const { pid } of [archive, job]) signal(pid, 'SIGSTOP');
    try {
      // Nobody can be asked, and it is more than a process keeps for itself.
      expect(await inPieces(second, bytes, 5)).toEqual([]);
      expect(await inPieces(first, bytes, 5)).toEqual([]);
    } finally {
      for (const { pid } of [archive, job]) signal(pid, 'SIGCONT');
    }
    expect(await writer.ask('write 0 7000000 1000 9')).toBe('ok 7001000');
    expect(await second.ask('check 0 7000000 1000 9')).toBe('ok 1000');
    expect(await second.ask('check 0 7001000 100000 5')).toBe('ok 100000');
    expect(await writer.ask(`push ${path}`)).toBe('ok');
    expect(await first.ask('check 0 7000000 1000 9')).toBe('ok 1000');
    expect(await first.ask('check 0 0 7000000 5')).toBe('ok 7000000');
  });

  it('are read with holes, cuts and small writes over large ones', async () => {
    const path = '/kangaroo/archive/in-place-mixed';
    const alone = await startAlone();
    const [writer, reader] = [drive(alone.clientEnv), drive(alone.clientEnv)];
    expect(await writer.ask(`open 0 ${path} ${CREATE_TRUNCATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await reader.ask(`open 0 ${path} 0 0`)).toMatch(/^ok/);
    expect(await writer.ask('write 0 300000 700000 1')).toBe('ok 1000000');
    const wanted = Buffer.concat([Buffer.alloc(300_000), pattern(1, 300_000, 700_000)]);
    for (let at = 310_000; at < 900_000; at += 3_001) {
      const size = at % 4 === 0 ? 5_000 : 50;
      pattern(2, at, size).copy(wanted, at);
      expect(await writer.ask(`write 0 ${at} ${size} 2`)).toBe(`ok ${at + size}`);
      const from = at - (at % 50_000) - 40_000;
      const read = await reader.ask(`read 0 ${from} 100000`);
      const sum = crc32c(wanted.subarray(from, from + 100_000))
        .toString(16)
        .padStart(8, '0');
      expect(read).toBe(`ok 100000 ${sum}`);
    }
    expect(await writer.ask('cut 0 500000')).toBe('ok');
    expect(await writer.ask('cut 0 600000')).toBe('ok');
    wanted.fill(0, 500_000);
    const sum = crc32c(wanted.subarray(0, 600_000)).toString(16).padStart(8, '0');
    expect(await reader.ask('read 0 0 999999')).toBe(`ok 600000 ${sum}`);
    await alone.destroy();
  });

  /** A first hop whose next one is nowhere. */
  async function startAlone(): Promise<Hop> {
    const alone = cluster.add({ name: `alone-${++alones}`, routes: ['archive=127.0.0.1:1'] });
    await alone.start();
    return alone;
  }

  /** What the data segments of the first hop take of its disk, in blocks of 512 bytes. */
  function segmentBlocks(): number {
    const segments = join(job.spool, 'segments');
    const names = readdirSync(segments).filter((name) => name.endsWith('.data'));
    return names.reduce((sum, name) => {
      return sum + (statSync(join(segments, name), { throwIfNoEntry: false })?.blocks ?? 0);
    }, 0);
  }
});
