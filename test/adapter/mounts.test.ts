/**
 * KANGAROO_MOUNTS as programs see it: where paths lead, to Kangaroo and to local places, and that
 * what a program starts sees the same, whatever has become of its environment.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Ended, Site, whyNoAdapter } from '../support/adapted.ts';

const why = whyNoAdapter();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);

describe.skipIf(why !== null)('mounts', () => {
  let site: Site;
  /** The program's working directory, and a place that it is led to. */
  let here: string;
  let there: string;
  let round = 0;

  beforeAll(async () => {
    site = await Site.open(1);
  });

  beforeEach(() => {
    here = site.cluster.scratch(`here-${++round}`);
    there = site.cluster.scratch(`there-${round}`);
    site.makeDirectory(`m${round}`);
  });

  afterAll(async () => await site?.close());

  const ours = (path: string) => site.path(`m${round}/${path}`);

  /** A script for sh, with these mounts. */
  async function run(mounts: readonly string[], script: string): Promise<Ended> {
    const env = { KANGAROO_MOUNTS: mounts.join(':') };
    return await site.run(['sh', '-c', script], { env, cwd: here });
  }

  /** What is in a file at the destination, when everything has been pushed. */
  async function arrived(path: string): Promise<string> {
    await site.push();
    return readFileSync(site.arrived(`m${round}/${path}`), 'utf8');
  }

  test('a file and a tree, to Kangaroo', async () => {
    const mounts = [`/data/in.txt=${ours('in')}`, `/data/tree=${ours('deep/tree')}`];
    mkdirSync(site.arrived(`m${round}/deep/tree`), { recursive: true });
    writeFileSync(site.arrived(`m${round}/in`), 'input\n');
    const ended = await run(
      mounts,
      'cat /data/in.txt; mkdir /data/tree/sub; echo out > /data/tree/sub/out; ls /data/tree/sub',
    );
    expect(ended).toMatchObject({ status: 0, stdout: 'input\nout\n', stderr: '' });
    expect(await arrived('deep/tree/sub/out')).toBe('out\n');
  });

  test('a local place, below which everything is as it is there', async () => {
    writeFileSync(join(there, 'in'), 'local\n');
    const script =
      'cat /opt/app/in; echo new > /opt/app/out; mkdir -p /opt/app/a/b; ' +
      'mv /opt/app/out /opt/app/a/b/; ls /opt/app; ln -s in /opt/app/link; cat /opt/app/link';
    const ended = await run([`/opt/app=${there}`], script);
    expect(ended).toMatchObject({ status: 0, stdout: 'local\na\nin\nlocal\n', stderr: '' });
    expect(readFileSync(join(there, 'a/b/out'), 'utf8')).toBe('new\n');
    expect(existsSync('/opt/app')).toBe(false);
  });

  test('from a local place to Kangaroo and back, by the programs that copy', async () => {
    const mounts = [`/in=${there}`, `/out=${ours('.')}`];
    writeFileSync(join(there, 'a'), 'x'.repeat(100_000));
    const script = 'cp /in/a /out/b && mv /out/b /in/c && cmp /in/a /in/c && cp /in/c /out/d';
    expect(await run(mounts, script)).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(await arrived('d')).toHaveLength(100_000);
    expect(existsSync(join(there, 'c'))).toBe(true);
  });

  test('the longest that fits counts, whatever the order; of equals the first', async () => {
    const long = `/data/results=${ours('long')}`;
    const short = `/data=${there}`;
    mkdirSync(site.arrived(`m${round}/long`));
    for (const mounts of [
      [short, long],
      [long, short],
    ]) {
      const script =
        'echo 1 > /data/results/f; echo 2 > /data/resultsother; cat /data/results/f; ls /data';
      const ended = await run(mounts, script);
      expect(ended).toMatchObject({ status: 0, stdout: '1\nresultsother\n', stderr: '' });
    }
    expect(await arrived('long/f')).toBe('1\n');
    const twice = await run([`/e=${there}`, `/e=${ours('.')}`], 'ls /e');
    expect(twice).toMatchObject({ status: 0, stdout: 'resultsother\n' });
  });

  test('only whole components are a prefix, and "." and ".." are followed first', async () => {
    const script =
      'echo a > /da/./x/../f; cat //da//f; ls /dat 2>/dev/null; echo "status $?"; cat /tmp/../da/f';
    const ended = await run([`/da/=${ours('')}`], script);
    expect(ended).toMatchObject({ status: 0, stdout: 'a\nstatus 2\na\n', stderr: '' });
    expect(await arrived('f')).toBe('a\n');
  });

  test('a relative path means it as the program writes it, and where it stands', async () => {
    const mounts = [`output.txt=${ours('out')}`, `sub/log=${ours('log')}`];
    mkdirSync(join(here, 'sub'));
    const script =
      'echo 1 > output.txt; echo 2 > ./output.txt; cat sub/../output.txt; echo l > sub//log; ' +
      'echo other > output.txt2; cat output.txt';
    const ended = await run(mounts, script);
    expect(ended).toMatchObject({ status: 0, stdout: '2\n2\n', stderr: '' });
    expect(await arrived('out')).toBe('2\n');
    expect(await arrived('log')).toBe('l\n');
    // The absolute path to the same name is another one: no mount has it.
    expect(existsSync(join(here, 'output.txt'))).toBe(false);
    expect(readFileSync(join(here, 'output.txt2'), 'utf8')).toBe('other\n');
    const absolute = await run(mounts, `echo plain > ${here}/output.txt`);
    expect(absolute.status).toBe(0);
    expect(readFileSync(join(here, 'output.txt'), 'utf8')).toBe('plain\n');
  });

  test('an absolute mount is met by a relative path from below it', async () => {
    mkdirSync(join(here, 'w'));
    const ended = await run([`${here}/w=${ours('.')}`], 'echo r > w/f; cd w; cat f; pwd; ls');
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(ended.stdout.split('\n')).toContain('r');
    expect(await arrived('f')).toBe('r\n');
    expect(existsSync(join(here, 'w/f'))).toBe(false);
  });

  test('children keep them: of a changed, an emptied and an unset environment', async () => {
    const mounts = [`/jobs=${ours('.')}`];
    const script = `echo 0 > /jobs/f
      env -i /bin/sh -c 'cat /jobs/f; echo 1 >> /jobs/f'
      unset KANGAROO_MOUNTS; sh -c 'cat /jobs/f | tail -n 1; echo 2 >> /jobs/f'
      env -u LD_PRELOAD -u KANGAROO_MOUNTS X=y sh -c 'tail -n 1 /jobs/f'`;
    const ended = await run(mounts, script);
    expect(ended).toMatchObject({ status: 0, stdout: '0\n1\n2\n', stderr: '' });
  });

  test('an empty list is one that a program has made: none', async () => {
    const inner = 'ls /jobs 2>/dev/null; sh -c "ls /jobs"';
    const script = `echo x > /jobs/f; KANGAROO_MOUNTS= sh -c '${inner}'`;
    const ended = await run([`/jobs=${ours('.')}`], script);
    expect(ended).toMatchObject({ status: 2, stdout: '' });
    expect(ended.stderr).toContain('/jobs');
  });

  test('a program may give its children mounts of their own', async () => {
    const inner = `KANGAROO_MOUNTS=/jobs=${there} sh -c 'echo inner > /jobs/f'; cat /jobs/f`;
    const ended = await run([`/jobs=${ours('.')}`], `echo outer > /jobs/f; ${inner}`);
    expect(ended).toMatchObject({ status: 0, stdout: 'outer\n', stderr: '' });
    expect(readFileSync(join(there, 'f'), 'utf8')).toBe('inner\n');
  });

  test.each([
    ['output.txt', 'is not LOGICAL=/TARGET'],
    ['=/kangaroo/archive/x', 'is not LOGICAL=/TARGET'],
    ['a=relative/target', 'is not LOGICAL=/TARGET'],
    ['../up=/x', 'has a LOGICAL that leads nowhere'],
  ])('%s is told by one clear line, and the others hold', async (bad, what) => {
    const ended = await run([`/good=${ours('.')}`, bad], 'echo g > /good/f; read -r x < /good/f');
    const line = `kangaroo: KANGAROO_MOUNTS: '${bad}' ${what}, going on without it\n`;
    expect(ended).toMatchObject({ status: 0, stdout: '', stderr: line });
    expect(await arrived('f')).toBe('g\n');
  });

  test('kangaroo run refuses such a list before it starts anything', async () => {
    const env = { ...site.first.clientEnv, KANGAROO_MOUNTS: '/a=/b:output.txt' };
    const ended = await site.first.run(['run', 'echo', 'started'], { env });
    expect(ended.status).toBe(2);
    expect(ended.stdout.toString()).toBe('');
    expect(ended.stderr).toMatch(
      /^kangaroo run: KANGAROO_MOUNTS: 'output.txt' is not LOGICAL=\/TARGET .*\n$/,
    );
  });
});
