/**
 * The client of a fault campaign, a program of its own: it puts random steps (workload.ts) through
 * the built library, writes its journal (oracle.ts) beside, commits and pushes now and then, reads
 * some of it back, and goes on whatever happens to the servers. Killed at any moment its journal
 * still says what must be there. At SIGTERM it commits the rest and ends.
 *
 * Arguments: one JSON document, the Task. Exit status: 0 after SIGTERM, 1 when a call failed in a
 * way that no outage explains; the journal has the reason.
 */
import { openSync, writeSync } from 'node:fs';
import type * as Library from '../../src/index.ts';
import { compare, type Line, Model, readTree, type Step, type Tree } from './oracle.ts';
import { Prng } from './prng.ts';
import { pause } from './wait.ts';
import { Workload } from './workload.ts';

export interface Task {
  /** URL of the library. */
  readonly library: string;
  readonly server: string;
  readonly journal: string;
  readonly seed: number;
  readonly generation: number;
  /** `kangaroo://NAME/PATH` of the directory to work in. */
  readonly address: string;
  /** The same directory in the destination's export, looked at after a push. */
  readonly destination: string;
  /** Between two actions, at most. */
  readonly pauseMs: number;
}

const CONNECT_MS = 120_000;
const PUSH_MS = 5_000;
const READ_MS = 1_000;
/** Groups of steps between two other actions, at most. */
const BURST_MAX = 12;
/** What an outage may do to a call that has a deadline. */
const OUTAGE = new Set(['NOT_YET', 'UNREACHABLE', 'DISCONNECTED', 'BUSY', 'SPOOL_FAILED']);

const ACTIONS = { steps: 70, commit: 12, push: 6, read: 9, absent: 3 } as const;

const task = JSON.parse(process.argv[2] ?? '') as Task;
const library = (await import(task.library)) as typeof Library;
const journal = openSync(task.journal, 'a');
const random = new Prng(task.seed ^ (task.generation * 0x9e3779b1));
const model = new Model(task.seed, task.generation);
const workload = new Workload(random, model.files);
let done = 0;
let acked = 0;
let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});

function write(line: Line): void {
  writeSync(journal, `${JSON.stringify(line)}\n`);
}

function codeOf(error: unknown): string {
  return error instanceof library.KangarooError ? error.code : 'NO_CODE';
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${codeOf(error)} ${error.message}` : String(error);
}

function at(path: string): string {
  return `${task.address}/${path}`;
}

/** Also what a disk says that is gone: a server passes that on. */
function isOutage(error: unknown): boolean {
  return OUTAGE.has(codeOf(error)) || /\bEIO\b/.test(textOf(error));
}

async function connect(): Promise<Library.Kangaroo> {
  for (;;) {
    try {
      const timeoutMs = 10_000;
      return await library.connect({ server: task.server, reconnectMs: CONNECT_MS, timeoutMs });
    } catch (error) {
      if (!isOutage(error)) throw error;
      await pause(100);
    }
  }
}

async function perform(client: Library.Kangaroo, n: number, step: Step): Promise<void> {
  switch (step.do) {
    case 'write':
      return await client.write(at(step.path), step.offset, model.content(n, step));
    case 'stream':
      return await new Promise((resolve, reject) => {
        const stream = client.createWriteStream(at(step.path));
        stream.once('finish', resolve).once('error', reject).end(model.content(n, step));
      });
    case 'truncate':
      return await client.truncate(at(step.path), step.size);
    case 'rename':
      return await client.rename(at(step.path), at(step.to));
    case 'remove':
      return await client.remove(at(step.path));
    case 'mkdir':
      return await client.mkdir(at(step.path));
    case 'rmdir':
      return await client.remove(at(step.path), { directory: true });
  }
}

async function steps(client: Library.Kangaroo): Promise<void> {
  for (let left = random.between(1, BURST_MAX); left > 0; left--) {
    for (const step of workload.next()) {
      done += 1;
      write({ n: done, step });
      model.apply(done, step);
      await perform(client, done, step);
    }
  }
}

async function commit(client: Library.Kangaroo): Promise<void> {
  try {
    await client.commit();
  } catch (error) {
    // The server's disk is gone, and with it the server: what was put is sent to the next one.
    if (codeOf(error) !== 'SPOOL_FAILED') throw error;
    write({ note: `commit: ${textOf(error)}` });
    return;
  }
  acked = done;
  write({ acked: 'commit', n: done });
}

/** null: its disk is gone for the moment. */
function treeAtDestination(): Tree | null {
  try {
    return readTree(task.destination);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EIO' && code !== 'ENOENT') throw error;
    write({ note: `the destination cannot be read: ${textOf(error)}` });
    return null;
  }
}

/** After a push the destination has exactly what was put: nothing comes again later. */
async function push(client: Library.Kangaroo): Promise<void> {
  try {
    await client.push(task.address, { timeoutMs: PUSH_MS });
  } catch (error) {
    if (!isOutage(error)) throw error;
    write({ note: `push: ${textOf(error)}` });
    return;
  }
  acked = done;
  write({ acked: 'push', n: done });
  const there = treeAtDestination();
  if (there === null) return;
  const { lost, wrong, invented } = compare(model.files, there);
  for (const text of [...lost, ...wrong, ...invented]) {
    write({ problem: `after the push of step ${done}: ${text}` });
  }
}

/** What one has put is what one reads, wherever it is just now. */
async function read(client: Library.Kangaroo): Promise<void> {
  const files = [...model.files].filter(([, bytes]) => bytes !== null);
  if (files.length === 0) return;
  const [path, bytes] = random.pick(files);
  const content = bytes ?? Buffer.alloc(0);
  const offset = random.below(content.length + 10);
  const length = random.between(1, 200_000);
  const expected = content.subarray(offset, offset + length);
  try {
    const found = await client.read(at(path), offset, length, { timeoutMs: READ_MS });
    const { wrong } = compare(new Map([[path, expected]]), new Map([[path, found]]));
    const where = `read of ${path} at ${offset} after step ${done}`;
    for (const text of wrong) write({ problem: `${where}: ${text}` });
  } catch (error) {
    if (!isOutage(error)) {
      write({ problem: `read of ${path} after step ${done}: ${textOf(error)}` });
    }
  }
}

/** A name that is not there is not there, in whatever state its removal is. */
async function absent(client: Library.Kangaroo): Promise<void> {
  const path = random.pick(['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7', 'new.tmp', 'd0', 'd1']);
  if (model.files.has(path)) return;
  try {
    const { kind, size } = await client.stat(at(path), { timeoutMs: READ_MS });
    write({ problem: `stat of ${path} after step ${done}: there is a ${kind} of ${size} bytes` });
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'NOT_FOUND' && !isOutage(error)) {
      write({ problem: `stat of ${path} after step ${done}: ${textOf(error)}` });
    }
  }
}

async function work(client: Library.Kangaroo): Promise<void> {
  while (!stopping) {
    const action = random.weighted(ACTIONS);
    if (action === 'steps') await steps(client);
    else if (action === 'commit') await commit(client);
    else if (action === 'push') await push(client);
    else if (action === 'read') await read(client);
    else await absent(client);
    // Not so much that it could not be delivered between two kills.
    await pause(random.below(task.pauseMs));
  }
  while (acked < done) {
    await commit(client);
    if (acked < done) await pause(200);
  }
}

try {
  const client = await connect();
  await client.mkdir(task.address, { parents: true });
  await client.commit();
  await work(client);
  await client.close();
} catch (error) {
  write({ problem: `the client failed: ${textOf(error)}` });
  process.exitCode = 1;
}
process.exit();
