/**
 * kangaroo server: runs a server and its mover in the foreground until SIGTERM or SIGINT.
 *
 * Its options are made from the table in base/config.ts and checked by server-options.ts before
 * anything is started. Ending by a signal is how a server ends, so that exits with 0.
 */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { SERVER_SETTINGS, type Setting } from '../../base/config.ts';
import { asKangarooError, errnoOf, KangarooError } from '../../base/errors.ts';
import type { Context } from './commands.ts';
import { exampleFile } from './config-text.ts';
import { exitStatusHelp } from './exit-status.ts';
import { readServerOptions, type SettingSources } from './server-options.ts';

type Flags = Record<string, unknown>;

export function define(program: Command, context: Context): void {
  const command = program
    .command('server')
    .description(
      'Run a server and its mover in the foreground until SIGTERM or SIGINT.\n' +
        'What is addressed to its name goes to --export, the rest to the next server.',
    );
  for (const setting of Object.values(SERVER_SETTINGS)) addOption(command, setting);
  command
    .option('--config <file>', 'TOML file with these settings; options override it')
    .option('--example-config', 'print such a file, and do nothing else')
    .addHelpText(
      'after',
      `
SIZE is bytes with an optional K, M, G or T (powers of 1024).

Examples:
  kangaroo server --name archive --export /srv/archive --listen 127.0.0.1:9631
  kangaroo server --name node7 --route archive=archive.example.org:9631

${exitStatusHelp([0, 1, 2, 75, 77], 'stopped by a signal, with everything promised kept')}`,
    )
    .action((flags: Flags) => serve(flags, context));
}

async function serve(flags: Flags, { io }: Context): Promise<void> {
  if (flags['exampleConfig'] === true) {
    io.stdout.write(exampleFile());
    return;
  }
  const options = await readServerOptions(await settingSources(flags, io));
  const { runServer } = await import('../../server/main.ts');
  await untilSignal(runServer(options, io.signal));
}

/** Adds a setting's option, with its environment variable and default in the help. */
export function addOption(command: Command, setting: Setting): void {
  const env = setting.env === null ? '' : `, or ${setting.env}`;
  const fallback = setting.type === 'flag' ? '' : ` (default: ${setting.defaultText}${env})`;
  const help = `${setting.help}${fallback}`;
  if (setting.type === 'list') command.option(setting.flag, help, collect);
  else command.option(setting.flag, help);
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Everything settings come from; reads the file of --config. @throws KangarooError LOCAL_FILE */
export async function settingSources(flags: Flags, io: Context['io']): Promise<SettingSources> {
  const name = flags['config'];
  const file = typeof name === 'string' ? { name, text: await readConfig(name) } : null;
  return { flags, env: io.env, home: io.home, file };
}

async function readConfig(name: string): Promise<string> {
  try {
    return await readFile(name, 'utf8');
  } catch (error) {
    const text = `${name}: ${errnoOf(error) ?? 'cannot be read'}`;
    throw new KangarooError('LOCAL_FILE', text, { cause: error, hint: 'check --config' });
  }
}

/** Waits for a process that runs until it is told to stop, which is no failure. */
export async function untilSignal(running: Promise<void>): Promise<void> {
  try {
    await running;
  } catch (error) {
    if (asKangarooError(error).code !== 'INTERRUPTED') throw error;
  }
}
