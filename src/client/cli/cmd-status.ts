/**
 * kangaroo status: what is in transit, where, how fast, until when, and why it waits.
 *
 * --json prints exactly one document and nothing else on standard output. --watch goes on through
 * an outage of the server itself: it says so and tries again. It ends by Ctrl-C, with 0, because
 * there is no other end.
 */
import type { Command } from 'commander';
import { sleep } from '../../base/deadline.ts';
import { asKangarooError, explain, KangarooError } from '../../base/errors.ts';
import { formatTarget, parseTarget } from '../../route/address.ts';
import { connect, type Kangaroo } from '../client.ts';
import type { StatusReport } from '../report.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { colorsFor, type Io, print, printJson } from './io.ts';
import { bounds, clientCommand, type ServerFlag, whereTo, withClient } from './with-client.ts';

const WATCH_EVERY_MS = 1_000;
/** Cursor to the upper left and erase what follows (ECMA-48 CUP, ED). */
const CLEAR_SCREEN = '\x1b[H\x1b[J';

interface StatusFlags extends ServerFlag {
  readonly json?: boolean;
  readonly watch?: boolean;
}

export function define(program: Command, context: Context): void {
  clientCommand(
    program,
    'status',
    'Show what is in transit, where, how fast, until when, and why it waits.\n' +
      'With a TARGET also its files, the oldest first.',
  )
    .usage('[options] [TARGET]')
    .argument('[target]', 'server name, directory or file')
    .option('--json', 'one JSON document on standard output')
    .option('--watch', 'again each second until Ctrl-C; a line per change without a terminal')
    .addHelpText(
      'after',
      `
Examples:
  kangaroo status
  kangaroo status kangaroo://archive/run7 --json

${exitStatusHelp([0, 2, 69, 75, 77, 130], 'shown')}`,
    )
    .action((target: string | undefined, flags: StatusFlags) => status(target, flags, context));
}

async function status(
  given: string | undefined,
  flags: StatusFlags,
  { io }: Context,
): Promise<void> {
  const target = given === undefined ? '' : formatTarget(parseTarget(given));
  if (flags.json === true && flags.watch === true) {
    throw new KangarooError('USAGE', '--json shows one moment, --watch many', {
      hint: 'choose one of them',
    });
  }
  if (flags.watch === true) {
    await watch(target, flags, io);
    return;
  }
  const report = await withClient(io, flags, (client) => {
    return client.status(target, { signal: io.signal });
  });
  if (flags.json === true) printJson(io, report);
  else
    print(
      io,
      (await import('./status-view.ts')).renderStatus(report, colorsFor(io.stdout, io.env)),
    );
}

async function watch(target: string, flags: StatusFlags, io: Io): Promise<void> {
  const show = await newScreen(io);
  // The first try decides whether there is anything to watch; later ones may fail.
  let client: Kangaroo | null = await connect({ ...whereTo(io, flags), signal: io.signal });
  try {
    while (!io.signal.aborted) {
      try {
        client ??= await connect({ ...whereTo(io, flags), signal: io.signal });
        show(await client.status(target, { ...bounds(io), timeoutMs: 10 * WATCH_EVERY_MS }));
      } catch (error) {
        if (!asKangarooError(error).retryable) throw error;
        show(asKangarooError(error));
        await client?.close();
        client = null;
      }
      await sleep(WATCH_EVERY_MS, io.signal);
    }
  } catch (error) {
    if (!io.signal.aborted) throw error;
  } finally {
    await client?.close();
  }
}

/** Shows a report or a passing trouble: the whole screen on a terminal, what changed elsewhere. */
async function newScreen(io: Io): Promise<(shown: StatusReport | KangarooError) => void> {
  const { renderStatus, statusLines } = await import('./status-view.ts');
  const colors = colorsFor(io.stdout, io.env);
  let before = new Set<string>();
  return (shown) => {
    if (io.signal.aborted) return;
    const trouble = shown instanceof KangarooError;
    if (io.stdout.isTTY === true) {
      const text = trouble ? colors.yellow(explain(shown)) : renderStatus(shown, colors);
      io.stdout.write(`${CLEAR_SCREEN}${text}\n`);
      return;
    }
    const lines = trouble ? [explain(shown)] : statusLines(shown);
    const now = new Date().toISOString();
    for (const line of lines) if (!before.has(line)) print(io, `${now} ${line}`);
    before = new Set(lines);
  };
}
