/**
 * From what was typed, the environment and a configuration file to the ServerOptions that a server
 * is started with.
 *
 * The option wins over the environment, that over the file, that over the default. All values are
 * checked before anything is started, here those that need another folder's parser or concern
 * several settings: a listener that other machines can reach must say who may connect. Paths come
 * out absolute, so that nothing depends on the working directory later.
 */
import { resolve } from 'node:path';
import {
  defaultSocketPath,
  defaultSpoolPath,
  type GivenSettings,
  readEnvironment,
  readSettings,
  SERVER_SETTINGS,
  type ServerOptions,
} from '../../base/config.ts';
import { KangarooError } from '../../base/errors.ts';
import type { LogLevel } from '../../base/log.ts';
import { invalidName } from '../../protocol/operation.ts';
import { parseServerAddress } from '../../protocol/server-address.ts';
import { RouteTable } from '../../route/table.ts';

/** sun_path of unix(7) has 108 bytes, the last of them zero. */
const SOCKET_PATH_BYTES_MAX = 107;

const DEFAULT_LOG_LEVEL = SERVER_SETTINGS.logLevel.default as LogLevel;

export interface SettingSources {
  /** As commander hands them over, by its names (`spoolLimit`); undefined: not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  /** Text of the configuration file, with its name for errors. */
  readonly file: { readonly name: string; readonly text: string } | null;
}

/** @throws KangarooError USAGE */
export async function readServerOptions(sources: SettingSources): Promise<ServerOptions> {
  const given = await readGiven(sources);
  const name = given.name;
  if (name === undefined || invalidName(name)) {
    throw new KangarooError('USAGE', 'the server has no name', {
      hint: 'give it one with --name, the NAME of kangaroo://NAME/path',
    });
  }
  const spool = resolve(given.spool ?? defaultSpoolPath(sources.env, sources.home, name));
  const options: ServerOptions = {
    name,
    listen: given.listen ?? [],
    socket: socketPath(given.socket, sources),
    export: given.export === undefined || given.export === null ? null : resolve(given.export),
    spool,
    spoolLimitBytes: given.spoolLimitBytes ?? Number(SERVER_SETTINGS.spoolLimitBytes.default),
    allow: given.allow ?? [],
    route: given.route ?? [],
    readyFile:
      given.readyFile === undefined || given.readyFile === null ? null : resolve(given.readyFile),
    mover: given.mover ?? true,
    logLevel: given.logLevel ?? DEFAULT_LOG_LEVEL,
  };
  checkTogether(options);
  return options;
}

/** What a mover of its own needs of the same sources. @throws KangarooError USAGE */
export async function readMoverOptions(
  sources: SettingSources,
): Promise<{ spool: string; routes: string[]; logLevel: LogLevel }> {
  const given = await readGiven(sources);
  const byName =
    given.name === undefined ? undefined : defaultSpoolPath(sources.env, sources.home, given.name);
  const spool = given.spool ?? byName;
  if (spool === undefined) {
    throw new KangarooError('USAGE', 'the mover has no spool', {
      hint: "name the server's spool directory with --spool",
    });
  }
  const routes = [...(given.route ?? [])];
  RouteTable.parse(routes);
  const logLevel = given.logLevel ?? DEFAULT_LOG_LEVEL;
  return { spool: resolve(spool), routes, logLevel };
}

async function readGiven({ flags, env, file }: SettingSources): Promise<GivenSettings> {
  const fromFile = file === null ? {} : readSettings(await parseToml(file), file.name);
  return { ...fromFile, ...readEnvironment(env), ...readSettings(byKey(flags), 'option') };
}

async function parseToml(file: { name: string; text: string }): Promise<Record<string, unknown>> {
  // Loaded here: most commands have no configuration file.
  const { parse, TomlError } = await import('smol-toml');
  try {
    return parse(file.text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.split('\n')[0] ?? '';
    const text = `${file.name}:${error.line}:${error.column}: ${why}`;
    throw new KangarooError('USAGE', text, { hint: 'kangaroo server --example-config shows one' });
  }
}

/** Commander's names to the table's keys; what was not typed, and other options, are left out. */
function byKey(flags: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const raw: Record<string, unknown> = {};
  for (const { key } of Object.values(SERVER_SETTINGS)) {
    const value = flags[key.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    if (value !== undefined) raw[key] = value;
  }
  // `--no-mover` exists, `--mover` does not: commander's true is its default, not a wish.
  if (raw['mover'] === true) delete raw['mover'];
  return raw;
}

function socketPath(
  given: string | null | undefined,
  { env, home }: SettingSources,
): string | null {
  if (given === '') return null;
  const path = resolve(given ?? defaultSocketPath(env, home));
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    throw new KangarooError('USAGE', `${path}: a socket path has ${SOCKET_PATH_BYTES_MAX} bytes`, {
      hint: 'name a shorter one with --socket',
    });
  }
  return path;
}

function checkTogether(options: ServerOptions): void {
  if (options.socket === null && options.listen.length === 0) {
    throw new KangarooError('USAGE', 'neither a socket nor an address to listen on', {
      hint: 'leave --socket out for the default one, or give --listen HOST:PORT',
    });
  }
  RouteTable.parse(options.route);
  for (const text of options.listen) {
    const address = parseServerAddress(text);
    if (address.kind === 'unix') {
      throw new KangarooError('USAGE', `--listen ${text}: not HOST:PORT`, {
        hint: 'a Unix socket is named with --socket',
      });
    }
    if (options.allow.length === 0 && !isLoopback(address.host)) {
      throw new KangarooError('USAGE', `--listen ${text}: other machines could reach this server`, {
        hint: 'say who may connect with --allow ADDRESS/BITS, or listen on 127.0.0.1',
      });
    }
  }
}

/** Is `host` this machine alone? A name that has to be looked up is not taken for it. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
