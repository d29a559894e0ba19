/**
 * Directory entries and facts of files as text and as JSON. Names are bytes of strangers: control
 * characters in them are made visible. Times are UTC, so that two hosts show the same. Pure.
 */
import { formatBytes } from '../../base/units.ts';
import { formatAddress } from '../../route/address.ts';
import type { Entry, EntryKind, FileFacts } from '../client.ts';
import { visible } from './text.ts';

const KIND_LETTER: Readonly<Record<EntryKind, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  other: '?',
};

/** A name for a person; a directory's ends with '/'. */
export function shownName(name: string, kind: EntryKind = 'file'): string {
  return visible(kind === 'directory' ? `${name}/` : name);
}

/** `-rw-r--r--         12345  2026-11-21 20:31:07  name` */
export function entryLine(entry: Entry): string {
  const mode = `${KIND_LETTER[entry.kind]}${modeLetters(entry.mode)}`;
  const size = String(entry.size).padStart(14);
  return `${mode} ${size}  ${utcTime(entry.mtimeNs)}  ${shownName(entry.name, entry.kind)}`;
}

export function factsLines(address: string, facts: FileFacts): string[] {
  const mode = `0${facts.mode.toString(8).padStart(3, '0')} ${modeLetters(facts.mode)}`;
  const lines = [
    visible(address),
    `  kind      ${facts.kind}`,
    `  size      ${facts.size} bytes (${formatBytes(facts.size)})`,
    `  mode      ${mode}`,
    `  modified  ${utcTime(facts.mtimeNs)} UTC`,
  ];
  if (facts.pendingBytes > 0) {
    lines.push(`  pending   ${facts.pendingBytes} bytes are still on their way`);
  }
  return lines;
}

export function entryJson(entry: Entry): Record<string, unknown> {
  return {
    name: entry.name,
    address: formatAddress(entry.address.name, entry.address.path),
    kind: entry.kind,
    size: entry.size,
    mode: entry.mode,
    modified: isoTime(entry.mtimeNs),
  };
}

/** rwxr-xr-x, with s and t as ls(1) shows them. */
export function modeLetters(mode: number): string {
  const letters = [...'rwxrwxrwx'].map((letter, i) => ((mode >> (8 - i)) & 1 ? letter : '-'));
  const special: readonly (readonly [bit: number, at: number, letter: string])[] = [
    [0o4000, 2, 's'],
    [0o2000, 5, 's'],
    [0o1000, 8, 't'],
  ];
  for (const [bit, at, letter] of special) {
    if ((mode & bit) === 0) continue;
    letters[at] = letters[at] === 'x' ? letter : letter.toUpperCase();
  }
  return letters.join('');
}

// Every i64 of nanoseconds is a date that Date knows.
function utcTime(ns: bigint): string {
  return isoTime(ns).slice(0, 19).replace('T', ' ');
}

function isoTime(ns: bigint): string {
  return new Date(Number(ns / 1_000_000n)).toISOString();
}
