/**
 * The mover as a child of the server: started, watched, started again when it dies, stopped.
 *
 * It is a process of its own so that nothing it does can stall or corrupt the server. When the
 * server dies, the pipe to the child's standard input closes and the mover ends by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ServerOptions } from '../base/config.ts';
import type { Logger } from '../base/log.ts';

const RESTART_AFTER_MS = 500;
const STOP_WITHIN_MS = 3_000;

export class MoverProcess {
  readonly #options: ServerOptions;
  readonly #logger: Logger;
  #child: ChildProcess | null = null;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(options: ServerOptions, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
  }

  /** Returns the process id. */
  start(): number | null {
    const program = fileURLToPath(new URL('../mover/child.js', import.meta.url));
    const { spool, logLevel } = this.#options;
    const child = spawn(process.execPath, [program, spool, logLevel], {
      stdio: ['pipe', 'ignore', 'inherit'],
      // Bulk sends hold a thread each while they run; Node reads this at its start only.
      env: { UV_THREADPOOL_SIZE: '16', ...process.env },
    });
    // The pipe is only there to be closed by our death.
    child.stdin?.on('error', () => {});
    child.on('error', (error) => this.#logger.error({ err: error }, 'the mover does not start'));
    child.on('exit', (code, signal) => {
      this.#child = null;
      if (this.#stopping) return;
      this.#logger.warn({ code, signal }, 'the mover ended and is started again');
      this.#restart = setTimeout(() => this.start(), RESTART_AFTER_MS);
    });
    this.#child = child;
    return child.pid ?? null;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
    await gone;
    clearTimeout(timer);
  }
}
