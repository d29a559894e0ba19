/**
 * kangaroo run as a script sees it: what it passes on, what it adds, and how it ends.
 */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LIBRARY, Site, whyNoAdapter } from '../support/adapted.ts';
import { program } from '../support/kangaroo.ts';
import { until } from '../support/wait.ts';

const why = whyNoAdapter();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);

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
    let text = '';
    running.child.stdout?.on('data', (bytes: Buffer) => (text += bytes.toString()));
    await until('the program', 10_000, () => text.includes('ready'));
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

  test('75 when the library had to kill a part of it: the rest goes too', async () => {
    const lone = await Site.open(1);
    try {
      lone.makeDirectory('x');
      const script = 'exec 5> /kangaroo/archive/x/f; echo begun >&5; echo ready; sleep 60';
      const running = lone.first.begin(['run', '--timeout', '1s', 'sh', '-c', script], {
        input: '',
      });
      let text = '';
      running.child.stdout?.on('data', (bytes: Buffer) => (text += bytes.toString()));
      await until('the program', 10_000, () => text.includes('ready'));
      // As the library does when it has to.
      const env = readFileSync(
        `/proc/${running.child.pid}/task/${running.child.pid}/children`,
        'utf8',
      );
      const [child = ''] = env.trim().split(' ');
      const [, verdict = ''] =
        /KANGAROO_VERDICT=([^\0]*)/.exec(readFileSync(`/proc/${child}/environ`, 'latin1')) ?? [];
      writeFileSync(verdict, '75 the board is another one\n');
      expect((await running.result).status).toBe(75);
    } finally {
      await lone.close();
    }
  });

  test('78 when this can never work: no server of this account', async () => {
    const server = join(site.cluster.directory, 'nobody.sock');
    const ended = await run('--server', server, '--timeout', '500ms', 'cat', '/kangaroo/archive/x');
    expect([75, 78, 1]).toContain(ended.status);
    expect(ended.stderr).not.toBe('');
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
