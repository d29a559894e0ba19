/**
 * The mover program: finds its server through the spool directory, works, and comes back whenever
 * the server does.
 */
import { closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadlineIn, sleep } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { createLogger, type Logger, type LogLevel } from '../base/log.ts';
import { type Connection, dial } from '../protocol/connection.ts';
import { RouteTable } from '../route/table.ts';
import { dataName } from '../spool/segment.ts';
import { Mover } from './mover.ts';

export interface MoverOptions {
  readonly spool: string;
  /** In place of the server's own routes; empty: those. */
  readonly routes: readonly string[];
  readonly logLevel: string;
}

const RECONNECT_AFTER_MS = 300;

/** Runs a mover for the spool until `signal` aborts. @throws KangarooError when nothing can help */
export async function runMover(options: MoverOptions, signal: AbortSignal): Promise<void> {
  const logger = createLogger('mover', { level: options.logLevel as LogLevel });
  if (!existsSync(options.spool)) {
    throw new KangarooError('USAGE', `${options.spool}: there is no spool`);
  }
  while (!signal.aborted) {
    try {
      await moveOnce(options, signal, logger);
    } catch (error) {
      const known = asKangarooError(error);
      if (!known.retryable && known.code !== 'INTERNAL') throw known;
      logger.info({ reason: known.message }, 'no connection to the server of this spool');
    }
    if (!signal.aborted) await sleep(RECONNECT_AFTER_MS, signal).catch(() => {});
  }
}

async function moveOnce(options: MoverOptions, signal: AbortSignal, logger: Logger): Promise<void> {
  const local = JSON.parse(readFileSync(join(options.spool, 'server.json'), 'utf8')) as {
    routes: string[];
  };
  const routes = RouteTable.parse(options.routes.length > 0 ? options.routes : local.routes);
  const server = await dialSpool(options.spool);
  const segments = join(options.spool, 'segments');
  const isData = (segment: number): boolean => existsSync(join(segments, dataName(segment)));
  const mover = new Mover(server, segments, isData, routes, logger);
  await mover.run(deadlineIn(limits.greetingTimeoutMs), signal);
}

/** The socket in the spool directory, through its descriptor: the path may be too long for one. */
async function dialSpool(spool: string): Promise<Connection> {
  const fd = openSync(spool, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const path = `/proc/self/fd/${fd}/mover.sock`;
    return await dial({ kind: 'unix', path }, deadlineIn(limits.connectTimeoutMs));
  } finally {
    closeSync(fd);
  }
}
