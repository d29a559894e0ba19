/**
 * kangaroo mover: the mover of a spool alone, for a server that was started with --no-mover.
 *
 * It takes the settings it shares with the server from the same places, so that one configuration
 * file serves both.
 */
import type { Command } from 'commander';
import { SERVER_SETTINGS } from '../../base/config.ts';
import { addOption, settingSources, untilSignal } from './cmd-server.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { readMoverOptions } from './server-options.ts';

export function define(program: Command, context: Context): void {
  const command = program
    .command('mover')
    .description(
      'Run the mover of a spool alone, in the foreground until SIGTERM or SIGINT;\n' +
        'for a server that was started with --no-mover.',
    );
  for (const setting of [SERVER_SETTINGS.spool, SERVER_SETTINGS.route, SERVER_SETTINGS.logLevel]) {
    addOption(command, setting);
  }
  command
    .option('--config <file>', "the server's configuration file; options override it")
    .addHelpText(
      'after',
      `
Example:
  kangaroo mover --spool /var/spool/kangaroo --route archive=archive.example.org:9631

${exitStatusHelp([0, 1, 2, 69, 75, 77], 'stopped by a signal')}`,
    )
    .action(async (flags: Record<string, unknown>) => {
      const { io } = context;
      const options = await readMoverOptions(await settingSources(flags, io));
      const { runMover } = await import('../../mover/main.ts');
      await untilSignal(runMover(options, io.signal));
    });
}
