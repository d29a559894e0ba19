/**
 * The everyday contract over real processes: what the commands do to files at a destination one hop
 * away, and what they return. Nothing is looked at but what a user could look at: exit statuses,
 * output, the export directory.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, type Hop } from '../support/cluster.ts';
import { type RunResult, startProgram } from '../support/kangaroo.ts';

let cluster: Cluster;
let first: Hop;
let last: Hop;
let local: string;

beforeAll(async () => {
  cluster = new Cluster();
  [first, last] = (await cluster.chain(['first', 'last'])) as [Hop, Hop];
  local = cluster.scratch('local');
});
afterAll(async () => {
  await cluster.close();
});

const at = (path: string): string => `kangaroo://last/${path}`;
const exported = (path: string): string => join(last.exportDirectory, path);

/** Runs a command that must succeed, silently. */
async function ok(...args: string[]): Promise<RunResult> {
  const result = await first.run(args);
  expect({ status: result.status, stderr: result.stderr }, args.join(' ')).toEqual({
    status: 0,
    stderr: '',
  });
  return result;
}

/** Runs a command that must fail with one line of words. */
async function fails(status: number, ...args: string[]): Promise<string> {
  const result = await first.run(args);
  expect(result.status, `${args.join(' ')}: ${result.stderr}`).toBe(status);
  expect(result.stderr).toMatch(/^kangaroo[^\n]*: [^\n]+\n$/);
  return result.stderr;
}

function makeFile(name: string, bytes: number): string {
  const path = join(local, name);
  writeFileSync(path, randomBytes(bytes));
  return path;
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('files', () => {
  test.each([0, 1, 65_536, 65_537, 1_048_576, 3_500_000])('put and get %i bytes', async (bytes) => {
    const source = makeFile(`size${bytes}`, bytes);
    await ok('put', source, at(`size${bytes}`), '--push');
    expect(hash(readFileSync(exported(`size${bytes}`)))).toBe(hash(readFileSync(source)));
    const back = join(local, `back${bytes}`);
    await ok('get', at(`size${bytes}`), back);
    expect(hash(readFileSync(back))).toBe(hash(readFileSync(source)));
  });

  test('70 MB over TCP, in blocks', async () => {
    const source = makeFile('large', 70_000_000);
    await ok('put', '--server', first.address, source, at('large'), '--push');
    expect(hash(readFileSync(exported('large')))).toBe(hash(readFileSync(source)));
    const { stdout } = await ok('get', '--server', first.address, at('large'), '-');
    expect(hash(stdout)).toBe(hash(readFileSync(source)));
    await ok('rm', at('large'));
  });

  test('a put over a longer file leaves nothing of it', async () => {
    await ok('put', makeFile('longer', 200_000), at('again'));
    const shorter = makeFile('shorter', 1_000);
    await ok('put', shorter, at('again'), '--push');
    expect(readFileSync(exported('again'))).toEqual(readFileSync(shorter));
  });

  test('standard input and output', async () => {
    const input = randomBytes(2_500_017);
    const put = await first.run(['put', '-', at('stream'), '--push'], { input });
    expect(put).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(exported('stream')).equals(input)).toBe(true);
    const { stdout } = await ok('get', at('stream'), '-');
    expect(stdout.equals(input)).toBe(true);
    const empty = await first.run(['put', '-', at('nothing'), '--push'], { input: '' });
    expect(empty).toMatchObject({ status: 0, stderr: '' });
    expect(statSync(exported('nothing')).size).toBe(0);
  });

  test('ranges, up to and behind the end', async () => {
    const source = makeFile('ranges', 100_000);
    const bytes = readFileSync(source);
    await ok('put', source, at('ranges'));
    const range = async (offset: string, length?: string): Promise<Buffer> => {
      const rest = length === undefined ? [] : ['--length', length];
      return (await ok('get', at('ranges'), '-', '--offset', offset, ...rest)).stdout;
    };
    expect((await range('0', '10')).equals(bytes.subarray(0, 10))).toBe(true);
    expect((await range('1K', '2K')).equals(bytes.subarray(1_024, 3_072))).toBe(true);
    expect((await range('99999')).equals(bytes.subarray(99_999))).toBe(true);
    expect((await range('99000', '5000')).equals(bytes.subarray(99_000))).toBe(true);
    expect(await range('100000')).toHaveLength(0);
    expect(await range('500000', '7')).toHaveLength(0);
  });

  test('several files go into a directory, under their own names', async () => {
    await ok('mkdir', at('into'));
    await ok('put', makeFile('one', 10), makeFile('two', 20), at('into/'), '--push');
    expect(readdirSync(exported('into')).sort()).toEqual(['one', 'two']);
  });
});

describe('trees', () => {
  test('modes, times, empty files and directories, there and back', async () => {
    const tree = join(local, 'tree');
    mkdirSync(join(tree, 'sub/deeper'), { recursive: true });
    mkdirSync(join(tree, 'empty'));
    writeFileSync(join(tree, 'private'), 'for my eyes\n');
    writeFileSync(join(tree, 'sub/program'), '#!/bin/sh\n');
    writeFileSync(join(tree, 'sub/deeper/zero'), '');
    chmodSync(join(tree, 'private'), 0o600);
    chmodSync(join(tree, 'sub/program'), 0o755);
    chmodSync(join(tree, 'empty'), 0o750);
    for (const path of [
      'private',
      'sub/program',
      'sub/deeper/zero',
      'sub/deeper',
      'sub',
      'empty',
    ]) {
      utimesSync(join(tree, path), 1_000_000_000, 1_234_567_890.5);
    }
    await ok('put', '-r', tree, at('tree'), '--push');
    await ok('get', '-r', at('tree'), join(local, 'tree-back'));
    for (const root of [exported('tree'), join(local, 'tree-back')]) {
      const modeOf = (path: string): number => statSync(join(root, path)).mode & 0o7777;
      expect(modeOf('private')).toBe(0o600);
      expect(modeOf('sub/program')).toBe(0o755);
      expect(modeOf('empty')).toBe(0o750);
      expect(readFileSync(join(root, 'private'), 'utf8')).toBe('for my eyes\n');
      expect(statSync(join(root, 'sub/deeper/zero')).size).toBe(0);
      for (const path of ['private', 'sub/program', 'sub/deeper', 'sub', 'empty']) {
        expect(statSync(join(root, path)).mtimeMs, path).toBe(1_234_567_890_500);
      }
    }
  });

  test('names with spaces, UTF-8, newlines, and bytes that are no text', async () => {
    const tree = join(local, 'names');
    mkdirSync(tree);
    const names = ['with space', 'tab\there', 'ümläut-日本', '-r', 'new\nline', '#%?&'];
    const raw = Buffer.concat([Buffer.from('raw-'), Buffer.from([0xff, 0x80, 0xfe])]);
    for (const name of names) writeFileSync(join(tree, name), name);
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), raw]), 'raw');
    await ok('put', '-r', tree, at('names'), '--push');
    const found = readdirSync(Buffer.from(exported('names')), { encoding: 'buffer' });
    const wanted = [...names.map((name) => Buffer.from(name)), raw];
    const sorted = (list: Buffer[]): string[] => list.map((name) => name.toString('hex')).sort();
    expect(sorted(found)).toEqual(sorted(wanted));
    await ok('get', '-r', at('names'), join(local, 'names-back'));
    const back = readdirSync(Buffer.from(join(local, 'names-back')), { encoding: 'buffer' });
    expect(sorted(back)).toEqual(sorted(wanted));
    for (const name of names) {
      expect((await ok('get', at(`names/${name}`), '-')).stdout.toString('utf8')).toBe(name);
    }
    const { stdout } = await ok('ls', at('names'));
    expect(stdout.toString('utf8').trimEnd().split('\n')).toHaveLength(wanted.length);
    await ok('mv', at('names/with space'), at('names/moved to here'));
    expect(await arrived('names/moved to here')).toBe('with space');
    await ok('rm', '-r', at('names'));
    await ok('push');
    expect(existsSync(exported('names'))).toBe(false);
  });

  test('a local name that is no text, as an argument', async () => {
    const path = `${local}/$(printf 'arg-\\377')`;
    writeFileSync(Buffer.concat([Buffer.from(`${local}/arg-`), Buffer.from([0xff])]), 'bytes');
    const script = `exec kangaroo put "${path}" ${at('argument')} --push`;
    const bin = `${process.cwd()}/bin`;
    const env = { ...first.clientEnv, PATH: `${bin}:${process.env['PATH']}` };
    const run = await startProgram('/bin/sh', ['-c', script], { env, input: '' }).result;
    // Node hands arguments over as text: such a name cannot be given, and that must be said.
    if (run.status === 0) expect(readFileSync(exported('argument'), 'utf8')).toBe('bytes');
    else expect(run.stderr).toMatch(/^kangaroo put: .+\n$/);
  });

  test('a symbolic link to a file is put as that file, others are skipped and named', async () => {
    const tree = join(local, 'links');
    mkdirSync(tree);
    writeFileSync(join(tree, 'file'), 'x');
    symlinkSync('file', join(tree, 'link'));
    symlinkSync('/', join(tree, 'away'));
    const put = await first.run(['put', '-r', tree, at('links'), '--push']);
    expect(put.stderr).toContain('links/away');
    expect(readFileSync(exported('links/file'), 'utf8')).toBe('x');
    expect(lstatSync(exported('links/link')).isFile()).toBe(true);
    expect(readFileSync(exported('links/link'), 'utf8')).toBe('x');
    expect(existsSync(exported('links/away'))).toBe(false);
  });

  test('2,000 small files', async () => {
    const tree = join(local, 'many');
    for (let i = 0; i < 2_000; i++) {
      const below = join(tree, `d${i % 20}`);
      mkdirSync(below, { recursive: true });
      writeFileSync(join(below, `f${i}`), `file ${i}`);
    }
    await ok('put', '-r', tree, at('many'), '--push');
    let count = 0;
    for (const name of readdirSync(exported('many'), { recursive: true })) {
      if (/f\d+$/.test(String(name))) count += 1;
    }
    expect(count).toBe(2_000);
    expect(readFileSync(exported('many/d19/f1999'), 'utf8')).toBe('file 1999');
  });
});

async function arrived(path: string): Promise<string> {
  await ok('push', at(path));
  return readFileSync(exported(path), 'utf8');
}

describe('names', () => {
  test('mkdir, ls, stat, mv, rm', async () => {
    await ok('mkdir', '-p', at('n/a/b'));
    await first.run(['put', '-', at('n/a/file'), '--push'], { input: 'twelve bytes' });
    const listed = JSON.parse((await ok('ls', '--json', at('n/a'))).stdout.toString()) as {
      entries: { name: string; kind: string; size: number }[];
    };
    expect(listed.entries).toMatchObject([
      { name: 'b', kind: 'directory' },
      { name: 'file', kind: 'file', size: 12 },
    ]);
    const facts: unknown = JSON.parse(
      (await ok('stat', '--json', at('n/a/file'))).stdout.toString(),
    );
    expect(facts).toMatchObject({ kind: 'file', size: 12 });
    await ok('mv', at('n/a/file'), at('n/moved'));
    await ok('mv', at('n/moved'), at('n/a/b/'));
    await ok('push', at('n'));
    expect(readFileSync(exported('n/a/b/moved'), 'utf8')).toBe('twelve bytes');
    await fails(1, 'rm', at('n/a'));
    await fails(1, 'mkdir', at('n/a'));
    await ok('rm', at('n/a/b/moved'));
    await fails(1, 'stat', at('n/a/b/moved'));
    await ok('rm', '-r', at('n'));
    await ok('push');
    expect(existsSync(exported('n'))).toBe(false);
  });

  test('the two forms of an address mean the same', async () => {
    await first.run(['put', '-', '/kangaroo/last/form', '--push'], { input: 'same' });
    expect((await ok('get', at('form'), '-')).stdout.toString()).toBe('same');
  });
});

describe('documents and exit statuses', () => {
  test('the ready file', () => {
    expect(first.ready).toMatchObject({ name: 'first', pid: first.pid, socket: first.socket });
    expect(first.ready.moverPid).toBe(first.moverPid);
    expect(first.ready.spoolId).toMatch(/^[0-9a-f]{32}$/);
    expect(first.ready.listen).toEqual([first.address]);
  });

  test('status', async () => {
    await ok('push');
    const report = await first.status();
    expect(report.server).toMatchObject({ name: 'first', spoolId: first.ready.spoolId });
    expect(report.spool).toMatchObject({ operations: 0, bytes: 0, state: 'ok' });
    expect(report.destinations.every(({ state }) => state === 'idle')).toBe(true);
    const { stdout } = await ok('messages', '--json');
    expect(JSON.parse(stdout.toString())).toMatchObject({ messages: [] });
  });

  test('1: refused for good', async () => {
    await fails(1, 'get', at('absent'), '-');
    await fails(1, 'put', join(local, 'absent'), at('x'));
    await fails(1, 'rm', at('absent'));
    await fails(1, 'ls', at('absent'));
    await fails(1, 'mv', at('absent'), at('other'));
  });

  test('2: wrong usage', async () => {
    await fails(2, 'put', 'only-one');
    await fails(2, 'put', '/etc/hostname', 'not-an-address');
    await fails(2, 'get', 'kangaroo://last/../etc', '-');
    await fails(2, 'push', '--timeout', 'soon');
    await fails(2, 'nonsense');
    await fails(2, 'server', '--name', 'x y');
    await fails(2, 'discard');
  });

  test('69: no server', async () => {
    for (const server of [join(local, 'no.sock'), '127.0.0.1:1']) {
      expect(await fails(69, 'status', '--server', server)).toContain(server);
      await fails(69, 'put', '--server', server, '/etc/hostname', at('x'));
      await fails(69, 'commit', '--server', server);
    }
  });

  test('1: a second server on the same spool', async () => {
    const line = ['server', '--name', 'second', '--spool', first.spool];
    const text = await fails(1, ...line, '--socket', join(local, 'second.sock'));
    expect(text).toContain('another server has this spool');
  });

  test('0: a server that is told to stop, and comes back with everything', async () => {
    await last.stop();
    await first.run(['put', '-', at('kept')], { input: 'over a restart' });
    expect(await first.stop()).toBe(0);
    await first.start();
    const waiting = await first.status(at('kept'));
    expect(waiting.spool.operations).toBeGreaterThan(0);
    expect(waiting.destinations).toHaveLength(1);
    expect(waiting.destinations[0]).toMatchObject({
      name: 'last',
      nextHop: last.address,
      state: 'waiting',
      queuedBytes: 14,
      heldOperations: 0,
      files: [{ path: 'kept', queuedBytes: 14, heldOperations: 0 }],
      filesOmitted: 0,
    });
    await last.start();
    expect(await arrived('kept')).toBe('over a restart');
  });
});
