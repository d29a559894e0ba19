/**
 * What a server tells about files: facts, directory entries, and the names in them.
 *
 * Names come from a stranger. One that could lead out of the directory it stands in, or that a
 * path cannot hold, is refused before anything is done with it. Pure.
 */
import { limits } from '../base/limits.ts';
import { FOUND_KIND } from '../protocol/messages.ts';
import { type Address, parseAddress } from '../route/address.ts';

/** 'kangaroo://NAME/path', '/kangaroo/NAME/path', or what parseAddress() or list() gave. */
export type AddressLike = string | Address;

export type EntryKind = 'file' | 'directory' | 'symlink' | 'other';

export interface FileFacts {
  readonly kind: EntryKind;
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
  /** Since 1970. */
  readonly mtimeNs: bigint;
  /** Of it, still on its way to the destination. */
  readonly pendingBytes: number;
}

export interface Entry {
  /** For a person: UTF-8 where it is that. */
  readonly name: string;
  /** For every call, whatever bytes the name has. */
  readonly address: Address;
  readonly kind: EntryKind;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
}

/** An address from any form of it. @throws KangarooError USAGE */
export function addressOf(address: AddressLike): Address {
  return typeof address === 'string' ? parseAddress(address) : address;
}

/** The kind in FOUND and LISTED; one that this release does not know is `other`. */
export function entryKind(kind: number): EntryKind {
  if (kind === FOUND_KIND.file) return 'file';
  if (kind === FOUND_KIND.directory) return 'directory';
  return kind === FOUND_KIND.symlink ? 'symlink' : 'other';
}

/** Is this no single name below a directory? (latin1: one character a byte) */
export function invalidEntryName(name: string): boolean {
  if (name === '' || name === '.' || name === '..') return true;
  return name.length > limits.pathBytesMax || /[/\0]/.test(name);
}
