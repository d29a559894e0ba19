/**
 * The matrix: each program of programs.ts runs in a local directory and below /kangaroo, and ends
 * alike, or differs in the way that its row says and why. A row that has become better than it says
 * fails too: then the table is to be mended.
 *
 * The tree is looked at twice: through the first hop, by `kangaroo get`, which knows nothing of the
 * adapter, and at the destination when all has been pushed. KANGAROO_MATRIX=FILE writes what was
 * seen as JSON; KANGAROO_ROWS=REGEXP runs the rows whose names match. With KANGAROO_SANITIZE=1 the
 * adapter is the instrumented one, and a report of it is a difference.
 */
import { spawnSync } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import { createReadStream, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { begin, type Ended, Site, whyNoAdapter } from '../support/adapted.ts';
import { IS_SANITIZED } from '../support/sanitizer.ts';
import { differenceOf, linesOfTree } from '../support/tree.ts';
import { makeInputs } from './inputs.ts';
import { type ProgramRow, PROGRAMS, type Verdict } from './programs.ts';

const why = whyNoAdapter();
if (why !== null) process.stderr.write(`adapter tests are skipped: ${why}\n`);

/** Debian's programs before others of the same name. */
const PATH = `/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:${process.env['PATH'] ?? ''}`;
const JOBS = fileURLToPath(new URL('jobs', import.meta.url));
const wantedRows = process.env['KANGAROO_ROWS'];
const rows = PROGRAMS.filter(
  ({ name }) => wantedRows === undefined || new RegExp(wantedRows).test(name),
);

function isInstalled(name: string): boolean {
  const { status } = spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], { env: { PATH } });
  return status === 0;
}

/** null, or why this row is left out. */
function whyNotThis({ needs = [], unsanitized }: ProgramRow): string | null {
  if (IS_SANITIZED && unsanitized !== undefined) return unsanitized;
  const missing = needs.filter((name) => !isInstalled(name));
  return missing.length === 0 ? null : `no ${missing.join(', ')} here`;
}

interface Seen {
  readonly name: string;
  readonly verdict: Verdict;
  readonly detail: string;
}

describe.skipIf(why !== null)('programs', () => {
  let site: Site;
  let inputs: string;
  let http: Server;
  let address: string;
  const seen: Seen[] = [];

  beforeAll(async () => {
    site = await Site.open(2);
    inputs = site.cluster.scratch('inputs');
    makeInputs(inputs);
    http = await serveFiles(inputs);
    const port = http.address();
    address = `http://127.0.0.1:${typeof port === 'object' ? port?.port : 0}`;
  });

  afterAll(async () => {
    const file = process.env['KANGAROO_MATRIX'];
    if (file !== undefined) writeFileSync(file, `${JSON.stringify(seen, null, 2)}\n`);
    http?.close();
    await site?.close();
  });

  for (const [index, row] of rows.entries()) {
    const reason = whyNotThis(row);
    const title = reason === null ? row.name : `${row.name} (${reason})`;
    test.skipIf(reason !== null)(title, { timeout: 240_000 }, async () => {
      const found = await judge(row, `r${index}`);
      seen.push({ name: row.name, ...found });
      expect(found.verdict, `\n${found.detail}\n`).toBe(row.expect ?? 'same');
    });
  }

  async function judge(
    row: ProgramRow,
    key: string,
  ): Promise<{ verdict: Verdict; detail: string }> {
    const local = await runLocally(row, key);
    const ours = await runAdapted(row, key);
    const problems = [
      titled('sanitizers', site.takeReports()),
      compareText('status', String(local.ended.status), statusOf(ours.ended)),
      compareText('stdout', local.ended.stdout, ours.ended.stdout),
      titled('tree at the first hop', differenceOf(local.tree, ours.tree)),
      titled('tree at the destination', differenceOf(local.tree, ours.arrived)),
    ].filter((text) => text !== '');
    const errors = ours.ended.stderr === local.ended.stderr ? '' : ours.ended.stderr.slice(-600);
    const detail = [...problems, errors].join('\n').slice(0, 4_000);
    if (problems.length === 0) return { verdict: 'same', detail: '' };
    const failed = local.ended.status === 0 && ours.ended.status !== 0;
    return { verdict: failed ? 'unsupported' : 'differs', detail };
  }

  async function runLocally(
    row: ProgramRow,
    key: string,
  ): Promise<{ ended: Ended; tree: string[] }> {
    const [D, T] = [site.cluster.scratch(`local/${key}`), site.cluster.scratch(`local-t/${key}`)];
    const env = { ...site.first.clientEnv, ...variables(D, T) };
    const ended = await begin(commandOf(row), env, { cwd: T, ...deadlineOf(row) }).ended;
    const tree = linesOfTree(D, { volatile: row.volatile });
    rmSync(D, { recursive: true });
    return { ended: withNames(ended, D, T), tree };
  }

  async function runAdapted(
    row: ProgramRow,
    key: string,
  ): Promise<{ ended: Ended; tree: string[]; arrived: string[] }> {
    const D = site.makeDirectory(key);
    const T = site.cluster.scratch(`ours-t/${key}`);
    const options = { env: variables(D, T), cwd: T, ...deadlineOf(row) };
    const ended = await site.run(commandOf(row), options);
    const copy = join(site.cluster.scratch('copy'), key);
    const got = await site.first.run(['get', '-r', `kangaroo://archive/${key}`, copy]);
    mkdirSync(copy, { recursive: true });
    const tree = linesOfTree(copy, { volatile: row.volatile });
    if (got.status !== 0) tree.push(`get ended with ${got.status}: ${got.stderr}`);
    let arrived: string[] = [];
    try {
      await site.push(key);
    } catch (error) {
      arrived = [String(error)];
    }
    arrived.push(...linesOfTree(site.arrived(key), { volatile: row.volatile }));
    if (row.volatile !== undefined) {
      // Their bytes are no row's business, but both ends must have the same.
      const [here, there] = [linesOfTree(copy), linesOfTree(site.arrived(key))];
      const difference = differenceOf(here, there);
      if (difference !== '') arrived.push(`first hop and destination: ${difference}`);
    }
    rmSync(copy, { recursive: true });
    return { ended: withNames(ended, D, T), tree, arrived };
  }

  function variables(D: string, T: string): Record<string, string> {
    mkdirSync(T, { recursive: true });
    return { D, T, IN: inputs, JOBS, HTTP: address, PATH, HOME: T, TMPDIR: T, LC_ALL: 'C.UTF-8' };
  }
});

function commandOf(row: ProgramRow): string[] {
  return ['bash', '-c', row.script];
}

function deadlineOf({ deadlineMs }: ProgramRow): { deadlineMs?: number } {
  return deadlineMs === undefined ? {} : { deadlineMs };
}

function withNames(ended: Ended, D: string, T: string): Ended {
  const replace = (text: string): string => text.replaceAll(D, 'D').replaceAll(T, 'T');
  return { ...ended, stdout: replace(ended.stdout), stderr: replace(ended.stderr) };
}

function statusOf({ status, signal }: Ended): string {
  return signal === null ? String(status) : `killed by ${signal}`;
}

function compareText(what: string, wanted: string, found: string): string {
  if (wanted === found) return '';
  const [want, have] = [wanted.split('\n'), found.split('\n')];
  const at = want.findIndex((line, i) => line !== have[i]);
  const order = `another order, from line ${at + 1} on: ${want[at]}, here ${have[at]}`;
  return titled(what, differenceOf(want, have) || order);
}

function titled(title: string, text: string): string {
  return text === '' ? '' : `${title}:\n${text}`;
}

/** Serves the files of a directory, and answers an upload with its size. */
async function serveFiles(directory: string): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method === 'PUT') {
      let bytes = 0;
      request.on('data', (chunk: Buffer) => (bytes += chunk.length));
      request.on('end', () => response.end(`${bytes} bytes\n`));
      return;
    }
    const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? [];
    const headers = { 'last-modified': 'Sun, 09 Sep 2001 01:46:40 GMT' };
    response.writeHead(from === undefined ? 200 : 206, {
      ...headers,
      ...(from === undefined ? {} : { 'content-range': `bytes ${from}-/*` }),
    });
    const file = createReadStream(join(directory, request.url ?? ''), { start: Number(from ?? 0) });
    file.on('error', () => response.destroy()).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
