/**
 * kangaroo run as a script sees it: what it passes on, what it adds, and how it ends.
 */
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LIBRARY, Site, whyNoAdapter } from '../support/adapted.ts';
import { program, type Running } from '../support/kangaroo.ts';
import { until } from '../support/wait.ts';

const why = whyNoAdapter();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);

/** What a program that runs has printed until now. */
function outputOf({ child }: Running): () => string {
  let text = '';
  child.stdout?.on('data', (bytes: Buffer) => (text += bytes.toString()));
  return () => text;
}

/** Whoever inherits a killed child may take its time to hear of it. */
function isRunning(pid: string): boolean {
  if (!existsSync(`/proc/${pid}`)) return false;
  return !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
}

describe.skipIf(why !== null)('kangaroo run', () => {
  let site: Site;

  beforeAll(async () => {
    site = await Site.open(2);
    site.makeDirectory('run');
  });

  afterAll(async () => await site?.close());

  const run = (...argv: string[]) => site.first.run(['run', ...argv]);

  test('a program sees /kangaroo, and its output and status are passed on', async () => {
    const ended = await run(
      '--',
      'sh',
      '-c',
      'echo hi > /kangaroo/archive/run/a; cat $0; exit 3',
      LIBRARY,
    );
    expect(ended.status).toBe(3);
    expect(ended.stdout.equals(readFileSync(LIBRARY))).toBe(true);
    await site.push('run');
    expect(readFileSync(site.arrived('run/a'), 'utf8')).toBe('hi\n');
  });

  test("options behind the program are the program's", async () => {
    const ended = await run('echo', '--server', 'x', '--', '-n');
    expect(ended.stdout.toString()).toBe('--server x -- -n\n');
    expect(ended.status).toBe(0);
  });

  test("standard input is the program's", async () => {
    const ended = await site.first.run(['run', 'wc', '-c'], { input: 'twelve bytes' });
    expect(ended.stdout.toString().trim()).toBe('12');
  });

  test('128 + n for signal n, 127 and 126 for what cannot be started', async () => {
    expect((await run('sh', '-c', 'kill -9 $$')).status).toBe(137);
    expect((await run('sh', '-c', 'kill -TERM $$')).status).toBe(143);
    const missing = await run('no-such-program-here');
    expect(missing).toMatchObject({ status: 127 });
    expect(missing.stderr).toMatch(/^kangaroo run: no-such-program-here: not found \(.*\)\n$/);
    const plain = join(site.cluster.directory, 'plain');
    writeFileSync(plain, 'text');
    expect(await run(plain)).toMatchObject({ status: 126 });
    expect(await run('/')).toMatchObject({ status: 126 });
  });

  test('a program in /kangaroo', async () => {
    writeFileSync(site.arrived('run/job'), '#!/bin/sh\necho "job $1"\nexit 5\n');
    chmodSync(site.arrived('run/job'), 0o755);
    const ended = await run('/kangaroo/archive/run/job', 'x y');
    expect(ended.stdout.toString()).toBe('job x y\n');
    expect(ended.status).toBe(5);
    expect((await run('/kangaroo/archive/run/none')).status).toBe(127);
  });

  test('signals are handed to the program, and its end is awaited', async () => {
    const script = 'trap "echo got; exit 9" TERM; echo ready; while :; do sleep 0.05; done';
    const running = site.first.begin(['run', 'sh', '-c', script], { input: '' });
    const text = outputOf(running);
    await until('the program', 10_000, () => text().includes('ready'));
    running.child.kill('SIGTERM');
    const ended = await running.result;
    expect(ended.stdout.toString()).toBe('ready\ngot\n');
    expect(ended.status).toBe(9);
  });

  test('--mount, --report, --print-library', async () => {
    const report = join(site.cluster.directory, 'report');
    const argv = ['--mount', '/data=kangaroo://archive/run', '--report', report];
    const ended = await run(...argv, 'sh', '-c', 'echo m > /data/mounted; cat /data/mounted');
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(ended.stdout.toString()).toBe('m\n');
    expect(readFileSync(report, 'utf8')).toContain('mounted');
    expect((await run('--print-library')).stdout.toString()).toBe(`${LIBRARY}\n`);
  });

  test('ten instances of a job that is hard-wired to output.txt', async () => {
    const jobs = Array.from({ length: 10 }, (_, i) =>
      run(
        '--mount',
        `output.txt=/kangaroo/archive/run/out-${i}`,
        'sh',
        '-c',
        `echo ${i} > output.txt`,
      ),
    );
    for (const { status, stderr } of await Promise.all(jobs))
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    await site.push('run');
    for (let i = 0; i < 10; i++) {
      expect(readFileSync(site.arrived(`run/out-${i}`), 'utf8')).toBe(`${i}\n`);
    }
  });

  test('75 and a line, when a server goes away with what was not committed', async () => {
    const lone = await Site.open(1);
    try {
      const directory = lone.makeDirectory('x');
      const script = `exec 5> ${directory}/f; echo begun >&5; echo ready; read -r go; exit 3`;
      const running = lone.first.begin(['run', '--timeout', '1s', 'sh', '-c', script]);
      const text = outputOf(running);
      await until('the program', 10_000, () => text().includes('ready'));
      await lone.first.kill();
      running.child.stdin?.end('go\n');
      const ended = await running.result;
      // Not 3, which is the program's own, nor 137, which is what the signal alone would give.
      expect(ended.status).toBe(75);
      expect(ended.stderr.split('\n').at(-2)).toBe(
        'kangaroo: the server is gone, and this program has written what it has not',
      );
    } finally {
      await lone.close();
    }
  });

  test('the same without anything uncommitted: the status is the program’s', async () => {
    const lone = await Site.open(1);
    try {
      const directory = lone.makeDirectory('x');
      // What a child wrote is committed at its exit; the shell itself has written nothing.
      const script = `cp /etc/passwd ${directory}/f; echo ready; read -r go; exit 3`;
      const running = lone.first.begin(['run', '--timeout', '1s', 'sh', '-c', script]);
      const text = outputOf(running);
      await until('the program', 10_000, () => text().includes('ready'));
      await lone.first.kill();
      running.child.stdin?.end('go\n');
      expect(await running.result).toMatchObject({ status: 3, stderr: '' });
    } finally {
      await lone.close();
    }
  });

  test('75 as soon as a part of it had to be killed: the rest goes too', async () => {
    // As the library does when it has to; it says why on standard error itself.
    const script = 'sleep 60 & echo $! $KANGAROO_VERDICT; wait';
    const running = site.first.begin(['run', 'sh', '-c', script], { input: '' });
    const text = outputOf(running);
    await until('the program', 10_000, () => text().endsWith('\n'));
    const [child = '', verdict = ''] = text().trim().split(' ');
    const begun = Date.now();
    writeFileSync(verdict, '78 once before\n75 the board is another one\n');
    expect(await running.result).toMatchObject({ status: 75, stderr: '' });
    expect(Date.now() - begun).toBeLessThan(20_000);
    expect(isRunning(child)).toBe(false);
  });

  test('78 and a line, when this can never work: a server that is not of this machine', async () => {
    const argv = ['--server', '127.0.0.1:1', 'sh', '-c', 'cat "$0"; exit 5'];
    const ended = await run(...argv, '/kangaroo/archive/x');
    expect(ended.stderr).toBe(
      'kangaroo: the server 127.0.0.1:1 is reached by TCP; only a server of this account on ' +
        'this machine serves adapted programs: name its Unix socket\n' +
        'cat: /kangaroo/archive/x: Protocol not supported\n',
    );
    expect(ended.status).toBe(78);
  });

  test('neither, when a server is only away: then the call fails', async () => {
    const server = join(site.cluster.directory, 'nobody.sock');
    const script = 'cat "$0" 2>&1; exit 5';
    const argv = ['--server', server, '--timeout', '500ms', 'sh', '-c', script];
    const ended = await run(...argv, '/kangaroo/archive/x');
    expect(ended.stdout.toString()).toContain('Connection timed out');
    expect(ended.stderr).not.toMatch(/never|again|killed/);
    expect(ended.status).toBe(5);
  });

  test.each([75, 78])('%i of the program itself is passed on, with no line of ours', async (n) => {
    const ended = await run('sh', '-c', `echo x > ${site.path('run/own')}; exit ${n}`);
    expect(ended).toMatchObject({ status: n, stderr: '' });
  });

  test('a destination that says nothing is waited for now and then, not for each name', async () => {
    const d = site.path('mute');
    const script = `
      for i in {1..20}; do mkdir ${d}$i && chmod 700 ${d}$i && touch -d @1000 ${d}$i; done
      stat -c '%a %Y' ${d}20; for i in {1..20}; do echo $i > ${d}$i/f; done`;
    site.last.pause();
    try {
      const begunMs = performance.now();
      const ended = await site.run(['bash', '-c', script], { deadlineMs: 100_000 });
      expect(ended).toMatchObject({ status: 0, stdout: '700 1000\n', stderr: '' });
      expect(performance.now() - begunMs).toBeLessThan(15_000);
    } finally {
      site.last.continue();
    }
    await site.push();
    expect(readFileSync(site.arrived('mute20/f'), 'utf8')).toBe('20\n');
    expect(statSync(site.arrived('mute7')).mode & 0o777).toBe(0o700);
  });

  test('a program that the library cannot reach is named', async () => {
    const copy = join(site.cluster.directory, 'other');
    const bytes = readFileSync(process.execPath).subarray(0, 65_536);
    bytes.writeUInt16LE(bytes.readUInt16LE(18) === 62 ? 183 : 62, 18);
    writeFileSync(copy, bytes, { mode: 0o755 });
    const ended = await run(copy);
    expect(ended.stderr).toContain(`${copy} is a program of another architecture`);
    expect(ended.status).not.toBe(0);
  });

  test('it leaves nothing of its own behind', async () => {
    const env = { ...site.first.clientEnv, TMPDIR: site.cluster.scratch('run-tmp') };
    const ended = await site.first.run(['run', 'true'], { env });
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const { stdout } = await site.first.run(['run', 'ls', env.TMPDIR], { env });
    expect(stdout.toString().trim().split('\n')).toHaveLength(1);
    expect(program).toContain('kangaroo');
  });
});
