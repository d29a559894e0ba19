/**
 * kangaroo get: a file, a range of one, or a tree, to local files or standard output. What is still
 * in a spool on the way is read from there.
 */
import type { Command } from 'commander';
import { KangarooError } from '../../base/errors.ts';
import { parseSize } from '../../base/units.ts';
import { type Address, parseAddress } from '../../route/address.ts';
import type { Kangaroo } from '../client.ts';
import { getFiles, type GetProgress, getStream } from '../get-tree.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { reportParts } from './failures.ts';
import { type Progress, startProgress } from './progress.ts';
import {
  boundsOrDefault,
  clientCommand,
  deadlineOf,
  type ServerFlag,
  type TimeoutFlag,
  timeoutOption,
  withClient,
} from './with-client.ts';

interface GetFlags extends ServerFlag, TimeoutFlag {
  readonly offset?: string;
  readonly length?: string;
  readonly recursive?: boolean;
  readonly progress: boolean;
}

export function define(program: Command, context: Context): void {
  clientCommand(
    program,
    'get',
    'Read a file, a range of one, or a tree. DEST is a local file or directory, - is standard\n' +
      'output. What is still on its way is read from the spool that holds it.',
  )
    .usage('[options] SRC DEST')
    .argument('<src>', 'address of a file, or of a directory with -r')
    .argument('<dest>', 'local file or directory, or - for standard output')
    .option('--offset <n>', 'first byte to read, as SIZE')
    .option('--length <n>', 'most bytes to read, as SIZE')
    .option('-r, --recursive', 'get a directory with what is in it')
    .addOption(timeoutOption('how long it may take in all'))
    .option('--no-progress', 'no progress line on a terminal')
    .addHelpText(
      'after',
      `
SIZE is bytes with an optional K, M, G or T (powers of 1024).

Examples:
  kangaroo get kangaroo://archive/run7/results.dat .
  kangaroo get kangaroo://archive/run7/log.txt - --offset 1M --length 4K

${exitStatusHelp([0, 1, 2, 69, 75, 77, 130], 'all of it was read and written')}`,
    )
    .action((source: string, destination: string, flags: GetFlags) =>
      get(source, destination, flags, context),
    );
}

async function get(from: string, to: string, flags: GetFlags, context: Context): Promise<void> {
  const { io } = context;
  const source = parseAddress(from);
  const range = readRange(flags);
  if (flags.recursive === true && (to === '-' || Object.keys(range).length > 0)) {
    throw new KangarooError('USAGE', '-r goes with neither standard output nor a range', {
      hint: 'get one file, or a tree into a directory',
    });
  }
  const deadline = deadlineOf(flags);
  const work = async (client: Kangaroo): Promise<void> => {
    const progress = await startProgress(io, flags.progress, `get ${from}`, null);
    const onProgress = ({ file, bytes, totalBytes }: GetProgress): void => {
      progress.label(`get ${file}`);
      progress.update(bytes, { totalBytes });
    };
    try {
      const options = { ...boundsOrDefault(io, deadline), ...range, onProgress };
      if (to === '-') await getStream(client, source, io.stdout, options);
      else await getLocal(client, source, to, { ...options, flags }, context, progress);
    } finally {
      progress.stop();
    }
  };
  await withClient(io, flags, work, deadline);
}

async function getLocal(
  client: Kangaroo,
  source: Address,
  to: string,
  options: Parameters<typeof getFiles>[3] & { readonly flags: GetFlags },
  context: Context,
  progress: Progress,
): Promise<void> {
  const { flags, ...rest } = options;
  const result = await getFiles(client, source, to, { ...rest, recursive: flags.recursive });
  progress.aside(() => reportParts('get', result, context));
}

/** @throws KangarooError USAGE */
function readRange(flags: GetFlags): { offset?: number; length?: number } {
  return {
    ...(flags.offset === undefined ? {} : { offset: parseSize(flags.offset, '--offset') }),
    ...(flags.length === undefined ? {} : { length: parseSize(flags.length, '--length') }),
  };
}
