/**
 * The table of what a user may set on a server: one row per setting, and everything that shows or
 * reads settings is made from it: the options of `kangaroo server`, the configuration file, the
 * example file and the reference in config/, which a test compares with this table.
 *
 * A value comes from, in this order: the option, the environment, the file, the default. File keys
 * are the option names without the dashes. Checks here see one value on its own; what concerns
 * several of them, or needs another folder's parser, is in client/cli/server-options.ts. Bounds
 * that nobody may change are in limits.ts. Pure.
 */
import { isIP } from 'node:net';
import { KangarooError } from './errors.ts';
import { limits } from './limits.ts';
import type { LogLevel } from './log.ts';
import { nearest } from './nearest.ts';
import { parseSize, writeSize } from './units.ts';

/** Everything a server is started with, complete and checked. */
export interface ServerOptions {
  readonly name: string;
  /** HOST:PORT each; port 0 lets the kernel choose. */
  readonly listen: readonly string[];
  /** Path of the Unix socket; null is none. */
  readonly socket: string | null;
  /** Directory that holds what is addressed to this server; null: it only passes on. */
  readonly export: string | null;
  readonly spool: string;
  readonly spoolLimitBytes: number;
  /** ADDRESS/BITS each, besides loopback. */
  readonly allow: readonly string[];
  /** PATTERN=ADDR each, the first that matches counts. */
  readonly route: readonly string[];
  readonly readyFile: string | null;
  readonly mover: boolean;
  readonly logLevel: LogLevel;
}

export type SettingType = 'text' | 'list' | 'size' | 'path' | 'flag';
export type SettingValue = string | readonly string[] | number | boolean | null;

export interface Setting {
  /** In the configuration file. */
  readonly key: string;
  readonly type: SettingType;
  /** As commander takes it. */
  readonly flag: string;
  readonly env: string | null;
  /** null: there is none, see `defaultText` for what happens then. */
  readonly default: SettingValue;
  readonly defaultText: string;
  readonly help: string;
  /** A value for the example file. */
  readonly example: string | readonly string[] | boolean;
  /** What is wrong with one value (one item of a list), or null. */
  readonly check: ((value: string) => string | null) | null;
}

// Not taken from log.ts, which loads the whole log; a test compares.
const LEVELS: readonly string[] = [
  ...(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] satisfies LogLevel[]),
];

export const SERVER_SETTINGS: { readonly [K in keyof ServerOptions]: Setting } = {
  name: {
    key: 'name',
    type: 'text',
    flag: '--name <name>',
    env: null,
    default: null,
    defaultText: 'none, it must be given',
    help: 'name of this server, the NAME of kangaroo://NAME/path',
    example: 'archive.example.org',
    check: (value) => (/^[A-Za-z0-9][A-Za-z0-9.-]*$/.test(value) ? null : 'not a server name'),
  },
  listen: {
    key: 'listen',
    type: 'list',
    flag: '--listen <host:port>',
    env: null,
    default: [],
    defaultText: 'none: reached by its Unix socket only',
    help: 'address to listen on; port 0 lets the kernel choose; may be repeated',
    example: ['127.0.0.1:9631'],
    check: null,
  },
  socket: {
    key: 'socket',
    type: 'path',
    flag: '--socket <path>',
    env: null,
    default: null,
    defaultText: '$XDG_RUNTIME_DIR/kangaroo/server.sock, else ~/.kangaroo/server.sock',
    help: 'Unix socket for clients of this machine; empty for none',
    example: '/run/kangaroo/server.sock',
    check: null,
  },
  export: {
    key: 'export',
    type: 'path',
    flag: '--export <dir>',
    env: null,
    default: null,
    defaultText: 'none: this server only passes on',
    help: 'directory that holds the files addressed to this server',
    example: '/srv/archive',
    check: notEmpty,
  },
  spool: {
    key: 'spool',
    type: 'path',
    flag: '--spool <dir>',
    env: null,
    default: null,
    defaultText: '$XDG_STATE_HOME/kangaroo/NAME, else ~/.local/state/kangaroo/NAME',
    help: 'directory on local disk for what is on the way',
    example: '/var/spool/kangaroo',
    check: notEmpty,
  },
  spoolLimitBytes: {
    key: 'spool-limit',
    type: 'size',
    flag: '--spool-limit <size>',
    env: null,
    default: limits.spoolBytesDefault,
    defaultText: writeSize(limits.spoolBytesDefault),
    help: 'most bytes the spool may take; clients wait when it is full',
    example: writeSize(limits.spoolBytesDefault),
    check: null,
  },
  allow: {
    key: 'allow',
    type: 'list',
    flag: '--allow <address/bits>',
    env: null,
    default: [],
    defaultText: 'none: this machine only',
    help: 'network that may connect besides this machine; may be repeated',
    example: ['192.0.2.0/24', '2001:db8::/32'],
    check: checkNetwork,
  },
  route: {
    key: 'route',
    type: 'list',
    flag: '--route <pattern=addr>',
    env: null,
    default: [],
    defaultText: 'none: a name is its own address, port 9631',
    help: 'next server for the names that match; the first match counts; may be repeated',
    example: ['archive=archive.example.org:9631', '*.example.org=relay.example.org:9631'],
    check: null,
  },
  readyFile: {
    key: 'ready-file',
    type: 'path',
    flag: '--ready-file <file>',
    env: null,
    default: null,
    defaultText: 'none',
    help: 'file written, as JSON, once the server accepts connections',
    example: '/run/kangaroo/ready.json',
    check: notEmpty,
  },
  mover: {
    key: 'mover',
    type: 'flag',
    flag: '--no-mover',
    env: null,
    default: true,
    defaultText: 'true',
    help: 'the mover runs too; if not, start `kangaroo mover` on the same spool',
    example: true,
    check: null,
  },
  logLevel: {
    key: 'log-level',
    type: 'text',
    flag: '--log-level <level>',
    env: 'KANGAROO_LOG',
    default: 'warn',
    defaultText: 'warn',
    help: `what is logged to standard error: ${LEVELS.join(' ')}`,
    example: 'info',
    check: (value) => (LEVELS.includes(value) ? null : `not one of ${LEVELS.join(' ')}`),
  },
};

export const SETTING_NAMES = Object.keys(SERVER_SETTINGS) as (keyof ServerOptions)[];

/** Values by field name, each of its setting's type; what was not given is absent. */
export type GivenSettings = { [K in keyof ServerOptions]?: ServerOptions[K] };

/**
 * Reads values that came from `source` (a file's name, or 'option'): a record of key to raw value.
 * Keys are the table's; text is converted to the setting's type and checked.
 * @throws KangarooError USAGE, which names the key and where it stands
 */
export function readSettings(
  raw: Readonly<Record<string, unknown>>,
  source: string,
): GivenSettings {
  const given: Record<string, SettingValue> = {};
  for (const [key, value] of Object.entries(raw)) {
    const name = SETTING_NAMES.find((candidate) => SERVER_SETTINGS[candidate].key === key);
    if (name === undefined) throw unknownKey(key, source);
    if (value !== undefined) given[name] = readValue(SERVER_SETTINGS[name], value, source);
  }
  return given as GivenSettings;
}

/** What the environment sets. @throws KangarooError USAGE */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): GivenSettings {
  const given: Record<string, SettingValue> = {};
  for (const name of SETTING_NAMES) {
    const setting = SERVER_SETTINGS[name];
    const value = setting.env === null ? undefined : env[setting.env];
    if (value !== undefined && value !== '') {
      given[name] = readValue(setting, value, `environment ${setting.env}`);
    }
  }
  return given as GivenSettings;
}

function readValue(setting: Setting, value: unknown, source: string): SettingValue {
  const where = source === 'option' ? `--${setting.key}` : `${source}: ${setting.key}`;
  if (setting.type === 'flag') {
    if (typeof value === 'boolean') return value;
    throw wrong(where, value, 'not true or false');
  }
  if (setting.type === 'list') {
    const items: unknown[] = Array.isArray(value) ? value : [value];
    return items.map((item) => readText(setting, item, where));
  }
  if (setting.type === 'size' && Number.isSafeInteger(value) && Number(value) >= 0) {
    return Number(value);
  }
  const text = readText(setting, value, where);
  return setting.type === 'size' ? parseSize(text, where) : text;
}

function readText(setting: Setting, value: unknown, where: string): string {
  if (typeof value !== 'string') throw wrong(where, value, 'not text in quotes');
  const complaint = setting.check?.(value) ?? null;
  if (complaint !== null) throw wrong(where, value, complaint);
  return value;
}

function wrong(where: string, value: unknown, complaint: string): KangarooError {
  const shown = typeof value === 'string' ? value : JSON.stringify(value);
  return new KangarooError('USAGE', `${where} '${shown}': ${complaint}`, {
    hint: 'see kangaroo server --help',
  });
}

function unknownKey(key: string, source: string): KangarooError {
  const near = nearest(
    key,
    SETTING_NAMES.map((name) => SERVER_SETTINGS[name].key),
  );
  return new KangarooError('USAGE', `${source}: there is no setting '${key}'`, {
    hint: near === null ? 'config/REFERENCE.md lists them' : `did you mean '${near}'?`,
  });
}

/** An empty path would mean the working directory, which nobody meant by it. */
function notEmpty(value: string): string | null {
  return value === '' ? 'empty' : null;
}

/** ADDRESS or ADDRESS/BITS, IPv4 or IPv6. */
function checkNetwork(value: string): string | null {
  const [address = '', bits, ...rest] = value.split('/');
  const version = address.includes('%') ? 0 : isIP(address);
  if (version === 0 || rest.length > 0) return 'not ADDRESS/BITS, such as 192.0.2.0/24';
  if (bits === undefined) return null;
  const bitsMax = version === 4 ? 32 : 128;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax ? null : `not 0 to ${bitsMax} bits`;
}

/** Where a server and its clients on this machine meet unless told otherwise. */
export function defaultSocketPath(
  env: Readonly<Record<string, string | undefined>>,
  home: string,
): string {
  const runtime = env['XDG_RUNTIME_DIR'];
  return runtime === undefined || runtime === ''
    ? `${home}/.kangaroo/server.sock`
    : `${runtime}/kangaroo/server.sock`;
}

/** Where a server keeps its spool unless told otherwise. */
export function defaultSpoolPath(
  env: Readonly<Record<string, string | undefined>>,
  home: string,
  name: string,
): string {
  const state = env['XDG_STATE_HOME'];
  return `${state === undefined || state === '' ? `${home}/.local/state` : state}/kangaroo/${name}`;
}
