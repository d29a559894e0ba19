/**
 * The static routing table: pattern of server name -> address of the next server (paper, 4.1 item
 * 3). By default a name is its own address, on the standard port.
 *
 * Patterns are exact names, `*.suffix`, or `*`; the first that matches in the order given wins. A
 * server that forwards for others only does so for names its table lists: `closed` tables refuse
 * what they do not list, so that a client cannot make a server dial where it likes.
 */
import { KangarooError } from '../base/errors.ts';
import { parseServerAddress, type ServerAddress } from '../protocol/server-address.ts';

export const DEFAULT_PORT = 9631;

interface Route {
  readonly pattern: string;
  readonly address: ServerAddress;
}

export class RouteTable {
  readonly #routes: readonly Route[];

  constructor(routes: readonly Route[] = []) {
    this.#routes = routes;
  }

  /** From `PATTERN=ADDR` texts. @throws KangarooError USAGE */
  static parse(texts: readonly string[]): RouteTable {
    return new RouteTable(texts.map(parseRoute));
  }

  /** Where operations for `name` go next. */
  nextHop(name: string): ServerAddress {
    const route = this.#routes.find(({ pattern }) => patternMatches(pattern, name));
    return route?.address ?? { kind: 'tcp', host: name, port: DEFAULT_PORT };
  }

  /** Is `name` in the table, rather than left to the default? */
  lists(name: string): boolean {
    return this.#routes.some(({ pattern }) => patternMatches(pattern, name));
  }

  /** The texts that `parse` takes, for handing the table to the mover. */
  get routes(): readonly Route[] {
    return this.#routes;
  }
}

function parseRoute(text: string): Route {
  const equals = text.indexOf('=');
  const pattern = text.slice(0, Math.max(0, equals)).trim();
  if (equals < 0 || !/^(?:\*|(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*)$/.test(pattern)) {
    throw new KangarooError('USAGE', `--route ${text}: not PATTERN=ADDR`, {
      hint: 'for example --route archive=archive.example.org:9631 or --route "*=relay:9631"',
    });
  }
  return { pattern, address: parseServerAddress(text.slice(equals + 1).trim(), DEFAULT_PORT) };
}

function patternMatches(pattern: string, name: string): boolean {
  if (pattern === '*' || pattern === name) return true;
  return pattern.startsWith('*.') && name.endsWith(pattern.slice(1));
}
