/**
 * The file of the board: found again or made, mapped, and checked before a byte of it is believed.
 *
 * It lies in /dev/shm under a name of this account and spool, or in the spool directory where that
 * cannot be written. It is ours alone: a regular file of our account with mode 0600 and one name,
 * never reached through a symbolic link. A board of another boot, spool or layout is void, and a
 * new one takes its place; programs that still have the old one mapped find out by its id. All but
 * the slots has its memory from the start, a slot when it is given out or spare, so that no access
 * can fail for want of it.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  unlinkSync,
} from 'node:fs';
import { endianness } from 'node:os';
import { join, resolve } from 'node:path';
import type { NativeAddon } from '../base/addon.ts';
import { errnoOf } from '../base/errors.ts';
import { readU64, writeU64 } from '../protocol/operation.ts';
import {
  BOARD,
  BOARD_BYTES,
  HEADER,
  RING_AT,
  ROWS_AT,
  SLOTS_AT,
  SPARES_AT,
} from './board-layout.ts';

export interface BoardFile {
  readonly path: string;
  readonly fd: number;
  readonly memory: ArrayBuffer;
  /** 32 hex digits. */
  readonly boardId: string;
  /** What was there before was of this boot and spool, and goes on. */
  readonly isKept: boolean;
}

/** Where memory that outlives a process is looked for first. */
const MEMORY_DIRECTORY = '/dev/shm';

interface Spooling {
  readonly directory: string;
  readonly spoolId: string;
}

/** The board of this spool that an earlier server left; null: there is none that can be used. */
export function findBoardFile(native: NativeAddon, spool: Spooling): BoardFile | null {
  if (endianness() !== 'LE') return null;
  const bootId = readBootId();
  const isOurs = (header: Buffer): boolean => isSound(header, spool.spoolId, bootId);
  for (const path of placesOf(spool)) {
    const kept = reopen(native, path, isOurs);
    if (kept !== null) return kept;
  }
  return null;
}

/**
 * A new one; null on machines that cannot have one.
 * @throws errno errors of the last place tried
 */
export function makeBoardFile(native: NativeAddon, spool: Spooling): BoardFile | null {
  if (endianness() !== 'LE') return null;
  const bootId = readBootId();
  const [shared, own] = placesOf(spool);
  sweep();
  try {
    return make(native, shared, spool, bootId);
  } catch {
    return make(native, own, spool, bootId);
  }
}

/** In the order in which they are tried. */
function placesOf({ directory, spoolId }: Spooling): readonly [shared: string, own: string] {
  return [join(MEMORY_DIRECTORY, `${prefix()}${spoolId}`), join(directory, 'board')];
}

function prefix(): string {
  return `kangaroo-${process.getuid?.() ?? -1}-`;
}

/** Files that programs make for locks, maps and what they have read, see native. */
const SIDE_FILES = ['locks', 'flocks', 'maps', 'reads'] as const;

/** Nobody is to find it again. */
export function removeBoardFile(path: string, boardId: string): void {
  rmSync(path, { force: true });
  for (const kind of SIDE_FILES) {
    rmSync(join(MEMORY_DIRECTORY, `kangaroo-${boardId}-${kind}`), { force: true });
  }
}

/** Memory of servers that were killed and whose spool was removed: nobody else would free it. */
function sweep(): void {
  for (const name of readdirSync(MEMORY_DIRECTORY)) {
    if (!name.startsWith(prefix())) continue;
    const path = join(MEMORY_DIRECTORY, name);
    try {
      const boardId = orphan(path);
      if (boardId !== null) removeBoardFile(path, boardId);
    } catch {
      // Another server was quicker, or it is none of ours.
    }
  }
}

/** The id of a board whose spool has gone and in which nothing stands; null: it may be wanted. */
function orphan(path: string): string | null {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const header = readHeader(fd);
    if (header === null || header.readBigUInt64LE(HEADER.magic) !== BOARD.magic) return null;
    const end = header.indexOf(0, HEADER.spool);
    const spool = header.toString('utf8', HEADER.spool, end < 0 ? undefined : end);
    if (spool === '' || existsSync(spool)) return null;
    // A spool that was only moved away may want what stands there.
    if (readU64(header, HEADER.tail) !== readU64(header, HEADER.head)) return null;
    return header.toString('hex', HEADER.boardId, HEADER.boardId + 16);
  } finally {
    closeSync(fd);
  }
}

function readHeader(fd: number): Buffer | null {
  const header = Buffer.alloc(BOARD.headerBytes);
  if (!isPrivate(fd) || readSync(fd, header, 0, header.length, 0) < header.length) return null;
  return header;
}

function readBootId(): string {
  const text = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1');
  return text.replace(/[^0-9a-f]/g, '');
}

const OPEN_FLAGS = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK;

function reopen(
  native: NativeAddon,
  path: string,
  isOurs: (header: Buffer) => boolean,
): BoardFile | null {
  let fd: number;
  try {
    fd = openSync(path, OPEN_FLAGS);
  } catch {
    // Not there, or nothing that we may use: making one tells.
    return null;
  }
  const header = readHeader(fd);
  if (header !== null && isOurs(header)) {
    const memory = native.mapShared(fd, BOARD_BYTES);
    const boardId = header.toString('hex', HEADER.boardId, HEADER.boardId + 16);
    return { path, fd, memory, boardId, isKept: true };
  }
  closeSync(fd);
  return null;
}

/** A whole board that only this account can reach, and by one name. */
function isPrivate(fd: number): boolean {
  const { mode, uid, nlink, size } = fstatSync(fd);
  const isRegular = (mode & constants.S_IFMT) === constants.S_IFREG;
  if (!isRegular || (mode & 0o7777) !== 0o600 || nlink !== 1) return false;
  return uid === process.getuid?.() && size === BOARD_BYTES;
}

function isSound(header: Buffer, spoolId: string, bootId: string): boolean {
  const tail = readU64(header, HEADER.tail);
  const head = readU64(header, HEADER.head);
  return (
    header.readBigUInt64LE(HEADER.magic) === BOARD.magic &&
    header.readUInt32LE(HEADER.version) === BOARD.version &&
    header.readUInt32LE(HEADER.headerBytes) === BOARD.headerBytes &&
    header.toString('hex', HEADER.spoolId, HEADER.spoolId + 16) === spoolId &&
    header.toString('hex', HEADER.bootId, HEADER.bootId + 16) === bootId &&
    header.readUInt32LE(HEADER.slotCount) === BOARD.slots &&
    header.readUInt32LE(HEADER.slotBytes) === BOARD.slotBytes &&
    readU64(header, HEADER.slotsAt) === SLOTS_AT &&
    readU64(header, HEADER.ringAt) === RING_AT &&
    readU64(header, HEADER.ringBytes) === BOARD.ringBytes &&
    readU64(header, HEADER.rowsAt) === ROWS_AT &&
    readU64(header, HEADER.sparesAt) === SPARES_AT &&
    Number.isSafeInteger(tail) &&
    head <= tail &&
    tail - head <= BOARD.ringBytes &&
    (tail - head) % 8 === 0
  );
}

function make(
  native: NativeAddon,
  path: string,
  { directory, spoolId }: Spooling,
  bootId: string,
): BoardFile {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const fd = openSync(path, OPEN_FLAGS | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    ftruncateSync(fd, BOARD_BYTES);
    reserveMemory(native, fd, 0, BOARD.headerBytes);
    reserveMemory(native, fd, RING_AT, BOARD_BYTES - RING_AT);
    const memory = native.mapShared(fd, BOARD_BYTES);
    const boardId = randomBytes(16).toString('hex');
    const header = Buffer.from(memory, 0, BOARD.headerBytes);
    header.writeUInt32LE(BOARD.version, HEADER.version);
    header.writeUInt32LE(BOARD.headerBytes, HEADER.headerBytes);
    header.write(boardId, HEADER.boardId, 16, 'hex');
    header.write(spoolId, HEADER.spoolId, 16, 'hex');
    header.write(bootId, HEADER.bootId, 16, 'hex');
    header.writeUInt32LE(BOARD.slots, HEADER.slotCount);
    header.writeUInt32LE(BOARD.slotBytes, HEADER.slotBytes);
    writeU64(header, SLOTS_AT, HEADER.slotsAt);
    writeU64(header, RING_AT, HEADER.ringAt);
    writeU64(header, BOARD.ringBytes, HEADER.ringBytes);
    writeU64(header, ROWS_AT, HEADER.rowsAt);
    writeU64(header, SPARES_AT, HEADER.sparesAt);
    header.writeUInt32LE(1, HEADER.epoch);
    writeU64(header, 1, HEADER.nextSeq);
    header.writeUInt32LE(1, HEADER.asleep);
    const spoolPath = Buffer.from(resolve(directory), 'utf8');
    if (spoolPath.length < BOARD.headerBytes - HEADER.spool) spoolPath.copy(header, HEADER.spool);
    native.initializeLock(memory, HEADER.lock);
    // Last: one that was left half made is void.
    Atomics.store(new BigUint64Array(memory), HEADER.magic / 8, BOARD.magic);
    return { path, fd, memory, boardId, isKept: false };
  } catch (error) {
    closeSync(fd);
    unlinkSync(path);
    throw error;
  }
}

/** Memory for a part of the board. @throws errno errors, ENOSPC when there is none */
export function reserveMemory(
  native: NativeAddon,
  fd: number,
  offset: number,
  bytes: number,
): void {
  try {
    native.fallocate(fd, 0, offset, bytes);
  } catch (error) {
    // A disk's file system that cannot promise room is written to and found full like any other.
    if (errnoOf(error) !== 'EOPNOTSUPP') throw error;
  }
}
