/**
 * The small C programs of native/test, one behaviour each: first on a local directory, so that they
 * are right about Linux, then below /kangaroo. A program ends with 0, or says what was otherwise.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { begin, Site, whyNoAdapter } from '../support/adapted.ts';
import { bareEnvironment, root } from '../support/kangaroo.ts';

const FAMILIES =
  /^(?:aio|data|descriptor|directory|loader|memory|names|open|position|process|stat|stdio|walk)-/;
const directory = join(root, 'native/test');
const sources = readdirSync(directory).filter((name) => FAMILIES.test(name));

/** null, or why they cannot be run. */
function whyNot(): string | null {
  const noAdapter = whyNoAdapter();
  if (noAdapter !== null) return noAdapter;
  const compilers = spawnSync('sh', ['-c', 'command -v gcc && command -v g++']);
  return compilers.status === 0 ? null : 'gcc and g++ are not installed';
}

const why = whyNot();
if (why !== null) process.stderr.write(`tests of calls are skipped: ${why}\n`);

function compile(source: string, target: string): void {
  const options = ['-O1', '-g', '-Wall', '-Wno-unused-result', '-D_GNU_SOURCE', '-pthread'];
  const [compiler, standard] = source.endsWith('.cc')
    ? ['g++', '-std=gnu++17']
    : ['gcc', '-std=gnu11'];
  const argv = [standard, ...options, '-o', target, join(directory, source)];
  const { status, stderr } = spawnSync(compiler, argv, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${source}: ${stderr}`);
}

describe.skipIf(why !== null)('calls', () => {
  let site: Site;
  let scratch: string;

  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'kangaroo-calls-'));
    site = await Site.open(2);
  });

  afterAll(async () => {
    await site?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  test.each(sources)('%s', async (source) => {
    const name = source.replace(/\..*$/, '');
    const program = join(scratch, name);
    compile(source, program);
    const local = join(scratch, `${name}.local`);
    mkdirSync(local);
    const there = await begin([program, local], bareEnvironment(scratch)).ended;
    expect(there, 'on a local directory').toMatchObject({ status: 0, stderr: '' });
    const here = await site.run([program, site.makeDirectory(name)]);
    expect(here, 'below /kangaroo').toMatchObject({ status: 0, stderr: '' });
    expect(site.takeReports()).toBe('');
  });
});
