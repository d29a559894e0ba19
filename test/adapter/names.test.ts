/**
 * Names that programs know without asking (native/core/known.h): they are made and looked up while
 * the server does nothing, of two who make one name one succeeds, and what others change is seen.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../src/index.ts';
import { Site, whyNoAdapter } from '../support/adapted.ts';
import { compileC, whyNoCompiler } from '../support/c-program.ts';
import { kangaroo } from '../support/kangaroo.ts';
import { linesOfTree } from '../support/tree.ts';

const why = whyNoAdapter() ?? whyNoCompiler();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);

describe.skipIf(why !== null)('names', () => {
  let site: Site;
  let race: string;

  beforeAll(async () => {
    site = await Site.open(2);
    race = compileC('race-names', site.cluster.scratch('programs'));
  });

  afterAll(async () => await site?.close());

  const sh = async (script: string): Promise<string> => {
    const { status, stdout, stderr } = await site.run(['bash', '-c', script]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout;
  };

  test('are made and looked up while the server is stopped', async () => {
    const d = site.path('stopped');
    const program = `
import os, signal, time
d, server = ${JSON.stringify(d)}, ${site.first.pid}
os.mkdir(d)
os.kill(server, signal.SIGSTOP)
try:
    begun = time.monotonic()
    for i in range(20):
        with open(f'{d}/f{i}', 'x') as f: f.write(str(i))
    sizes = [os.stat(f'{d}/f{i}').st_size for i in range(20)]
    absent = os.path.exists(f'{d}/none')
    try: open(f'{d}/f3', 'x'); again = True
    except FileExistsError: again = False
    took = time.monotonic() - begun
finally:
    os.kill(server, signal.SIGCONT)
print(sum(sizes), absent, again, took < 0.9)
`;
    const ended = await site.run(['python3', '-c', program]);
    expect(ended).toMatchObject({ status: 0, stdout: '30 False False True\n', stderr: '' });
    await site.push('stopped');
    const arrived = Array.from({ length: 20 }, (_, i) => {
      return readFileSync(site.arrived(`stopped/f${i}`), 'utf8');
    });
    expect(arrived).toEqual(Array.from({ length: 20 }, (_, i) => String(i)));
  });

  test.each([2, 5])('of %d who make one, one succeeds', async (processes) => {
    for (let round = 0; round < 3; round++) {
      const name = `race-${processes}-${round}`;
      const argv = [race, site.path(name), String(processes), '300'];
      const { status, stdout, stderr } = await site.run(argv);
      expect({ status, stdout, stderr }).toEqual({
        ...{ status: 0, stdout: '300 made, 0 failed\n', stderr: '' },
      });
      await site.push(name);
      const lines = [0, 1, 2, 3, 4, 5, 6].map((i) => {
        return readFileSync(site.arrived(`${name}/log${i}`), 'utf8').split('\n').length - 1;
      });
      expect(lines.reduce((sum, n) => sum + n)).toBe(300 * processes);
      const whole = linesOfTree(site.arrived(name)).filter((line) => /\bf\d+\b/.test(line));
      expect(whole.length).toBe(300);
    }
  });

  test('that another client changes are seen at once', async () => {
    const d = site.path('others');
    const file = join(site.cluster.scratch('inputs'), 'file');
    writeFileSync(file, 'from elsewhere\n');
    const env = site.first.clientEnv;
    const address = (name: string): string => `kangaroo://archive/others/${name}`;
    expect(await sh(`mkdir ${d}; echo own > ${d}/own; ls ${d}/put 2>&1 || cat ${d}/own`)).toMatch(
      /No such file.*\nown\n$/,
    );
    expect((await kangaroo(['put', file, address('put')], { env })).status).toBe(0);
    expect(await sh(`cat ${d}/put; stat -c %s ${d}/put`)).toBe('from elsewhere\n15\n');
    expect((await kangaroo(['rm', address('own')], { env })).status).toBe(0);
    expect(await sh(`[ -e ${d}/own ] || echo gone; echo anew > ${d}/own; cat ${d}/own`)).toBe(
      'gone\nanew\n',
    );
    await site.push('others');
    expect(readFileSync(site.arrived('others/own'), 'utf8')).toBe('anew\n');
  });

  test('that another client makes in a directory that is known whole are there', async () => {
    const marks = site.cluster.scratch('marks');
    // One process: the first question of each is put to the server.
    const program = `
import os, sys, time
d, marks = ${JSON.stringify(site.path('whole'))}, ${JSON.stringify(marks)}
os.mkdir(d)
print(os.path.exists(d + '/made'), os.path.exists(d + '/other'))
open(marks + '/looked', 'w').close()
while not os.path.exists(marks + '/written'): time.sleep(0.001)
print(os.path.exists(d + '/made'), os.path.exists(d + '/other'))
`;
    const client = await connect({ server: site.first.socket });
    try {
      const ended = site.run(['python3', '-c', program]);
      while (!existsSync(join(marks, 'looked'))) await sleep(1);
      await client.write('kangaroo://archive/whole/made', 0, Buffer.from('elsewhere\n'));
      await client.commit();
      writeFileSync(join(marks, 'written'), '');
      const stdout = 'False False\nTrue False\n';
      expect(await ended).toMatchObject({ status: 0, stdout, stderr: '' });
    } finally {
      await client.close();
    }
  });

  test('below a directory that is renamed are not found, nor made, under the old one', async () => {
    const d = site.path('moved');
    const found = await sh(`
      mkdir ${d} ${d}/a ${d}/a/b; echo 1 > ${d}/a/b/one; cat ${d}/a/b/one
      mv ${d}/a ${d}/c; cat ${d}/c/b/one; echo 2 > ${d}/c/b/two
      (echo 3 > ${d}/a/b/three) 2>/dev/null || echo refused
      [ -e ${d}/a ] || echo gone; rm -r ${d}/c/b; rmdir ${d}/c; ls ${d}`);
    expect(found).toBe('1\n1\nrefused\ngone\n');
    await site.push('moved');
    expect(linesOfTree(site.arrived('moved')).length).toBe(0);
  });

  test('that were made survive the server', async () => {
    const d = site.path('killed');
    await sh(`mkdir ${d}`);
    const program = `for i in $(seq 300); do echo $i > ${d}/f$i; done`;
    const running = site.begin(['bash', '-c', program]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    await site.first.kill();
    await site.first.start();
    expect(await running.ended).toMatchObject({ status: 0, stderr: '' });
    await site.push('killed');
    const wrong = Array.from({ length: 300 }, (_, i) => i + 1).filter((i) => {
      const path = site.arrived(`killed/f${i}`);
      return !existsSync(path) || readFileSync(path, 'utf8') !== `${i}\n`;
    });
    expect(wrong).toEqual([]);
  });
});
