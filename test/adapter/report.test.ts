/**
 * KANGAROO_REPORT: what a program did, told at its exit and at its exec. The numbers are compared
 * with what the programs are known to do; times only with the time that has passed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ended, Site, whyNoAdapter } from '../support/adapted.ts';
import { whyNoCompiler } from '../support/c-program.ts';

const why = whyNoAdapter();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);

/** Asks the kernel itself to write to descriptor 5, as a static program does. */
const ESCAPE = `int main(void) {
  long n;
  __asm__ volatile("syscall" : "=a"(n) : "a"(1), "D"(5), "S"("bytes"), "d"(5)
                   : "rcx", "r11", "memory");
  return n != 5;
}`;
const whyNoEscape = process.arch === 'x64' ? whyNoCompiler() : 'it is written for x86-64';
if (whyNoEscape !== null) process.stderr.write(`nothing escapes: ${whyNoEscape}\n`);

interface CallRow {
  readonly caught: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly passed: number;
}
interface FileRow {
  readonly calls: number;
  readonly read: number;
  readonly written: number;
  readonly seconds: number;
}
interface Report {
  readonly pid: number;
  readonly program: string;
  /** 'exit' or 'exec'. */
  readonly at: string;
  readonly seconds: number;
  readonly calls: Readonly<Record<string, CallRow>>;
  readonly files: Readonly<Record<string, FileRow>>;
}

const HEAD =
  /^kangaroo: report of process (\d+) \((.*)\) at its (exit|exec), after (\d+\.\d{3}) s$/;
const CALL = /^(\S.{23}) +(\d+) +(\d+) +(\d+\.\d{6}) +(\d+)$/;
const FILE = /^ *(\d+) +(\d+) +(\d+) +(\d+\.\d{6}) {2}(\S.*)$/;

/** All reports in `text`, which may hold nothing else. @throws Error at another line */
function parseReports(text: string): Report[] {
  return text
    .split('\n\n')
    .filter((part) => part !== '')
    .map((part) => parseReport(part.split('\n')));
}

function parseReport([first = '', ...lines]: readonly string[]): Report {
  const head = HEAD.exec(first);
  if (head === null) throw new Error(`no head of a report: ${first}`);
  const calls: Record<string, CallRow> = {};
  const files: Record<string, FileRow> = {};
  for (const line of lines) {
    if (/^(call| {5}calls) +/.test(line)) continue;
    const call = CALL.exec(line);
    const file = FILE.exec(line);
    if (file !== null) {
      const [calls, read, written, seconds] = file.slice(1).map(Number);
      files[file[5] ?? ''] = { calls, read, written, seconds } as FileRow;
    } else if (call !== null) {
      const [caught, bytes, seconds, passed] = call.slice(2).map(Number);
      calls[(call[1] ?? '').trimEnd()] = { caught, bytes, seconds, passed } as CallRow;
    } else {
      throw new Error(`no line of a report: ${line}`);
    }
  }
  const [, pid, program = '', at = '', seconds] = head;
  return { pid: Number(pid), program, at, seconds: Number(seconds), calls, files };
}

describe.skipIf(why !== null)('the report', () => {
  let site: Site;
  let serial = 0;

  beforeAll(async () => {
    site = await Site.open(1);
    site.makeDirectory('d');
  });

  afterAll(async () => await site?.close());

  async function reportOf(argv: readonly string[]): Promise<{ ended: Ended; reports: Report[] }> {
    const report = join(site.cluster.directory, `report-${++serial}`);
    const ended = await site.run(argv, { settings: { report } });
    const text = existsSync(report) ? readFileSync(report, 'utf8') : '';
    return { ended, reports: parseReports(text) };
  }

  test('calls, bytes and files of a program that writes', async () => {
    const file = site.path('d/written');
    const argv = ['dd', 'if=/dev/zero', `of=${file}`, 'bs=4096', 'count=25', 'status=none'];
    const { ended, reports } = await reportOf(argv);
    expect(ended).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(reports).toHaveLength(1);
    const [report] = reports as [Report];
    expect(report).toMatchObject({ program: 'dd', at: 'exit' });
    expect(report.calls['write']).toMatchObject({ caught: 25, bytes: 102_400, passed: 0 });
    // What was read is /dev/zero's, and not ours to count.
    expect(report.calls['read']).toMatchObject({ caught: 0, bytes: 0 });
    expect(report.calls['read']?.passed).toBeGreaterThanOrEqual(25);
    expect(report.calls['open']?.caught).toBe(1);
    expect(Object.keys(report.files)).toEqual([file]);
    expect(report.files[file]).toMatchObject({ read: 0, written: 102_400 });
    // At least its open and its writes.
    expect(report.files[file]?.calls).toBeGreaterThanOrEqual(26);
  });

  test('one that reads, and files apart by name', async () => {
    writeFileSync(site.arrived('d/one'), 'x'.repeat(1_000));
    writeFileSync(site.arrived('d/two'), 'y'.repeat(70_000));
    const [one, two] = [site.path('d/one'), site.path('d/two')];
    const { ended, reports } = await reportOf(['cat', one, two]);
    expect(ended.stdout).toHaveLength(71_000);
    const [report] = reports as [Report];
    expect(report.files[one]).toMatchObject({ read: 1_000, written: 0 });
    expect(report.files[two]).toMatchObject({ read: 70_000, written: 0 });
    const bytes = Object.values(report.calls).reduce((sum, row) => sum + row.bytes, 0);
    expect(bytes).toBe(71_000);
  });

  test('streams are counted as such', async () => {
    const file = site.path('d/stream');
    const script = 'open(F, ">", $ARGV[0]) or die; print F "x" x 100; close F';
    const perl = await reportOf(['perl', '-e', script, file]);
    expect(perl.reports[0]?.files[file]).toMatchObject({ written: 100 });
    const { reports } = await reportOf(['tee', file]);
    expect(reports).toHaveLength(1);
    const sorted = await reportOf(['sort', '-o', file, site.arrived('d/two')]);
    expect(sorted.reports[0]?.calls['stream write']).toMatchObject({ bytes: 70_001 });
    expect(sorted.reports[0]?.files[file]).toMatchObject({ written: 70_001 });
  });

  test('lookups and changes of names are counted for the file they mean', async () => {
    const [from, to] = [site.path('d/from'), site.path('d/to')];
    writeFileSync(site.arrived('d/from'), 'z');
    const { ended, reports } = await reportOf(['mv', from, to]);
    expect(ended.status).toBe(0);
    const [report] = reports as [Report];
    const renames = Object.entries(report.calls).filter(([name]) => name.startsWith('rename'));
    expect(renames.reduce((sum, [, row]) => sum + row.caught, 0)).toBe(1);
    // A rename is of the name that there is afterwards.
    expect(report.files).toHaveProperty([to]);
  });

  test('times add up to no more than has passed, and waiting is in them', async () => {
    const file = site.path('d/pushed');
    const argv = ['dd', 'if=/dev/zero', `of=${file}`, 'bs=1k', 'count=1', 'conv=fsync'];
    const begun = Date.now();
    const { reports } = await reportOf([...argv, 'status=none']);
    const passed = (Date.now() - begun) / 1_000;
    const [report] = reports as [Report];
    const rows = Object.values(report.calls);
    const seconds = rows.reduce((sum, row) => sum + row.seconds, 0);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(report.seconds + 0.01);
    expect(report.seconds).toBeLessThanOrEqual(passed);
    // A push is a wait for the disk: nothing that this program does takes longer.
    expect(report.calls['fsync']?.seconds).toBe(Math.max(...rows.map((row) => row.seconds)));
    expect(report.files[file]?.seconds).toBeGreaterThanOrEqual(report.calls['fsync']!.seconds);
  });

  test('a program that has nothing to do with us passes by', async () => {
    const { reports } = await reportOf(['cat', '/etc/passwd']);
    const [report] = reports as [Report];
    expect(report.files).toEqual({});
    expect(Object.values(report.calls).map((row) => row.caught)).not.toContain(1);
    expect(report.calls['open']).toMatchObject({ caught: 0, bytes: 0 });
    expect(report.calls['open']?.passed).toBeGreaterThan(0);
  });

  test('each process and each exec has one of its own', async () => {
    const script = `echo a > "$0/one"; (echo b > "$0/two"); exec sh -c 'echo c > "$0/three"' "$0"`;
    const { ended, reports } = await reportOf(['sh', '-c', script, site.path('d')]);
    expect(ended.status).toBe(0);
    const written = (name: string) =>
      reports.filter(({ files }) => files[site.path(`d/${name}`)]?.written === 2);
    const [one] = written('one');
    const [two] = written('two');
    const [three] = written('three');
    expect([one?.at, two?.at, three?.at]).toEqual(['exec', 'exit', 'exit']);
    expect(one?.pid).toBe(three?.pid);
    expect(two?.pid).not.toBe(one?.pid);
  });

  test.skipIf(whyNoEscape !== null)('a write that nobody could catch is told', async () => {
    const escape = join(site.cluster.directory, 'escape');
    spawnSync('cc', ['-x', 'c', '-o', escape, '-'], { input: ESCAPE });
    const file = site.path('d/escaped');
    const { ended, reports } = await reportOf(['sh', '-c', '"$0" 5> "$1"', escape, file]);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const rows = reports.map(({ calls }) => calls['escaped write']?.bytes ?? 0);
    expect(rows.reduce((sum, bytes) => sum + bytes, 0)).toBe(5);
    await site.push('d');
    expect(readFileSync(site.arrived('d/escaped'), 'utf8')).toBe('bytes');
  });

  test('- is standard error, also when the program closes its own', async () => {
    const settings = { report: '-' };
    const argv = ['sh', '-c', 'echo x > "$0"; exec 2>&-', site.path('d/closed')];
    const ended = await site.run(argv, { settings });
    expect(ended.stdout).toBe('');
    const [report] = parseReports(ended.stderr) as [Report];
    expect(report.files[site.path('d/closed')]).toMatchObject({ written: 2 });
  });

  test('without it nothing is said', async () => {
    const ended = await site.run(['cp', '/etc/passwd', site.path('d/quiet')]);
    expect(ended).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });
});
