/**
 * Addresses: kangaroo://NAME/path and /kangaroo/NAME/path, which mean the same.
 *
 * Paths are bytes. In the program they are latin1 strings, one character a byte, so that a name
 * that is no UTF-8 survives; `fromArgument` and `toDisplay` are the two gates to what people type
 * and read. Pure.
 */
import { KangarooError } from '../base/errors.ts';
import { invalidName, invalidPath } from '../protocol/operation.ts';

export interface Address {
  readonly name: string;
  /** Bytes as latin1, no '/' at either end; '' is the export directory itself. */
  readonly path: string;
  /** Was it written with a trailing '/'? As a destination it then means a directory. */
  readonly directory: boolean;
}

const PREFIXES = ['kangaroo://', '/kangaroo/'];

/** Does the argument look like an address at all, rather than a local path? */
export function isAddress(argument: string): boolean {
  return PREFIXES.some((prefix) => argument.startsWith(prefix));
}

/**
 * The address in a command line argument.
 * @throws KangarooError USAGE, with what is wrong
 */
export function parseAddress(argument: string): Address {
  const prefix = PREFIXES.find((candidate) => argument.startsWith(candidate));
  if (prefix === undefined) {
    throw new KangarooError('USAGE', `${argument}: not an address`, {
      hint: 'write kangaroo://NAME/path',
    });
  }
  const rest = argument.slice(prefix.length);
  const slash = rest.indexOf('/');
  const name = slash < 0 ? rest : rest.slice(0, slash);
  const written = slash < 0 ? '' : rest.slice(slash + 1);
  if (invalidName(name)) {
    throw new KangarooError('USAGE', `${argument}: '${name}' is no server name`, {
      hint: "a name has letters, digits, '.' and '-'",
    });
  }
  const path = fromArgument(written.replace(/\/+/g, '/').replace(/^\/|\/$/g, ''));
  if (invalidPath(path)) {
    throw new KangarooError('USAGE', `${argument}: '.' and '..' are not allowed in an address`, {
      hint: 'write the path from the export directory down',
    });
  }
  return { name, path, directory: written === '' || written.endsWith('/') };
}

export function formatAddress(name: string, path: string): string {
  return `kangaroo://${name}/${toDisplay(path)}`;
}

/** What a person typed (UTF-8 text) as path bytes. */
export function fromArgument(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** Path bytes for a person: UTF-8 where it is, the bytes one by one where it is not. */
export function toDisplay(path: string): string {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : path;
}

export function joinPath(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`;
}

/** ['a/b', 'c'] of 'a/b/c'; ['', 'c'] of 'c'. */
export function splitPath(path: string): readonly [parent: string, name: string] {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? ['', path] : [path.slice(0, slash), path.slice(slash + 1)];
}

/** Is `path` the same as `directory` or below it? */
export function isWithin(path: string, directory: string): boolean {
  return directory === '' || path === directory || path.startsWith(`${directory}/`);
}

/** What a push, status, retry or discard is about: everything, a server, a directory or a file. */
export interface Target {
  /** '' is every server. */
  readonly name: string;
  readonly path: string;
}

export const EVERYTHING: Target = { name: '', path: '' };

export function parseTarget(argument: string): Target {
  if (argument === '') return EVERYTHING;
  if (!isAddress(argument) && !argument.includes('/')) {
    return parseTarget(`kangaroo://${argument}/`);
  }
  const { name, path } = parseAddress(argument);
  return { name, path };
}

export function formatTarget(target: Target): string {
  return target.name === '' ? '' : formatAddress(target.name, target.path);
}

export function matches(target: Target, name: string, path: string): boolean {
  return target.name === '' || (target.name === name && isWithin(path, target.path));
}
