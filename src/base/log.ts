/**
 * The log: pino, quiet by default, to standard error.
 *
 * On a terminal it is text for people (pino-pretty, loaded only then), otherwise one JSON object a
 * line. Standard output belongs to the commands. The level is `warn` unless KANGAROO_LOG or the
 * option names another. Writing is synchronous and cannot fail, see log-sink.ts.
 *
 * One thing has one field name wherever it is logged, so that a line can be found by machine; the
 * names are in LogFields. Secrets and payload bytes are never logged.
 */

import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import type PinoPretty from 'pino-pretty';
import { KangarooError } from './errors.ts';
import { LogSink } from './log-sink.ts';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The fields every part of Kangaroo uses under these names, with `err` for an error. */
export interface LogFields {
  /** The other server: its name where it has told one, else its address. */
  hop?: string;
  /** `kangaroo://NAME/path` */
  file?: string;
  /** Bytes from the start of the file. */
  offset?: number;
  /** A length in bytes. */
  bytes?: number;
  /** An operation: its number in the log of the spool, or `sender:number` for somebody else's. */
  op?: string | number;
  /** One connection between two processes, numbered by the process that logs. */
  link?: number;
}

export interface LogOptions {
  /** Default: the environment's KANGAROO_LOG, else `warn`. */
  level?: LogLevel | undefined;
  /** Text for people instead of JSON. Default: is `fd` a terminal? */
  pretty?: boolean | undefined;
  /** Default 2, standard error. */
  fd?: number | undefined;
}

/** `name` is the part of Kangaroo that speaks, such as `server` or `mover`. Throws USAGE. */
export function createLogger(name: string, options: LogOptions = {}): Logger {
  const fd = options.fd ?? 2;
  const pretty = options.pretty ?? isatty(fd);
  return pino(
    {
      name,
      level: options.level ?? levelFromEnvironment(),
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination(new LogSink(fd), pretty ? prettyFormat(fd) : (line) => line),
  );
}

function levelFromEnvironment(): LogLevel {
  const wanted = process.env['KANGAROO_LOG'];
  if (wanted === undefined || wanted === '') return 'warn';
  const level = LOG_LEVELS.find((known) => known === wanted);
  if (level === undefined) {
    const hint = `use one of ${LOG_LEVELS.join(' ')}`;
    throw new KangarooError('USAGE', `KANGAROO_LOG is "${wanted}", not a level`, { hint });
  }
  return level;
}

type Format = (line: string) => string;

// Required at the first terminal, not imported: a command's start should not pay for it.
function prettyFormat(fd: number): Format {
  const require = createRequire(import.meta.url);
  const pretty = require('pino-pretty') as typeof PinoPretty;
  return pretty.prettyFactory({
    colorize: isatty(fd) && pretty.isColorSupported,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid',
    singleLine: true,
  });
}

// Lines that were lost are told of as soon as one goes through again, before that one.
function destination(sink: LogSink, format: Format): DestinationStream {
  let lost = 0;
  return {
    write(line: string): void {
      if (lost > 0 && sink.write(format(lostLine(lost)))) lost = 0;
      if (lost > 0 || !sink.write(format(line))) lost += 1;
    },
  };
}

function lostLine(count: number): string {
  const time = new Date().toISOString();
  const msg = `${count} log lines could not be written before this one`;
  return `${JSON.stringify({ level: 'warn', time, pid: process.pid, name: 'log', msg })}\n`;
}
