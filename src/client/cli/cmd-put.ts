/**
 * kangaroo put: files, trees or standard input to a destination.
 *
 * It returns when all is on stable storage at the first hop (commit), or with --push when all has
 * arrived; then no commit is asked for, because what was delivered needs none (paper, section 3).
 * A file that cannot be read or is refused has its line and the others are put all the same.
 */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { type Deadline, nowMs } from '../../base/deadline.ts';
import { KangarooError } from '../../base/errors.ts';
import { formatBytes, formatDuration } from '../../base/units.ts';
import {
  type Address,
  formatAddress,
  fromArgument,
  isAddress,
  joinPath,
  parseAddress,
} from '../../route/address.ts';
import type { Kangaroo } from '../client.ts';
import { putFiles, type PutProgress, type PutResult, putStream } from '../put-tree.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { reportParts } from './failures.ts';
import { type Progress, startProgress } from './progress.ts';
import { counted } from './text.ts';
import {
  bounds,
  clientCommand,
  deadlineOf,
  type ServerFlag,
  type TimeoutFlag,
  timeoutOption,
  withClient,
} from './with-client.ts';

interface PutFlags extends ServerFlag, TimeoutFlag {
  readonly push?: boolean;
  readonly recursive?: boolean;
  readonly progress: boolean;
}

export function define(program: Command, context: Context): void {
  clientCommand(
    program,
    'put',
    'Put files, trees or standard input (-), then commit: returns when all is on stable\n' +
      'storage at the first hop; with --push when all has arrived at the destination.',
  )
    .usage('[options] SRC... DEST')
    .argument('<src...>', 'local files, or - for standard input; DEST ends the list')
    .option('--push', 'wait until all has arrived')
    .option('-r, --recursive', 'put directories with what is in them')
    .addOption(timeoutOption('how long it may take in all'))
    .option('--no-progress', 'no progress line on a terminal')
    .addHelpText(
      'after',
      `
DEST is an address. One that ends with / or names a directory takes SRC under its own name.

Examples:
  kangaroo put results.dat kangaroo://archive/run7/results.dat
  tar c logs | kangaroo put - kangaroo://archive/run7/logs.tar --push --timeout 10m

${exitStatusHelp([0, 1, 2, 69, 73, 75, 77, 130], 'durable at the first hop, or arrived')}`,
    )
    .action((paths: string[], flags: PutFlags) => put(paths, flags, context));
}

async function put(paths: readonly string[], flags: PutFlags, context: Context): Promise<void> {
  const { io } = context;
  const { sources, destination } = readArguments(paths);
  const deadline = deadlineOf(flags);
  const startMs = nowMs();
  const work = async (client: Kangaroo): Promise<void> => {
    const progress = await startProgress(io, flags.progress, 'put', null);
    try {
      const result = await send(client, sources, destination, flags, context, progress, deadline);
      if (result.failureCount + result.skippedCount > 0) {
        progress.aside(() => reportParts('put', result, context));
      }
      let where = `safe at ${client.server.name}`;
      if (flags.push === true) {
        const targets = await targetsOf(client, sources, destination, result, context);
        const { pushTargets } = await import('./push.ts');
        if (!(await pushTargets(client, targets, context, progress, deadline))) return;
        where = 'arrived';
      } else {
        progress.label('commit');
        await client.commit(bounds(io, deadline));
      }
      summarize(result, where, nowMs() - startMs, flags, context, progress);
    } finally {
      progress.stop();
    }
  };
  await withClient(io, flags, work, deadline);
}

/** @throws KangarooError USAGE */
function readArguments(paths: readonly string[]): { sources: string[]; destination: Address } {
  const sources = paths.slice(0, -1);
  const last = paths.at(-1) ?? '';
  if (sources.length === 0) {
    const hint = 'kangaroo put SRC... DEST';
    throw new KangarooError('USAGE', `${last}: the source or the destination is missing`, { hint });
  }
  const destination = parseAddress(last);
  const remote = sources.find(isAddress);
  if (remote !== undefined) {
    throw new KangarooError('USAGE', `${remote}: a source of put is a local file`, {
      hint: 'kangaroo get reads an address',
    });
  }
  if (sources.includes('-') && (sources.length > 1 || destination.directory)) {
    throw new KangarooError('USAGE', 'standard input goes alone, to the address of a file', {
      hint: 'a file of that name is ./-',
    });
  }
  return { sources, destination };
}

async function send(
  client: Kangaroo,
  sources: readonly string[],
  destination: Address,
  flags: PutFlags,
  { io }: Context,
  progress: Progress,
  deadline: Deadline,
): Promise<PutResult> {
  const options = {
    ...bounds(io, deadline),
    willCommit: flags.push !== true,
    recursive: flags.recursive,
    onProgress: ({ file, bytes, totalBytes }: PutProgress) => {
      progress.label(`put ${file}`);
      progress.update(bytes, { totalBytes });
    },
  };
  if (sources[0] !== '-') return await putFiles(client, sources, destination, options);
  const bytes = await putStream(client, io.stdin(), destination, options);
  return {
    files: 1,
    directories: 0,
    bytes,
    failures: [],
    skipped: [],
    failureCount: 0,
    skippedCount: 0,
  };
}

/** The addresses that sources went to, by the rules of put-tree.ts: what a push is to wait for. */
async function targetsOf(
  client: Kangaroo,
  sources: readonly string[],
  destination: Address,
  result: PutResult,
  { io }: Context,
): Promise<string[]> {
  const failed = new Set(result.failures.map((failure) => failure.path));
  const put = sources.filter((source) => !failed.has(source));
  const into =
    sources.length > 1 ||
    destination.directory ||
    (await wentInto(client, put[0] ?? '-', destination, io.signal));
  return put.map((source) => {
    const child = into ? childOf(destination, source) : destination;
    return formatAddress(child.name, child.path);
  });
}

/** Was the address of a single source a directory before? Asked afterwards, of the first hop. */
async function wentInto(
  client: Kangaroo,
  source: string,
  destination: Address,
  signal: AbortSignal,
): Promise<boolean> {
  if (source === '-' || lastName(source) === '') return false;
  try {
    const found = await client.stat(destination, { signal });
    if (found.kind !== 'directory') return false;
    await client.stat(childOf(destination, source), { signal });
    return true;
  } catch {
    // The push of the address itself then covers it, and what else is below.
    return false;
  }
}

function childOf(directory: Address, source: string): Address {
  const name = lastName(source);
  if (name === '') return directory;
  return { ...directory, path: joinPath(directory.path, fromArgument(name)), directory: false };
}

/** '' for '.', '..' and '/', whose contents go to the destination itself. */
function lastName(source: string): string {
  const name = basename(source);
  return name === '.' || name === '..' ? '' : name;
}

function summarize(
  result: PutResult,
  where: string,
  elapsedMs: number,
  flags: PutFlags,
  { io }: Context,
  progress: Progress,
): void {
  if (io.stderr.isTTY !== true || !flags.progress) return;
  const files = counted(result.files, 'file');
  const size = `${files}, ${formatBytes(result.bytes)} in ${formatDuration(elapsedMs)}`;
  progress.stop();
  io.stderr.write(`kangaroo put: ${size}; ${where}\n`);
}
