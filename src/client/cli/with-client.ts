/**
 * The options and steps that all commands which talk to a server share: where it is, how long to
 * wait, and a session that is closed whatever happens.
 */
import { type Command, Option } from 'commander';
import { type Deadline, deadlineIn, NEVER, remainingMs, within } from '../../base/deadline.ts';
import { parseDuration } from '../../base/units.ts';
import { connect, type Kangaroo } from '../client.ts';
import type { Io } from './io.ts';

/** The server's own NOT_YET, which says what it waited for, gets this much time to arrive. */
const ANSWER_GRACE_MS = 250;

export interface ServerFlag {
  readonly server?: string;
}

export interface TimeoutFlag {
  /** As typed: '30s'. */
  readonly timeout?: string;
}

/** How a call of this command is bounded: hand it over as it is. */
export interface Bounds {
  readonly signal: AbortSignal;
  /** Milliseconds left of --timeout; Infinity without one. */
  readonly timeoutMs: number;
}

export function serverOption(): Option {
  return new Option('--server <addr>', 'unix:/path, a path or host:port; else $KANGAROO_SERVER');
}

export function timeoutOption(what: string): Option {
  return new Option('--timeout <t>', `${what}: 500ms, 30s, 5m or 2h (default: no bound)`);
}

/** A subcommand that talks to a server. */
export function clientCommand(program: Command, name: string, description: string): Command {
  return program.command(name).description(description).addOption(serverOption());
}

/** @throws KangarooError USAGE */
export function deadlineOf(flags: TimeoutFlag): Deadline {
  return flags.timeout === undefined
    ? NEVER
    : deadlineIn(parseDuration(flags.timeout, '--timeout'));
}

export function bounds(io: Io, deadline: Deadline = NEVER): Bounds {
  return { signal: io.signal, timeoutMs: remainingMs(deadline) };
}

/**
 * Connects, does the work, closes. The deadline ends it whatever the work is waiting for.
 * @throws KangarooError UNREACHABLE, and what `work` throws
 */
export async function withClient<T>(
  io: Io,
  flags: ServerFlag,
  work: (client: Kangaroo) => Promise<T>,
  deadline: Deadline = NEVER,
): Promise<T> {
  const client = await connect({ ...whereTo(io, flags), ...boundsOrDefault(io, deadline) });
  try {
    return await within(work(client), deadline + ANSWER_GRACE_MS, '--timeout');
  } finally {
    await client.close();
  }
}

/** The server that was named by option or environment; nothing leaves it to the defaults. */
export function whereTo(io: Io, flags: ServerFlag): { server?: string } {
  const named = flags.server ?? io.env['KANGAROO_SERVER'] ?? '';
  return named === '' ? {} : { server: named };
}

/**
 * As `bounds`, but without --timeout the library's own bound holds: nobody wants to wait for ever
 * for a server that was never started, or for a byte that is somewhere else.
 */
export function boundsOrDefault(
  io: Io,
  deadline: Deadline,
): { signal: AbortSignal; timeoutMs?: number } {
  return Number.isFinite(deadline) ? bounds(io, deadline) : { signal: io.signal };
}
