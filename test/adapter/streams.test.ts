/**
 * Streams in a libc whose tables are not the ones we know. The library compares them at its start
 * with functions that libc exports, by name; here another object exports one of the names, so the
 * comparison fails and streams are served the other way, by fopencookie and by what is found in
 * placeholders.
 *
 * Two things are less there: wide characters, and output to a descriptor that became ours by
 * redirection is seen by others when the descriptor is closed, not at each fflush.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { begin, type Ended, Site, whyNoAdapter } from '../support/adapted.ts';
import { compileC, whyNoCompiler } from '../support/c-program.ts';
import { root } from '../support/kangaroo.ts';

const why = whyNoAdapter() ?? whyNoCompiler();
if (why !== null) process.stderr.write(`tests of unknown streams are skipped: ${why}\n`);

const NOTE = "kangaroo: this libc's streams are unknown, they are served slowly\n";
/** It is found before libc's, and its address is not the one in libc's table. */
const OTHER = 'long _IO_file_read(void *stream, void *bytes, long count) { return -1; }';

describe.skipIf(why !== null)('streams of an unknown libc', () => {
  let site: Site;
  let scratch: string;
  let other: string;

  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'kangaroo-streams-'));
    other = join(scratch, 'other.so');
    spawnSync('cc', ['-x', 'c', '-shared', '-fPIC', '-o', other, '-'], { input: OTHER });
    site = await Site.open(1);
  });

  afterAll(async () => {
    await site?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  async function run(argv: readonly string[]): Promise<Ended> {
    const env = site.environment();
    // Behind the library: it looks for the next definition.
    env['LD_PRELOAD'] = `${env['LD_PRELOAD']}:${other}`;
    return await begin(argv, env).ended;
  }

  function expectWell({ status, stderr }: Ended): void {
    expect(stderr.replaceAll(NOTE, '')).toBe('');
    // Else the tables were taken for good, and this file tests nothing.
    expect(stderr).toContain(NOTE);
    expect(status).toBe(0);
  }

  test.each(['exit', 'fdopen', 'getline', 'modes'])('stdio-%s.c', async (name) => {
    const program = compileC(`stdio-${name}`, scratch, ['-w', '-D_GNU_SOURCE']);
    expectWell(await run([program, site.makeDirectory(name)]));
  });

  test('streams of C++', async () => {
    const program = join(scratch, 'cxx');
    const source = join(root, 'native/test/stdio-cxx.cc');
    spawnSync('g++', ['-std=gnu++17', '-w', '-o', program, source]);
    expectWell(await run([program, site.makeDirectory('cxx')]));
  });

  test('what is printed to a redirected descriptor arrives when it is closed', async () => {
    const directory = site.makeDirectory('redirected');
    const script = `cd "$0"; printf 'one\\n' > f; printf 'two\\n' >> f; seq 3 >> f; sort -r f > g
      tee h < g | wc -l; (echo a; seq 2; echo b) > many; awk '{ print "x" $0 }' many > n`;
    const ended = await run(['bash', '-c', script, directory]);
    expect(ended.stdout.trim()).toBe('5');
    await site.push('redirected');
    const arrived = (name: string) => readFileSync(site.arrived(`redirected/${name}`), 'utf8');
    expect(arrived('f')).toBe('one\ntwo\n1\n2\n3\n');
    expect(arrived('g')).toBe('two\none\n3\n2\n1\n');
    expect(arrived('h')).toBe('two\none\n3\n2\n1\n');
    expect(arrived('many')).toBe('a\n1\n2\nb\n');
    expect(arrived('n')).toBe('xa\nx1\nx2\nxb\n');
  });

  test('many streams at once, each with a number of its own', async () => {
    const program = join(scratch, 'many');
    const input = `#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
  static FILE *streams[300];
  char path[4096];
  for (int i = 0; i < 300; i++) {
    snprintf(path, sizeof path, "%s/%d", words[count - 1], i);
    if ((streams[i] = fopen(path, "w+")) == NULL) return 1;
  }
  for (int i = 0; i < 300; i++) {
    fprintf(streams[i], "stream %d", i);
    if (fflush(streams[i]) != 0 || lseek(fileno(streams[i]), 0, SEEK_CUR) < 8) return 2;
    if (i % 2 == 0 && fclose(streams[i]) != 0) return 3;
  }
  for (int i = 1; i < 300; i += 2) {
    int number;
    rewind(streams[i]);
    if (fscanf(streams[i], "stream %d", &number) != 1 || number != i) return 4;
  }
  return 0;
}`;
    spawnSync('cc', ['-x', 'c', '-o', program, '-'], { input });
    expectWell(await run([program, site.makeDirectory('many')]));
    await site.push('many');
    expect(readFileSync(site.arrived('many/298'), 'utf8')).toBe('stream 298');
  });

  test('local streams are as they are', async () => {
    const local = join(scratch, 'local');
    mkdirSync(local);
    writeFileSync(join(local, 'in'), 'b\na\n');
    const ended = await run(['sort', '-o', join(local, 'out'), join(local, 'in')]);
    expectWell(ended);
    expect(readFileSync(join(local, 'out'), 'utf8')).toBe('a\nb\n');
  });
});
