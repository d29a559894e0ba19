/**
 * kangaroo check: reads a spool back and verifies every checksum. It only reads, so it may run
 * beside a server; the reading itself is spool/check.ts.
 */
import { readdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { defaultSpoolPath } from '../../base/config.ts';
import { KangarooError } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { type Io, print } from './io.ts';
import { counted, visible } from './text.ts';

export function define(program: Command, context: Context): void {
  program
    .command('check')
    .description(
      'Read a spool back and verify every checksum, whether its server runs or not.\n' +
        'Each problem is one line: segment, offset, bytes, and what is wrong there.',
    )
    .option('--spool <dir>', 'the spool (default: the only one in its usual place)')
    .addHelpText(
      'after',
      `
Example:
  kangaroo check --spool /var/spool/kangaroo

${exitStatusHelp([0, 1, 2, 77, 130], 'every checksum is right')}`,
    )
    .action((options: { spool?: string }) => check(options, context));
}

async function check(options: { spool?: string }, { io }: Context): Promise<void> {
  const directory = options.spool === undefined ? await onlySpool(io) : resolve(options.spool);
  const { checkSpool } = await import('../../spool/check.ts');
  const sum = await checkSpool(directory, ({ segment, offset, bytes, problem }) => {
    print(io, visible(`${segment}: ${offset}: ${bytes} bytes: ${problem}`));
    io.signal.throwIfAborted();
  });
  const read = `${sum.segments} segments, ${sum.operations} operations, ${formatBytes(sum.bytes)}`;
  if (sum.problems > 0) {
    const count = counted(sum.problems, 'problem');
    throw new KangarooError('CORRUPT', `${directory}: ${count} in ${read}`, {
      hint: 'keep the spool; the server sets aside what it cannot read and tells of it',
    });
  }
  print(io, `${directory}: ${read}, no problems`);
}

/** The spool that a server has made in the default place, if it is the only one. */
async function onlySpool(io: Io): Promise<string> {
  const parent = dirname(defaultSpoolPath(io.env, io.home, 'NAME'));
  const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  const [only] = names;
  if (only === undefined || names.length > 1) {
    const found = only === undefined ? 'no spool' : `several spools (${names.join(', ')})`;
    throw new KangarooError('USAGE', `${parent}: ${found}`, { hint: 'name one with --spool' });
  }
  return resolve(parent, only);
}
