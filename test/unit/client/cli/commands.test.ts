/**
 * The commands against a server in this process: what they ask of it, what they print, how they
 * end. What a real server makes of it is test/integration's business.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { KangarooError } from '../../../../src/base/errors.ts';
import { FakeServer } from './fake-server.ts';
import { run, type RunOptions, type Ran } from './run-io.ts';

let server: FakeServer;
let scratch: string;

beforeEach(async () => {
  server = await new FakeServer().start();
  scratch = mkdtempSync(join(tmpdir(), 'kangaroo-cli-files-'));
});

afterEach(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

async function kangaroo(argv: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return await run(argv, { ...options, env: { KANGAROO_SERVER: server.address } });
}

function local(name: string, bytes: string | Buffer): string {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
}

describe('put', () => {
  test('a file, then a commit', async () => {
    const ran = await kangaroo(['put', local('f', 'hello'), 'kangaroo://a/f']);
    expect(ran).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(server.files.get('f')?.toString()).toBe('hello');
    expect(server.asked).toEqual(['commit']);
  });

  test('--push asks for no commit, and waits for exactly what was put', async () => {
    const sources = [local('f', 'x'), local('g', 'y')];
    expect(await kangaroo(['put', ...sources, 'kangaroo://a/d/', '--push'])).toMatchObject({
      status: 0,
      stderr: '',
    });
    expect(server.asked).toEqual(['push kangaroo://a/d/f', 'push kangaroo://a/d/g']);
  });

  test('--push of one file into a directory that is there waits for that file', async () => {
    server.files.set('d', null);
    const ran = await kangaroo(['put', local('f', 'x'), '/kangaroo/a/d', '--push']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(server.asked).toEqual(['push kangaroo://a/d/f']);
  });

  test('standard input', async () => {
    const stdin = Readable.from([Buffer.from('one '), Buffer.from('two')]);
    const ran = await kangaroo(['put', '-', 'kangaroo://a/in'], { stdin });
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(server.files.get('in')?.toString()).toBe('one two');
  });

  test('one bad file has its line, the others are put, the worst status counts', async () => {
    const sources = [local('f', 'x'), join(scratch, 'missing'), local('g', 'y')];
    const { status, stderr } = await kangaroo(['put', ...sources, 'kangaroo://a/d/']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^kangaroo put: [^\n]*missing[^\n]*\n$/);
    expect([...server.files.keys()]).toEqual(expect.arrayContaining(['d/f', 'd/g']));
    expect(server.asked).toEqual(['commit']);
  });

  test('on a terminal: a progress line that leaves no trace, and one line at the end', async () => {
    const argv = ['put', local('f', 'x'), 'kangaroo://a/d/'];
    const { status, stdout, stderr } = await kangaroo(argv, { terminal: true });
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
    expect(stderr).toMatch(/kangaroo put: 1 file, 1 B in \S+ m?s; safe at first-hop\n$/);
    expect(stderr).toContain('\x1b[?25h');
    const quiet = await kangaroo([...argv, '--no-progress'], { terminal: true });
    expect(quiet).toMatchObject({ status: 0, stderr: '' });
    server.pushError = new KangarooError('HELD', 'kangaroo://a/d/f: permission denied');
    const held = await kangaroo([...argv, '--push'], { terminal: true });
    expect(held.status).toBe(73);
    expect(held.stderr).not.toContain('arrived');
  });

  test('a directory wants -r', async () => {
    mkdirSync(join(scratch, 'tree'));
    writeFileSync(join(scratch, 'tree', 'leaf'), 'green');
    const argv = ['put', join(scratch, 'tree'), 'kangaroo://a/tree'];
    expect(await kangaroo(argv)).toMatchObject({ status: 1 });
    expect(server.files.size).toBe(0);
    expect(await kangaroo([...argv, '-r'])).toMatchObject({ status: 0, stderr: '' });
    expect(server.files.get('tree/leaf')?.toString()).toBe('green');
  });
});

describe('get', () => {
  beforeEach(() => server.files.set('f', Buffer.from('0123456789')));

  test('to a file, to standard output, a range', async () => {
    const to = join(scratch, 'out');
    expect(await kangaroo(['get', 'kangaroo://a/f', to])).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(to, 'utf8')).toBe('0123456789');
    expect((await kangaroo(['get', '/kangaroo/a/f', '-'])).stdout).toBe('0123456789');
    const range = ['--offset', '3', '--length', '4'];
    expect((await kangaroo(['get', 'kangaroo://a/f', '-', ...range])).stdout).toBe('3456');
  });

  test('bytes, not text', async () => {
    const bytes = Buffer.from([0, 0xff, 0xfe, 0x80, 10]);
    server.files.set('b', bytes);
    expect((await kangaroo(['get', 'kangaroo://a/b', '-'])).stdoutBytes).toEqual(bytes);
  });

  test('what is not there', async () => {
    const { status, stdout, stderr } = await kangaroo(['get', 'kangaroo://a/none', '-']);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^kangaroo get: .*kangaroo:\/\/a\/none.*\n$/);
  });
});

describe('barriers', () => {
  test('commit', async () => {
    expect(await kangaroo(['commit'])).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(server.asked).toEqual(['commit']);
  });

  test('push of everything, of names and of addresses', async () => {
    expect(await kangaroo(['push'])).toMatchObject({ status: 0, stdout: '', stderr: '' });
    await kangaroo(['push', 'a', '/kangaroo/b/c', 'kangaroo://b/d/']);
    expect(server.asked).toEqual([
      'push',
      'push kangaroo://a/',
      'push kangaroo://b/c',
      'push kangaroo://b/d',
    ]);
  });

  test('held is 73, and the other targets are still pushed', async () => {
    server.pushError = new KangarooError('HELD', 'kangaroo://a/x: permission denied');
    const { status, stderr } = await kangaroo(['push', 'a', 'b']);
    expect(status).toBe(73);
    expect(stderr.trim().split('\n')).toHaveLength(2);
    expect(server.asked).toHaveLength(2);
  });

  test('not yet is 75 and says what is on the way and why', async () => {
    server.pushProgress = [
      { operations: 3, bytes: 5 * 1024 ** 2, where: 'a', reason: 'no answer' },
    ];
    server.pushError = new KangarooError('NOT_YET', 'push: the time ran out');
    const { status, stderr } = await kangaroo(['push', '--timeout', '5s']);
    expect(status).toBe(75);
    expect(stderr).toBe(
      'kangaroo push: the time ran out; 5 MiB in 3 operations on the way, waiting: a: no answer ' +
        '(nothing is lost; try again later)\n',
    );
  });

  test('--timeout ends it even when the server says nothing', async () => {
    server.pushError = 'never';
    const startMs = performance.now();
    const { status, stderr } = await kangaroo(['push', '--timeout', '200ms']);
    expect(status).toBe(75);
    expect(stderr).toContain('the time ran out');
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  test('Ctrl-C is 130', async () => {
    server.pushError = 'never';
    const stop = new AbortController();
    const running = kangaroo(['push'], { signal: stop.signal });
    while (server.asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort();
    expect((await running).status).toBe(130);
  });
});

describe('names', () => {
  beforeEach(() => {
    server.files.set('d', null);
    server.files.set('d/e', null);
    server.files.set('d/e/deep', Buffer.from('x'));
    server.files.set('d/f', Buffer.from('12345'));
    server.files.set('d/g\x1b[2J', Buffer.alloc(0));
    server.files.set('h', Buffer.from('h'));
  });

  test('ls', async () => {
    const { stdout, status } = await kangaroo(['ls', 'kangaroo://a/d']);
    expect(status).toBe(0);
    expect(stdout).toBe('e/\nf\ng\\x1b[2J\n');
    expect((await kangaroo(['ls', 'kangaroo://a/h'])).stdout).toBe('h\n');
    const two = await kangaroo(['ls', 'kangaroo://a/d/e', 'kangaroo://a/h']);
    expect(two.stdout).toBe('kangaroo://a/d/e:\ndeep\n\nkangaroo://a/h:\nh\n');
  });

  test('ls -l and --json', async () => {
    const long = (await kangaroo(['ls', '-l', 'kangaroo://a/d'])).stdout;
    expect(long).toContain('drwxr-xr-x              0  2023-11-14 22:13:20  e/');
    expect(long).toContain('-rw-r-----              5  2023-11-14 22:13:20  f');
    const document: unknown = JSON.parse(
      (await kangaroo(['ls', '--json', '/kangaroo/a/d'])).stdout,
    );
    expect(document).toMatchObject({
      address: 'kangaroo://a/d',
      entries: [{ name: 'e', kind: 'directory' }, { name: 'f', size: 5 }, { size: 0 }],
    });
  });

  test('a missing directory does not hide the others', async () => {
    const { stdout, stderr, status } = await kangaroo([
      'ls',
      'kangaroo://a/no',
      'kangaroo://a/d/e',
    ]);
    expect(status).toBe(1);
    expect(stdout).toContain('deep\n');
    expect(stderr).toMatch(/^kangaroo ls: .*kangaroo:\/\/a\/no.*\n$/);
  });

  test('stat', async () => {
    const { stdout } = await kangaroo(['stat', 'kangaroo://a/d/f']);
    expect(stdout).toContain('kind      file');
    expect(stdout).toContain('size      5 bytes');
    expect(stdout).toContain('7 bytes are still on their way');
    const { stdout: json } = await kangaroo(['stat', '--json', 'kangaroo://a/d/f']);
    expect(JSON.parse(json)).toMatchObject({ kind: 'file', size: 5, pendingBytes: 7 });
  });

  test('mkdir', async () => {
    expect((await kangaroo(['mkdir', 'kangaroo://a/new'])).status).toBe(0);
    expect(server.files.get('new')).toBeNull();
    expect(server.asked).toEqual(['commit']);
    const { status, stderr } = await kangaroo(['mkdir', 'kangaroo://a/new']);
    expect(status).toBe(1);
    expect(stderr).toContain('kangaroo://a/new: there is a directory of that name');
    expect((await kangaroo(['mkdir', '-p', 'kangaroo://a/new'])).status).toBe(0);
    expect((await kangaroo(['mkdir', '-p', 'kangaroo://a/h'])).status).toBe(1);
  });

  test('mv: a new name, into a directory, and what cannot be', async () => {
    expect((await kangaroo(['mv', 'kangaroo://a/h', 'kangaroo://a/i'])).status).toBe(0);
    expect(server.files.get('i')?.toString()).toBe('h');
    expect((await kangaroo(['mv', 'kangaroo://a/i', 'kangaroo://a/d'])).status).toBe(0);
    expect(server.files.get('d/i')?.toString()).toBe('h');
    expect((await kangaroo(['mv', 'kangaroo://a/none', 'kangaroo://a/x'])).status).toBe(1);
    expect((await kangaroo(['mv', 'kangaroo://a/d/i', 'kangaroo://a/x/'])).status).toBe(1);
    expect((await kangaroo(['mv', 'kangaroo://a/d', 'kangaroo://a/d/e'])).status).toBe(1);
    expect((await kangaroo(['mv', 'kangaroo://a/', 'kangaroo://a/x'])).status).toBe(2);
  });

  test('rm wants -r for a directory, and then takes all of it', async () => {
    const { status, stderr } = await kangaroo(['rm', 'kangaroo://a/d']);
    expect(status).toBe(1);
    expect(stderr).toContain('kangaroo://a/d: is a directory (use rm -r)');
    expect((await kangaroo(['rm', '-r', 'kangaroo://a/d', 'kangaroo://a/h'])).status).toBe(0);
    expect([...server.files.keys()]).toEqual([]);
    expect((await kangaroo(['rm', '-r', 'kangaroo://a/'])).status).toBe(2);
  });
});

describe('status and messages', () => {
  const report = {
    server: { name: 'node7', spoolId: 'x', version: '0.1.0', uptimeSeconds: 60 },
    spool: { operations: 3, bytes: 4096, limitBytes: 8192, oldestSeconds: 5, state: 'ok' },
    destinations: [],
  };

  test('--json is one document and nothing else', async () => {
    server.documents.set('status', report);
    const { stdout, stderr, status } = await kangaroo(['status', '--json']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual(report);
    expect(server.asked[0]).toContain('"target":""');
    await kangaroo(['status', 'archive', '--json']);
    expect(server.asked[1]).toContain('"target":"kangaroo://archive/"');
  });

  test('--watch without a terminal tells changes, and ends by Ctrl-C with 0', async () => {
    server.documents.set('status', report);
    const stop = new AbortController();
    const running = kangaroo(['status', '--watch'], { signal: stop.signal });
    while (server.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    const { status, stdout, stderr } = await running;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^\S+Z node7: spool ok, 3 operations\n$/);
  });

  test('messages', async () => {
    server.documents.set('messages', { messages: [], last: 0 });
    expect((await kangaroo(['messages'])).stdout).toBe('no messages\n');
    const json = (await kangaroo(['messages', '--json'])).stdout;
    expect(JSON.parse(json)).toEqual({ messages: [], last: 0 });
  });

  test('messages --follow tells each once, and ends by Ctrl-C with 0', async () => {
    const message = {
      ...{ id: 1, at: 'T', since: 'S', server: 'a', address: 'kangaroo://a/x', operation: 'write' },
      ...{ reason: 'no permission', errno: 'EACCES', todo: 'chmod', operations: 1, bytes: 2 },
      state: 'held',
    };
    server.documents.set('messages', { messages: [message], last: 1 });
    const stop = new AbortController();
    const running = kangaroo(['messages', '--follow'], { signal: stop.signal });
    while (server.asked.length < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    server.documents.set('messages', { messages: [], last: 1 });
    while (server.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    const { status, stdout, stderr } = await running;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toBe('T held kangaroo://a/x: write at a: no permission (EACCES) (chmod)\n');
    expect(server.asked[1]).toContain('"after":1');
  });

  test('retry and discard', async () => {
    server.documents.set('retry', { retried: 1 });
    server.documents.set('discard', { discarded: 0 });
    expect((await kangaroo(['retry'])).stdout).toBe('tried again: 1 operation\n');
    expect((await kangaroo(['discard', 'a'])).stdout).toBe('nothing is held there\n');
    expect(server.asked[1]).toContain('"target":"kangaroo://a/"');
  });
});

test('no server is 69', async () => {
  const argv = ['put', local('f', 'x'), 'kangaroo://a/f', '--server', join(scratch, 'no.sock')];
  const { status, stderr } = await run(argv);
  expect(status).toBe(69);
  expect(stderr).toMatch(/^kangaroo put: .*no\.sock.*\n$/);
});
