/**
 * Runs one command line and returns its exit status. The only place that turns an error into words
 * on standard error: one line, `kangaroo put: what, on which address, why (what to do next)`.
 *
 * Commander parses; it may neither print errors nor leave the process. Of several failures in one
 * command each has its line, and the worst decides the status.
 */
import { Command, CommanderError } from 'commander';
import { asKangarooError, explain, KangarooError } from '../../base/errors.ts';
import { version } from '../../base/version.ts';
import { COMMANDS, type Context } from './commands.ts';
import { worstOf } from './exit-status.ts';
import type { Io } from './io.ts';

const HELP_INTRO = 'Data mover for batch jobs: writes at local speed, delivers hop by hop.';

export async function runCommand(argv: readonly string[], io: Io): Promise<number> {
  const [first = '', second] = argv;
  const words = first === 'help' ? [second ?? '--help', '--help'] : argv;
  const row = COMMANDS.find(({ name }) => name === words[0]);
  const title = row === undefined ? 'kangaroo' : `kangaroo ${row.name}`;
  const statuses: number[] = [];
  let own: number | null = null;
  const endWith = (status: number): void => {
    own = status;
  };
  const fail = (error: unknown): void => {
    statuses.push(asKangarooError(error).exitStatus);
    if (io.isOutputLost?.() === true) return;
    io.stderr.write(`${title}: ${withoutVerb(explain(error), row?.name)}\n`);
  };
  try {
    const program = newProgram(io);
    if (row === undefined) defineAll(program);
    else (await row.load()).define(program, { io, fail, endWith } satisfies Context);
    await parse(program, words, title);
  } catch (error) {
    fail(error);
  }
  return own ?? worstOf(statuses);
}

/** The library says 'stat kangaroo://a/b: absent'; behind 'kangaroo stat: ' once is enough. */
function withoutVerb(text: string, verb = ''): string {
  if (text.startsWith(`${verb}: `)) return text.slice(verb.length + 2);
  return text.startsWith(`${verb} kangaroo://`) ? text.slice(verb.length + 1) : text;
}

function newProgram(io: Io): Command {
  return new Command('kangaroo')
    .description(HELP_INTRO)
    .version(version, '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show this help')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => Math.min(io.stdout.columns ?? 100, 100),
      getOutHasColors: () => false,
    });
}

/** For the root's own help and errors: every command by name, none of them loaded. */
function defineAll(program: Command): void {
  program.helpCommand('help [command]', 'show the help of a command');
  for (const { name, summary } of COMMANDS) {
    program.command(name, { isDefault: false }).summary(summary).description(summary);
  }
  program.addHelpText('after', '\nAddresses are kangaroo://NAME/path or /kangaroo/NAME/path.');
}

async function parse(program: Command, argv: readonly string[], title: string): Promise<void> {
  const [word] = argv;
  if (word === undefined) {
    throw new KangarooError('USAGE', 'no command', { hint: 'kangaroo --help lists them' });
  }
  if (title === 'kangaroo' && !word.startsWith('-')) throw await unknownCommand(word);
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw usageError(error, title);
  }
}

async function unknownCommand(word: string): Promise<KangarooError> {
  const { nearest } = await import('../../base/nearest.ts');
  const near = nearest(
    word,
    COMMANDS.map(({ name }) => name),
  );
  return new KangarooError('USAGE', `there is no command '${word}'`, {
    hint: near === null ? 'kangaroo --help lists them' : `did you mean '${near}'?`,
  });
}

/** Commander's words without its prefix, and its suggestion as the hint. */
function usageError(error: CommanderError, title: string): KangarooError {
  const [what = '', suggestion] = error.message.replace(/^error: /, '').split('\n');
  const hint = suggestion?.replace(/^\((.*)\)$/, '$1').replace(/^Did/, 'did');
  return new KangarooError('USAGE', what, { hint: hint ?? `see ${title} --help` });
}
