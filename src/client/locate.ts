/**
 * Which server a client talks to: the one that was named, else KANGAROO_SERVER, else the first of
 * the usual places at which one answers.
 *
 * A name that was given is the only candidate: a program that was told where to go must not end up
 * elsewhere. Of the usual places, a socket that is missing or stale is passed over. Only the
 * environment is read here; dialling is session.ts's business.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { KangarooError } from '../base/errors.ts';
import { parseServerAddress, type ServerAddress } from '../protocol/server-address.ts';
import { DEFAULT_PORT } from '../route/table.ts';

const SOCKET_NAME = 'server.sock';

/** The environment variables that count. */
export interface LocateEnvironment {
  readonly KANGAROO_SERVER?: string | undefined;
  readonly XDG_RUNTIME_DIR?: string | undefined;
  readonly HOME?: string | undefined;
}

/**
 * Where to look, in this order; never empty.
 * @throws KangarooError USAGE when what was given is no server address
 */
export function serverCandidates(
  server: string | undefined,
  environment: LocateEnvironment,
): readonly ServerAddress[] {
  const named = nonEmpty(server) ?? nonEmpty(environment.KANGAROO_SERVER);
  if (named !== undefined) return [parseServerAddress(named, DEFAULT_PORT)];
  const candidates: ServerAddress[] = [];
  const runtime = nonEmpty(environment.XDG_RUNTIME_DIR);
  if (runtime !== undefined) {
    candidates.push({ kind: 'unix', path: join(runtime, 'kangaroo', SOCKET_NAME) });
  }
  const home = nonEmpty(environment.HOME) ?? homedir();
  candidates.push({ kind: 'unix', path: join(home, '.kangaroo', SOCKET_NAME) });
  candidates.push({ kind: 'tcp', host: '127.0.0.1', port: DEFAULT_PORT });
  return candidates;
}

/** One error for all that was tried; each failure's text starts with the address. */
export function noServerError(failures: readonly KangarooError[]): KangarooError {
  const [only] = failures;
  if (only !== undefined && failures.length === 1) return only;
  const tried = failures.map((failure) => failure.message).join('; ');
  return new KangarooError('UNREACHABLE', `no server answers; tried ${tried}`);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}
