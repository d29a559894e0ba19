/**
 * kangaroo messages, retry and discard: what a destination refused, and what to do about it.
 *
 * Nothing that is held is lost: retry sends it again after the mending, discard gives it up on
 * purpose and says how much.
 */
import type { Command } from 'commander';
import { sleep } from '../../base/deadline.ts';
import { KangarooError } from '../../base/errors.ts';
import { formatTarget, parseTarget } from '../../route/address.ts';
import type { Kangaroo } from '../client.ts';
import type { ServerMessage } from '../report.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { colorsFor, print, printJson } from './io.ts';
import { counted } from './text.ts';
import { clientCommand, type ServerFlag, withClient } from './with-client.ts';

const FOLLOW_EVERY_MS = 1_000;

interface MessageFlags extends ServerFlag {
  readonly json?: boolean;
  readonly follow?: boolean;
}

export function define(program: Command, context: Context): void {
  clientCommand(program, 'messages', 'Show what was held or failed, and what to do about it.')
    .option('--json', 'one JSON document; with --follow one per message, a line each')
    .option('--follow', 'go on with new ones until Ctrl-C')
    .addHelpText(
      'after',
      `
Example:
  kangaroo messages

${exitStatusHelp([0, 2, 69, 75, 77, 130], 'shown, also when there are none')}`,
    )
    .action((flags: MessageFlags) => messages(flags, context));
  clientCommand(program, 'retry', 'Try again what is held, after the reason has been mended.')
    .usage('[options] [TARGET]')
    .argument('[target]', 'server name, directory or file; default: all that is held')
    .addHelpText(
      'after',
      `
Example:
  kangaroo retry kangaroo://archive/run7 && kangaroo push kangaroo://archive/run7

${exitStatusHelp([0, 1, 2, 69, 75, 77, 130], 'being tried again; kangaroo push waits for it')}`,
    )
    .action((target: string | undefined, flags: ServerFlag) => retry(target, flags, context));
  clientCommand(program, 'discard', 'Give up what is held. It will never arrive.')
    .usage('[options] TARGET')
    .argument('<target>', 'server name, directory or file')
    .addHelpText(
      'after',
      `
Example:
  kangaroo discard kangaroo://archive/run6/bad.dat

${exitStatusHelp([0, 1, 2, 69, 75, 77, 130], 'given up')}`,
    )
    .action((target: string, flags: ServerFlag) => discard(target, flags, context));
}

async function messages(flags: MessageFlags, { io }: Context): Promise<void> {
  await withClient(io, flags, async (client) => {
    if (flags.follow === true) {
      await follow(client, flags, io);
      return;
    }
    const report = await client.messages({ signal: io.signal });
    if (flags.json === true) printJson(io, report);
    else if (report.messages.length === 0) print(io, 'no messages');
    else {
      const { renderMessages } = await import('./messages-view.ts');
      print(io, renderMessages(report.messages, colorsFor(io.stdout, io.env)));
    }
  });
}

async function follow(client: Kangaroo, flags: MessageFlags, io: Context['io']): Promise<void> {
  const { messageLine } = await import('./messages-view.ts');
  const line = (message: ServerMessage): string => {
    return flags.json === true ? JSON.stringify(message) : messageLine(message);
  };
  let after = 0;
  try {
    while (!io.signal.aborted) {
      const report = await client.messages({ after, signal: io.signal });
      for (const message of report.messages) print(io, line(message));
      after = Math.max(after, report.last);
      await sleep(FOLLOW_EVERY_MS, io.signal);
    }
  } catch (error) {
    // Ctrl-C is how following ends.
    if (!io.signal.aborted) throw error;
  }
}

async function retry(given: string | undefined, flags: ServerFlag, { io }: Context): Promise<void> {
  const target = given === undefined ? '' : formatTarget(parseTarget(given));
  const count = await withClient(io, flags, (client) => {
    return client.retry(target, { signal: io.signal });
  });
  print(io, count === 0 ? 'nothing is held there' : `tried again: ${counted(count, 'operation')}`);
}

async function discard(given: string, flags: ServerFlag, { io }: Context): Promise<void> {
  const target = formatTarget(parseTarget(given));
  if (target === '') {
    throw new KangarooError('USAGE', 'discard wants a target', {
      hint: 'name a server, a directory or a file',
    });
  }
  const count = await withClient(io, flags, (client) => {
    return client.discard(target, { signal: io.signal });
  });
  print(io, count === 0 ? 'nothing is held there' : `given up: ${counted(count, 'operation')}`);
}
