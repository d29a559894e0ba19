/**
 * The server program: options in, a running server, until the signal says stop.
 */
import type { ServerOptions } from '../base/config.ts';
import { createLogger, type LogLevel } from '../base/log.ts';
import { Server } from './server.ts';

/** Runs a server until `signal` aborts. @throws KangarooError when it cannot start or go on */
export async function runServer(options: ServerOptions, signal: AbortSignal): Promise<void> {
  const logger = createLogger('server', {
    level: options.logLevel as LogLevel,
  });
  const server = await Server.start(options, logger);
  const asked = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  try {
    await Promise.race([asked, server.failed]);
  } finally {
    await server.stop();
  }
}
