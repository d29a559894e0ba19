/**
 * The C core of the adapter (native/core): names, frames and checksums by themselves, then files of
 * a real server, written and read by several processes, with programs and servers killed meanwhile.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MESSAGES, type MessageName } from '../../src/protocol/messages.ts';
import { inodeNumber } from '../../src/server/board-layout.ts';
import { whyNoCompiler } from '../support/c-program.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import { compileCore, CoreDriver, pattern } from '../support/core.ts';
import { signal } from '../support/proc.ts';
import { pause, until } from '../support/wait.ts';

const why = process.platform === 'linux' ? whyNoCompiler() : 'the adapter needs Linux';
if (why !== null) process.stderr.write(`core.test.ts: skipped: ${why}\n`);

const NAMES = ['names', 'crc32c', 'wire', 'file', 'load'] as const;
const CREATE_WRITE = 9;
const CREATE_TRUNCATE_WRITE = 13;

let directory = '';
let plain: Readonly<Record<string, string>> = {};
let sanitized: Readonly<Record<string, string>> = {};

beforeAll(() => {
  if (why !== null) return;
  directory = mkdtempSync(join(tmpdir(), 'kg-core-'));
  plain = compileCore(directory, NAMES, 'plain');
  sanitized = compileCore(directory, NAMES, 'sanitized');
}, 180_000);

afterAll(() => {
  if (directory !== '') rmSync(directory, { recursive: true, force: true });
});

describe.skipIf(why !== null)('the core by itself', () => {
  it('takes names apart', () => {
    for (const programs of [plain, sanitized]) {
      const { status, stdout, stderr } = runCore(programs, 'names');
      expect({ status, stderr, wrong: stdout.replace(/^ino.*\n/m, '') }).toEqual({
        status: 0,
        stderr:
          "kangaroo: KANGAROO_MOUNTS: 'nonsense' is not LOGICAL=/TARGET, going on without it\n",
        wrong: '',
      });
      expect(stdout).toContain(`ino ${inodeNumber('h', 'a/b')}`);
    }
  });

  it('makes the same checksum in every way', () => {
    for (const programs of [plain, sanitized]) {
      const { status, stdout, stderr } = runCore(programs, 'crc32c');
      expect({ status, stderr, stdout }).toMatchObject({ status: 0, stderr: '' });
    }
  });

  it('makes and reads the frames of the vectors', () => {
    const vectors = knownVectors();
    expect(vectors.length).toBeGreaterThan(30);
    for (const programs of [plain, sanitized]) {
      const encodable = vectors.filter(({ name }) => !/^(LISTED|PLACES)$/.test(name));
      expect(wire(programs, encodable.map(encodeLine))).toEqual(encodable.map(({ hex }) => hex));
      const decoded = wire(
        programs,
        vectors.map(({ hex }) => `D ${hex}`),
      );
      expect(decoded).toEqual(vectors.map(decodedLine));
    }
  });

  it('refuses frames that were cut short or changed', () => {
    const lines: string[] = [];
    for (const { hex } of knownVectors()) {
      for (let bytes = 0; bytes < Math.min(hex.length / 2, 200); bytes++) {
        lines.push(`D ${hex.slice(0, bytes * 2)}`);
      }
    }
    expect(new Set(wire(sanitized, lines))).toEqual(new Set(['bad']));
  });
});

interface Vector {
  readonly name: MessageName;
  readonly callId: number;
  readonly message: Readonly<Record<string, unknown>>;
  readonly hex: string;
}

const WIRE_NAMES = [
  ...['HELLO', 'WELCOME', 'COMMIT', 'COMMITTED', 'PUSH', 'PROGRESS', 'GET', 'DATA', 'STAT'],
  ...['FOUND', 'LIST', 'LISTED', 'GRANT', 'GRANTED', 'DONE', 'ERROR', 'PING', 'PONG', 'BYE'],
  ...['OPEN', 'OPENED', 'CHANGE', 'NUDGE', 'LOCATE', 'PLACES'],
];

function knownVectors(): readonly Vector[] {
  const file = new URL('../vectors/frames.json', import.meta.url);
  const all = JSON.parse(readFileSync(file, 'utf8')) as readonly Vector[];
  return all.filter(({ name }) => WIRE_NAMES.includes(name));
}

function valuesOf(
  fields: Readonly<Record<string, unknown>>,
  message: Readonly<Record<string, unknown>>,
): string[] {
  return Object.entries(fields).flatMap(([field, kind]) => {
    const value = message[field];
    if (typeof kind === 'object' && kind !== null) {
      const { list } = kind as { readonly list: Readonly<Record<string, unknown>> };
      const rows = value as readonly Readonly<Record<string, unknown>>[];
      return [`${rows.length}`, ...rows.flatMap((row) => valuesOf(list, row))];
    }
    if (kind === 'text') return [`x${Buffer.from(String(value), 'utf8').toString('hex')}`];
    if (kind === 'path') return [`x${Buffer.from(String(value), 'latin1').toString('hex')}`];
    if (kind === 'id' || kind === 'bytes') return [`x${String(value)}`];
    if (kind === 'bool') return [value === true ? '1' : '0'];
    return [String(value)];
  });
}

function encodeLine({ name, callId, message }: Vector): string {
  const { type, fields } = MESSAGES[name];
  return ['E', type, callId, ...valuesOf(fields, message)].join(' ');
}

function decodedLine({ name, callId, message }: Vector): string {
  const { type, fields } = MESSAGES[name];
  return [type, callId, ...valuesOf(fields, message)].join(' ');
}

function wire(programs: Readonly<Record<string, string>>, lines: readonly string[]): string[] {
  const { stdout, stderr } = runCore(programs, 'wire', [], `${lines.join('\n')}\n`);
  expect(stderr).toBe('');
  return stdout.trimEnd().split('\n');
}

function runCore(
  programs: Readonly<Record<string, string>>,
  name: string,
  args: readonly string[] = [],
  input = '',
): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(programs[name] ?? '', args, {
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr };
}

describe.skipIf(why !== null)('files of a server', () => {
  const cluster = new Cluster();
  let job: Hop;
  let archive: Hop;
  const drivers: CoreDriver[] = [];

  beforeAll(async () => {
    [job, archive] = (await cluster.chain(['job', 'archive'])) as [Hop, Hop];
  });
  afterEach(async () => {
    await Promise.all(drivers.splice(0).map(async (driver) => await driver.close()));
  });
  afterAll(async () => {
    await cluster.close();
  });

  function drive(env: Readonly<Record<string, string>> = {}, programs = sanitized): CoreDriver {
    const driver = new CoreDriver(programs['file'] ?? '', { ...job.clientEnv, ...env });
    drivers.push(driver);
    return driver;
  }

  /** Asks all of them, and says what came of it. */
  async function askAll(driver: CoreDriver, commands: readonly string[]): Promise<string[]> {
    const answers: string[] = [];
    for (const command of commands) answers.push(await driver.ask(command));
    return answers;
  }

  async function load(args: readonly string[], programs = plain, times = 1): Promise<string[]> {
    const runs = Array.from({ length: times }, () => begin(args, programs).ended);
    const ended = await Promise.all(runs);
    for (const { status, stderr } of ended) {
      // A server that takes its time to come back is told about.
      const said = stderr.replace(/^kangaroo: waiting for the server at .*\n/, '');
      expect({ status, said }).toEqual({ status: 0, said: '' });
    }
    return ended.map(({ stdout }) => stdout);
  }

  function begin(args: readonly string[], programs = plain) {
    const child = spawn(programs['load'] ?? '', args, { env: job.clientEnv, stdio: 'pipe' });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const ended = new Promise<{ status: number | null; stdout: string; stderr: string }>(
      (resolve) => child.once('close', (status) => resolve({ status, stdout, stderr })),
    );
    return { child, ended };
  }

  async function arrived(path: string): Promise<Buffer> {
    const pushed = await job.run(['push', '--timeout', '60s', `kangaroo://archive/${path}`]);
    expect(pushed.stderr).toBe('');
    return readFileSync(join(archive.exportDirectory, path));
  }

  it('are opened, written, read, cut and renamed', async () => {
    const driver = drive();
    const path = '/kangaroo/archive/one';
    expect(await driver.ask(`open 0 ${path} ${CREATE_WRITE} 640`)).toMatch(/^ok 1 0 640 /);
    const commands = ['write 0 0 10 1', 'write 0 10 20 1', 'write 0 30 300000 1'];
    expect(await askAll(driver, commands)).toEqual(['ok 10', 'ok 30', 'ok 300030']);
    expect(await driver.ask('check 0 0 400000 1')).toBe('ok 300030');
    expect(await driver.ask('write 0 5 3 9')).toBe('ok 8');
    expect(await driver.ask('check 0 0 100 1')).toMatch(/^bad [567]$/);
    expect(await driver.ask('write 0 5 3 1')).toBe('ok 8');
    expect(await driver.ask('check 0 0 400000 1')).toBe('ok 300030');
    expect(await driver.ask('append 0 7 2')).toBe('ok 300037');
    expect(await driver.ask('facts 0')).toMatch(/^ok 1 300037 640 /);
    expect(await driver.ask(`stat ${path}`)).toMatch(/^ok 1 300037 640 /);
    expect(await driver.ask(`rename ${path} /kangaroo/archive/two`)).toBe('ok');
    expect(await driver.ask('place 0')).toBe('ok archive two');
    expect(await askAll(driver, ['write 0 0 10 5', 'cut 0 10', 'set 0 4 600 0'])).toEqual([
      'ok 10',
      'ok',
      'ok',
    ]);
    expect(await driver.ask('facts 0')).toMatch(/^ok 1 10 600 /);
    expect(await driver.ask('read 0 10 5')).toBe('ok 0 00000000');
    expect(await askAll(driver, ['dirty', 'commit', 'dirty'])).toEqual(['ok 1', 'ok', 'ok 0']);
    expect(await driver.ask('push /kangaroo/archive/two')).toBe('ok');
    expect(readFileSync(join(archive.exportDirectory, 'two'))).toEqual(pattern(5, 0, 10));
    expect(await driver.ask('unlink /kangaroo/archive/two')).toBe('ok');
    const late = ['write 0 0 1 1', 'read 0 0 1', 'cut 0 0', 'facts 0'];
    expect(await askAll(driver, late)).toEqual(['ESTALE', 'ESTALE', 'ESTALE', 'ESTALE']);
  });

  it('say what POSIX says about names', async () => {
    const driver = drive();
    expect(await driver.ask('mkdir /kangaroo/archive/dir')).toBe('ok');
    expect(await driver.ask(`open 0 /kangaroo/archive/dir/f ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    const commands: Readonly<Record<string, string>> = {
      'mkdir /kangaroo/archive/dir': 'EEXIST',
      'rmdir /kangaroo/archive/dir': 'ENOTEMPTY',
      'unlink /kangaroo/archive/dir': 'EISDIR',
      'rmdir /kangaroo/archive/dir/f': 'ENOTDIR',
      'stat /kangaroo/archive/nothing': 'ENOENT',
      'unlink /kangaroo/archive/nothing': 'ENOENT',
      'rename /kangaroo/archive/dir /kangaroo/other/dir': 'EXDEV',
      'open 1 /kangaroo/archive/dir 9 644': 'EISDIR',
      'open 1 /kangaroo/archive/dir/f 3 644': 'EEXIST',
      'open 1 /kangaroo/archive/dir/f 16 0': 'ENOTDIR',
      'open 1 /kangaroo/archive/none/f 9 644': 'ENOENT',
      'list /kangaroo/archive/dir': 'ok f:1:0',
    };
    for (const [command, answer] of Object.entries(commands)) {
      expect(`${command}: ${await driver.ask(command)}`).toBe(`${command}: ${answer}`);
    }
  });

  it('keep a million writes of a byte', async () => {
    const [said] = await load(['bytes', '/kangaroo/archive/bytes', '1000000']);
    process.stderr.write(`core.test.ts: ${said}`);
    const bytes = await arrived('bytes');
    expect(bytes.length).toBe(1_000_000);
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== 97 + (i % 23)) throw new Error(`byte ${i} is ${bytes[i]}`);
    }
  });

  it.each([100, 3_000, 20_000, 1_500_000])(
    'keep the lines of three appenders whole, of %i bytes',
    async (size) => {
      const path = `lines-${size}`;
      const count = size > 1_000_000 ? 20 : 1_000;
      await load(['append', `/kangaroo/archive/${path}`, `${count}`, `${size}`], plain, 3);
      assertLines(await arrived(path), size, { writers: 3, each: count });
    },
  );

  it('keep the lines of four threads whole', async () => {
    for (const size of [50, 9_000]) {
      const path = `threads-${size}`;
      await load(['threads', `/kangaroo/archive/${path}`, '300', `${size}`], sanitized);
      assertLines(await arrived(path), size, { writers: 4, each: 300 });
    }
  });

  it('show what another process has written', async () => {
    const [writer, reader] = [drive(), drive()];
    const path = '/kangaroo/archive/shared';
    expect(await writer.ask(`open 0 ${path} ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await reader.ask(`open 0 ${path} 0 0`)).toMatch(/^ok 1 0 /);
    for (let round = 1; round <= 20; round++) {
      const count = round % 3 === 0 ? 70_000 : 100;
      expect(await writer.ask(`write 0 0 ${count} ${round}`)).toBe(`ok ${count}`);
      expect(await reader.ask(`check 0 0 ${count} ${round}`)).toBe(`ok ${count}`);
      expect(await writer.ask(`check 0 0 ${count} ${round}`)).toBe(`ok ${count}`);
    }
  });

  it('arrive though their writer says nothing more', async () => {
    const driver = drive();
    expect(await driver.ask(`open 0 /kangaroo/archive/idle ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    await pause(300);
    expect(await driver.ask('write 0 0 1000 4')).toBe('ok 1000');
    await until('the file to arrive', 10_000, () => {
      const file = join(archive.exportDirectory, 'idle');
      return existsSync(file) && readFileSync(file).equals(pattern(4, 0, 1000));
    });
  });

  it('are a child’s after a fork, by connections of its own', async () => {
    const driver = drive({}, plain);
    const path = '/kangaroo/archive/forked';
    expect(await driver.ask(`open 0 ${path} ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('write 0 0 50000 1')).toBe('ok 50000');
    expect(await driver.ask('privates')).toMatch(/^ok [1-9]\d* [1-9]/);
    expect(await driver.ask('fork')).toMatch(/^ok \d+$/);
    expect(await driver.ask('privates')).toBe('ok 0 0');
    expect(await driver.ask('dirty')).toBe('ok 0');
    expect(await driver.ask('write 0 50000 50000 1')).toBe('ok 100000');
    expect(await driver.ask('write 0 100000 10 1')).toBe('ok 100010');
    expect(await driver.ask('check 0 0 200000 1')).toBe('ok 100010');
    expect(await driver.ask('commit')).toBe('ok');
    await driver.close();
    expect(await arrived('forked')).toEqual(pattern(1, 0, 100_010));
  });

  it.each([100, 9_000])('are whole up to where a killed writer was (%i bytes)', async (size) => {
    const path = `killed-${size}`;
    const { child, ended } = begin(['append', `/kangaroo/archive/${path}`, '100000000', `${size}`]);
    await pause(700);
    child.kill('SIGKILL');
    await ended;
    const bytes = await arrived(path);
    expect(bytes.length).toBeGreaterThan(size);
    assertLines(bytes, size, { writers: 1, each: bytes.length / size });
  });

  it.each([100, 9_000])(
    'are whole after the server was killed and came back (%i bytes)',
    async (size) => {
      const path = `restarted-${size}`;
      const count = 30_000;
      const run = load(['append', `/kangaroo/archive/${path}`, `${count}`, `${size}`], plain, 2);
      for (let i = 0; i < 3; i++) {
        await pause(150);
        await job.kill();
        await pause(100);
        await job.start();
      }
      await run;
      assertLines(await arrived(path), size, { writers: 2, each: count });
    },
    120_000,
  );

  it('can be written on after the process said that it ends', async () => {
    const driver = drive();
    const path = '/kangaroo/archive/farewell';
    expect(await driver.ask(`open 0 ${path} ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('write 0 0 100000 1')).toBe('ok 100000');
    expect(await driver.ask('farewell')).toBe('ok');
    expect(await driver.ask('commit')).toBe('ok');
    for (let end = 200_000; end < 500_000; end += 100_000) {
      expect(await driver.ask('farewell')).toBe('ok');
      expect(await driver.ask('privates')).toMatch(/^ok 2 2$/);
      expect(await driver.ask(`write 0 ${end - 100_000} 100000 1`)).toBe(`ok ${end}`);
      expect(await driver.ask(`mkdir /kangaroo/archive/farewell-${end}`)).toBe('ok');
      expect(await driver.ask('commit')).toBe('ok');
    }
    expect(await arrived('farewell')).toEqual(pattern(1, 0, 400_000));
  });

  it('make a call wait for a server that is gone, and no longer than told', async () => {
    const driver = drive({ KANGAROO_TIMEOUT: '1500ms' });
    expect(await driver.ask(`open 0 /kangaroo/archive/gone ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('commit')).toBe('ok');
    await job.kill();
    // What was known of a name is believed for a second.
    await pause(1_100);
    const begun = performance.now();
    expect(await driver.ask('stat /kangaroo/archive/gone')).toBe('ETIMEDOUT');
    expect(performance.now() - begun).toBeGreaterThan(1_400);
    const asked = driver.ask('stat /kangaroo/archive/gone');
    await pause(100);
    await job.start();
    // Perhaps the server took longer to start than the call waited; the next one finds it.
    expect(['ETIMEDOUT', 'ok']).toContain((await asked).split(' ')[0]);
    expect(await driver.ask('stat /kangaroo/archive/gone')).toMatch(/^ok 1 0 /);
    expect(await driver.ask('write 0 0 10 1')).toBe('ok 10');
    expect(await driver.ask('commit')).toBe('ok');
  });

  it('let a push that waits be ended by a signal', async () => {
    const driver = drive();
    expect(await driver.ask(`open 0 /kangaroo/archive/late ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    await archive.stop();
    expect(await driver.ask('write 0 0 10 1')).toBe('ok 10');
    const pushed = driver.ask('push /kangaroo/archive/late').catch(() => 'killed');
    await pause(300);
    signal(driver.child.pid ?? 0, 'SIGTERM');
    expect(await driver.ended).toBe('SIGTERM');
    expect(await pushed).toBe('killed');
    await archive.start();
    expect(await arrived('late')).toEqual(pattern(1, 0, 10));
  });

  it('tell a push why the destination refuses them', async () => {
    const driver = drive();
    await archive.stop();
    mkdirSync(join(archive.exportDirectory, 'clash'));
    const path = '/kangaroo/archive/clash';
    expect(await driver.ask(`open 0 ${path} ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('write 0 0 10 1')).toBe('ok 10');
    await archive.start();
    expect(await driver.ask(`push ${path}`)).toBe('EISDIR');
    const discarded = await job.run(['discard', 'kangaroo://archive/clash']);
    expect(discarded.stderr).toBe('');
  });

  it('make their writer wait while the spool is full, until a signal ends it', async () => {
    const args = ['--spool-limit', '64M'];
    const full = cluster.add({ name: 'full', routes: ['archive=127.0.0.1:1'], args });
    await full.start();
    const env = { ...full.clientEnv, KANGAROO_TIMEOUT: '1s' };
    const argv = ['append', '/kangaroo/archive/full', '100000000', '100000'];
    const child = spawn(plain['load'] ?? '', argv, { env, stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('close', (_, by) => resolve(by)));
    await pause(4_000);
    expect(child.exitCode).toBe(null);
    child.kill('SIGTERM');
    expect(await ended).toBe('SIGTERM');
    await full.destroy();
  });

  it('are opened again by name when all was committed before the board was lost', async () => {
    const driver = drive();
    const path = '/kangaroo/archive/again';
    expect(await driver.ask(`open 0 ${path} ${CREATE_TRUNCATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('write 0 0 5000 3')).toBe('ok 5000');
    expect(await driver.ask(`push ${path}`)).toBe('ok');
    expect(await driver.ask('commit')).toBe('ok');
    await loseBoard();
    expect(await driver.ask(`stat ${path}`)).toMatch(/^ok 1 5000 /);
    expect(await driver.ask('check 0 0 9999 3')).toBe('ok 5000');
    expect(await driver.ask('append 0 10 3')).toBe('ok 5010');
    expect((await arrived('again')).length).toBe(5_010);
  });

  it('cost the program its life when what it wrote is not there any more', async () => {
    const verdict = join(cluster.directory, 'verdict');
    const driver = drive({ KANGAROO_VERDICT: verdict });
    expect(await driver.ask(`open 0 /kangaroo/archive/lost ${CREATE_WRITE} 644`)).toMatch(/^ok/);
    expect(await driver.ask('write 0 0 5000 3')).toBe('ok 5000');
    await loseBoard();
    // What was known of a name is believed for a second.
    await pause(1_100);
    driver.ask('stat /kangaroo/archive/lost').catch(() => undefined);
    expect(await driver.ended).toBe('SIGKILL');
    expect(driver.stderr).toMatch(/^kangaroo: .*came back without/);
    expect(readFileSync(verdict, 'utf8')).toMatch(/^75 /);
  });

  it('refuse a server that is reached by TCP, in one line', async () => {
    const verdict = join(cluster.directory, 'never');
    const driver = drive({ KANGAROO_SERVER: job.address, KANGAROO_VERDICT: verdict });
    expect(await driver.ask('stat /kangaroo/archive/x')).toBe('EPROTONOSUPPORT');
    expect(await driver.ask('stat /kangaroo/archive/x')).toBe('EPROTONOSUPPORT');
    expect(driver.stderr.split('\n').length).toBe(2);
    expect(readFileSync(verdict, 'utf8')).toMatch(/^78 /);
  });

  /** As after a reboot: the server is killed, and its board and spool are gone. */
  async function loseBoard(): Promise<void> {
    const { spoolId } = job.ready;
    await job.kill();
    rmSync(`/dev/shm/kangaroo-${process.getuid?.()}-${spoolId}`, { force: true });
    rmSync(join(job.spool, 'board'), { force: true });
    await job.start();
  }
});

/** Lines of core-load: whole, and those of each writer in its order. */
function assertLines(
  bytes: Buffer,
  size: number,
  { writers, each }: { readonly writers: number; readonly each: number },
): void {
  expect(bytes.length).toBe(writers * each * size);
  const next = new Map<string, number>();
  for (let at = 0; at < bytes.length; at += size) {
    const line = bytes.subarray(at, at + size);
    const [, writer = '', number] = /^([\d.]+) (\d+) \.*\n$/.exec(line.toString('latin1')) ?? [];
    const wanted = next.get(writer) ?? 0;
    if (number !== `${wanted}`) throw new Error(`at ${at}: line ${number}, not ${wanted}`);
    next.set(writer, wanted + 1);
  }
  expect(next.size).toBe(writers);
}
