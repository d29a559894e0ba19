/**
 * The version of this program, as package.json says it.
 *
 * It is read once, when the module loads, from the package root: two folders above both src/base
 * and dist/base, so that source and build agree. It is what `kangaroo --version`, the handshake
 * and `status --json` show. It says nothing about format versions: wire, segment and index have
 * numbers of their own, which change far less often.
 */

import { readFileSync } from 'node:fs';

const packageUrl = new URL('../../package.json', import.meta.url);

function readVersion(): string {
  const parsed = JSON.parse(readFileSync(packageUrl, 'utf8')) as { version?: unknown };
  if (typeof parsed.version !== 'string') throw new Error(`no version in ${packageUrl.pathname}`);
  return parsed.version;
}

/** Such as `0.1.0`. */
export const version: string = readVersion();
