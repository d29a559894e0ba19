/**
 * kangaroo commit and kangaroo push: the two barriers (paper, section 3). Commit is safety: all is
 * on stable storage at the first hop. Push is visibility: it has arrived.
 */
import type { Command } from 'commander';
import { formatTarget, parseTarget } from '../../route/address.ts';
import type { Kangaroo } from '../client.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { startProgress } from './progress.ts';
import { pushTargets } from './push.ts';
import {
  bounds,
  clientCommand,
  deadlineOf,
  type ServerFlag,
  type TimeoutFlag,
  timeoutOption,
  withClient,
} from './with-client.ts';

interface BarrierFlags extends ServerFlag, TimeoutFlag {
  readonly progress: boolean;
}

export function define(program: Command, context: Context): void {
  clientCommand(
    program,
    'commit',
    'Wait until everything the first hop was given so far is on its stable storage.',
  )
    .addOption(timeoutOption('how long to wait'))
    .addHelpText(
      'after',
      `
Example:
  kangaroo commit --timeout 1m

${exitStatusHelp([0, 2, 69, 75, 77, 130], 'all is durable at the first hop')}`,
    )
    .action(async (flags: BarrierFlags) => {
      const { io } = context;
      const deadline = deadlineOf(flags);
      const work = (client: Kangaroo): Promise<void> => client.commit(bounds(io, deadline));
      await withClient(io, flags, work, deadline);
    });
  clientCommand(
    program,
    'push',
    'Wait until everything under the targets has arrived at its destination.',
  )
    .usage('[options] [TARGET...]')
    .argument('[target...]', 'server name, directory or file; default: all the first hop holds')
    .addOption(timeoutOption('how long to wait in all'))
    .option('--no-progress', 'no progress line on a terminal')
    .addHelpText(
      'after',
      `
Examples:
  kangaroo push
  kangaroo push archive kangaroo://other/run7 --timeout 2h

${exitStatusHelp([0, 1, 2, 69, 73, 75, 77, 130], 'all of it has arrived')}`,
    )
    .action((targets: string[], flags: BarrierFlags) => push(targets, flags, context));
}

async function push(
  given: readonly string[],
  flags: BarrierFlags,
  context: Context,
): Promise<void> {
  const { io } = context;
  const targets = given.length === 0 ? [''] : given.map((text) => formatTarget(parseTarget(text)));
  const deadline = deadlineOf(flags);
  const work = async (client: Kangaroo): Promise<void> => {
    const progress = await startProgress(io, flags.progress, 'push', null);
    try {
      await pushTargets(client, targets, context, progress, deadline);
    } finally {
      progress.stop();
    }
  };
  await withClient(io, flags, work, deadline);
}
