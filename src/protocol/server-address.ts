/**
 * Where a server listens: unix:/path, /path, host:port, [v6]:port. Pure.
 */
import { KangarooError } from '../base/errors.ts';

export type ServerAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/**
 * The address of a server: unix:/path, a path, host:port, [v6]:port, or host with `defaultPort`.
 * @throws KangarooError USAGE
 */
export function parseServerAddress(text: string, defaultPort?: number): ServerAddress {
  if (/^unix:./.test(text)) return { kind: 'unix', path: text.slice('unix:'.length) };
  if (text.includes('/')) return { kind: 'unix', path: text };
  const match = /^(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || host === '' || port === undefined || port > 65_535) {
    throw new KangarooError('USAGE', `${text}: not a server address`, {
      hint: 'write host:port, unix:/path or /path',
    });
  }
  return { kind: 'tcp', host, port };
}

export function formatServerAddress(address: ServerAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}
