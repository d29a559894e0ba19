/**
 * The TypeScript face of the native addon (native/addon): what each call takes, gives and promises.
 *
 * The addon makes Kangaroo fast and its path jail exact; nothing needs it to work. `native` is null
 * where it was not built, was built for another interface, or is switched off by
 * KANGAROO_NO_ADDON=1, and `addonReason` then says why; every caller has a way without it.
 *
 * A system call that fails throws (or rejects with) an Error of Node's form: code, errno, syscall,
 * path. A value of the wrong type throws a TypeError at the call. Offsets and lengths are safe
 * integers in bytes, times are BigInt nanoseconds since 1970, names are bytes.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Must equal kInterfaceVersion in native/addon/addon.cc. */
const interfaceVersion = 4;

/** Linux's numbers (the same on every architecture) for the flags that node:fs does not name. */
export const addonFlags = {
  /** openBeneath: a descriptor that only names a place, open(2). */
  O_PATH: 0o10000000,
  /** renameAt: fail with EEXIST instead of replacing, renameat2(2). */
  RENAME_NOREPLACE: 1,
  /** renameAt: swap the two names. */
  RENAME_EXCHANGE: 2,
  /** fallocate: do not change the file's size. */
  FALLOC_FL_KEEP_SIZE: 1,
  /** fallocate: give the range's blocks back (with KEEP_SIZE). */
  FALLOC_FL_PUNCH_HOLE: 2,
  /** syncFileRange: start write-back, do not wait. */
  SYNC_FILE_RANGE_WRITE: 2,
} as const;

/** Facts about a file, as of fstat(2). `blocks` counts 512 bytes each. */
export interface FileFacts {
  readonly mode: number;
  readonly size: number;
  readonly ino: bigint;
  readonly dev: bigint;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly blocks: number;
}

/** What a directory says an entry is; `unknown` on file systems that do not say. */
export type EntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'fifo'
  | 'socket'
  | 'character-device'
  | 'block-device'
  | 'unknown';

export interface DirectoryEntry {
  readonly name: Buffer;
  readonly type: EntryType;
}

/** A part of a directory; no entry is in both. */
export interface ListedNames {
  /** The names of plain files, a NUL behind each. */
  readonly files: Buffer;
  readonly others: readonly DirectoryEntry[];
}

/** What packFiles did. */
export interface PackedFiles {
  readonly files: number;
  readonly payloadBytes: number;
  /** Where in `names` the first one starts that was not packed; their length: all were. */
  readonly next: number;
  /** Behind the last record. */
  readonly end: number;
  /** It ended because the next one does not fit; else because that one is not for it. */
  readonly isFull: boolean;
}

export interface WholeWriteResult {
  /** Open for what `flags` asked; the caller closes it. */
  readonly fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
  /** Whether this call made the file. */
  readonly created: boolean;
}

/** What adapted programs may believe of a name. */
export interface KnownName {
  /** 0 absent, 1 file, 2 directory, ... as FOUND_KIND in src/protocol/messages.ts. */
  readonly kind: number;
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
  /** The slot whose facts count before these; generation 0: none. */
  readonly slot: number;
  readonly generation: number;
  /** A destination that could not be asked may have it all the same. */
  readonly isUnsure: boolean;
  readonly leaseMs: number;
  readonly namesLeaseMs: number;
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export type SocketOption =
  'notsent-lowat' | 'user-timeout-ms' | 'send-buffer' | 'receive-buffer' | 'no-delay';

export interface CopyInOptions {
  readonly source: number;
  /** -1: read the source from its own position, as a pipe must be. */
  readonly sourceOffset: number;
  readonly target: number;
  readonly targetOffset: number;
  /** At most this many bytes; Number.MAX_SAFE_INTEGER for all there are. */
  readonly length: number;
  /** Bytes each checksum covers, 1 to 1 MiB. */
  readonly blockBytes: number;
  /** Start write-back of each block, and copy with two threads. Default false. */
  readonly earlyWriteback?: boolean;
  /** From now; the copy ends short then. Default: none that matters (30 days). */
  readonly deadlineMs?: number;
}

export interface CopyInResult {
  readonly bytes: number;
  /** CRC-32C of each block; the last one may cover fewer than blockBytes. */
  readonly crcs: Uint32Array;
  /** All of `length`, the source's end, or the deadline. What was read has been written. */
  readonly stop: 'length' | 'end' | 'deadline';
}

export interface ReceiveToFileOptions {
  readonly socket: number;
  readonly file: number;
  readonly fileOffset: number;
  /** Exactly this many bytes are taken, `head` first; 0 to 1 MiB. */
  readonly length: number;
  /** Bytes already read from the socket; those beyond `length` are ignored. */
  readonly head?: Uint8Array | null;
  /** The CRC-32C all `length` bytes must have. */
  readonly crc: number;
  readonly deadlineMs: number;
}

export interface ReceiveToFileResult {
  readonly received: number;
  /** False: nothing was written. */
  readonly crcOk: boolean;
  readonly crc: number;
}

export interface ReceiveBurstOptions {
  readonly socket: number;
  readonly file: number;
  /** Each payload goes to its record's offset, or behind the one before from `fileOffset`. */
  readonly mode: 'at-offset' | 'append';
  readonly fileOffset?: number;
  /** append: how many payload bytes this call may add, counted from fileOffset. */
  readonly capacityBytes?: number;
  /** Bytes already read from the socket, beginning at a frame's prefix. */
  readonly head?: Uint8Array | null;
  /** Name and path, one behind the other, that a record must have; null for any. */
  readonly template: Uint8Array | null;
  /** How many bytes of the template are the name: 'ab'+'c' and 'a'+'bc' look alike otherwise. */
  readonly templateNameBytes?: number;
  readonly kind: number;
  /** The record version to accept; absent: any. */
  readonly version?: number;
  /** A record with any other flag is a mismatch. */
  readonly flagsAllowed: number;
  readonly maxBlocks: number;
  readonly deadlineMs: number;
  /** The frame type whose body is one record. */
  readonly putsType: number;
  /** Start write-back of every full 8 MiB of the file. Default true. */
  readonly earlyWriteback?: boolean;
}

/**
 * Why a burst ended. `idle`: nothing more came for about 0.2 ms between two blocks. `mismatch`,
 * `corrupt`, `error`, `full`: the frame at the start of `leftover` is not for this call, fails its
 * checksum, could not be written, or exceeds the capacity. `max`: maxBlocks were taken. `closed`:
 * the peer is gone. `deadline`: it passed within a block.
 */
export type BurstStop =
  'idle' | 'mismatch' | 'full' | 'max' | 'closed' | 'corrupt' | 'deadline' | 'error';

export interface ReceiveBurstResult {
  /** Header and names of each accepted record, in order; they share one ArrayBuffer. */
  readonly records: Uint8Array[];
  /** File offset of each payload. */
  readonly placed: Float64Array;
  /** callId of each record's frame. */
  readonly callIds: Uint32Array;
  /**
   * What was read and not accepted, from a frame's first byte on; less than 64 KiB beyond `head`,
   * and up to a whole frame after `corrupt` and `error`. Empty when a block was cut short.
   */
  readonly leftover: Buffer;
  readonly stop: BurstStop;
  /** With `error` and `corrupt` (EBADMSG), and with `closed` when the socket had an error. */
  readonly error?: NodeJS.ErrnoException;
}

export type SendChunk =
  | { readonly bytes: Uint8Array }
  | { readonly file: number; readonly offset: number; readonly length: number };

export interface SendFramesOptions {
  readonly socket: number;
  /** At most 65,536. The bytes must not change before the Promise settles. */
  readonly chunks: readonly SendChunk[];
  readonly deadlineMs: number;
}

/**
 * The exports of kangaroo.node.
 *
 * Calls that give a Promise run on the thread pool and hold one of its threads until they end, so
 * the pool (UV_THREADPOOL_SIZE) must be larger than the number of them at a time. They work on
 * duplicates of the descriptors, made when they are called. The owner of a socket must have
 * stopped libuv's reading and emptied its writing before it hands the descriptor over.
 */
export interface NativeAddon {
  readonly interfaceVersion: number;
  crc32c(data: Uint8Array, seed?: number): number;

  /**
   * Opens `path` below `dirFd` and never outside of it, openat2(2): EXDEV for "..", an absolute
   * path or a link that leads out, ELOOP for magic links. The descriptor is close-on-exec, and
   * non-blocking (except O_PATH), so that a FIFO cannot hold the caller.
   */
  openBeneath(dirFd: number, path: Uint8Array | string, flags: number, mode?: number): number;
  /** The *At calls take one component, not '.' or '..', and do not follow it if it is a link. */
  mkdirAt(dirFd: number, name: Uint8Array | string, mode: number): void;
  unlinkAt(dirFd: number, name: Uint8Array | string, isDirectory: boolean): void;
  renameAt(
    oldDirFd: number,
    oldName: Uint8Array | string,
    newDirFd: number,
    newName: Uint8Array | string,
    flags?: number,
  ): void;
  statAt(dirFd: number, name: Uint8Array | string): FileFacts;
  statFd(fd: number): FileFacts;
  /** null leaves a time as it is. Works on O_PATH descriptors too, as chmodFd does. */
  utimensFd(fd: number, atimeNs: bigint | null, mtimeNs: bigint | null): void;
  utimensAt(
    dirFd: number,
    name: Uint8Array | string,
    atimeNs: bigint | null,
    mtimeNs: bigint | null,
  ): void;
  chmodFd(fd: number, mode: number): void;
  /**
   * The next entries of a directory opened for reading, at most `max` (to 1,048,576); an empty
   * array is the end. The position is the descriptor's own; `restart` goes back to the start.
   */
  readDirFd(fd: number, max: number, restart?: boolean): DirectoryEntry[];
  /**
   * A small file in one call: open beneath, empty it if `truncate`, write all of `data` at
   * `offset`, then mode (past the umask) and times. Closes the descriptor when a step fails; what
   * was written stays. EINVAL for anything but a regular file. With `keepOpen` false it is closed
   * in any case, and nothing is told of it.
   */
  writeWholeAt(
    dirFd: number,
    path: Uint8Array | string,
    flags: number,
    mode: number,
    data: Uint8Array,
    offset: number,
    truncate: boolean,
    mtimeNs: bigint | null,
    atimeNs: bigint | null,
    chmodMode: number | null,
    keepOpen?: true,
  ): WholeWriteResult;
  writeWholeAt(
    dirFd: number,
    path: Uint8Array | string,
    flags: number,
    mode: number,
    data: Uint8Array,
    offset: number,
    truncate: boolean,
    mtimeNs: bigint | null,
    atimeNs: bigint | null,
    chmodMode: number | null,
    keepOpen: boolean,
  ): WholeWriteResult | undefined;

  /** syncfs(2): the whole file system of `fd` to stable storage. */
  syncFs(fd: number): Promise<void>;
  /** sync_file_range(2): not durability, a hint; see the man page's warning. */
  syncFileRange(fd: number, offset: number, length: number, flags: number): void;
  fallocate(fd: number, mode: number, offset: number, length: number): void;
  /** mallopt(3): from so many bytes on a block goes back to the system when it is freed. */
  mapLargeFrom(bytes: number): void;

  /** Who connected, unix(7). ENOTSUP for a socket that is not a Unix one. */
  peerCredentials(fd: number): PeerCredentials;
  setSocketOption(fd: number, option: SocketOption, value: number): void;
  /** Ends both directions and so wakes a bulk call that waits on this socket. */
  shutdownSocket(fd: number): void;

  /**
   * Is `body` whole records, one behind the other, none of them beyond these limits, and each head
   * and payload as its checksum says? What the fields say is not looked at.
   */
  checkRecords(
    body: Uint8Array,
    payloadBytesMax: number,
    pathBytesMax: number,
    extensionBytesMax: number,
  ): boolean;
  /** The next part of a directory opened for reading, in its order; null at the end. */
  listNames(fd: number): ListedNames | null;
  /**
   * Small plain files below `dirFd` as records into `out` from `at` on, one after the other, from
   * the byte `from` of `names` (see listNames) on. `head` is an encoded head up to the directory's
   * path and a '/'; mode, mtimeNs, checksums and numbers from `seq` on are filled in. It stops at a
   * file that does not fit, and at one that is not plain, cannot be read, shrinks, or is too long.
   */
  packFiles(
    dirFd: number,
    names: Uint8Array,
    from: number,
    head: Uint8Array,
    seq: number,
    out: Uint8Array,
    at: number,
    payloadBytesMax: number,
    pathBytesMax: number,
  ): PackedFiles;
  /** Rejects with the bytes copied before the failure in `.bytes`. */
  copyIn(options: CopyInOptions): Promise<CopyInResult>;
  /**
   * Rejects with ECONNRESET (`.closed`), ETIMEDOUT, or the write's error (`.consumed` is true: the
   * socket stands at the next byte). A wrong checksum resolves with crcOk false.
   */
  receiveToFile(options: ReceiveToFileOptions): Promise<ReceiveToFileResult>;
  receiveBurst(options: ReceiveBurstOptions): Promise<ReceiveBurstResult>;
  /** Rejects with EPIPE, ECONNRESET, ETIMEDOUT, ENODATA (file too short); `.sent` bytes left. */
  sendFrames(options: SendFramesOptions): Promise<{ readonly sent: number }>;

  /**
   * The first `bytes` of a file as memory that other processes share, mmap(2); unmapped when it is
   * collected. The file must not get shorter. For words in it there is Atomics.
   */
  mapShared(fd: number, bytes: number): ArrayBuffer;
  /** Makes a pthread mutex at `offset` (128 bytes), robust and for all processes. */
  initializeLock(buffer: ArrayBuffer, offset: number): void;
  /** False: somebody held it all the time. Blocks the event loop for as long. At most 60,000 ms. */
  lock(buffer: ArrayBuffer, offset: number, timeoutMs: number): boolean;
  unlock(buffer: ArrayBuffer, offset: number): void;
  /** Wakes all who wait on the 32-bit word there, futex(2). */
  futexWake(buffer: ArrayBuffer, offset: number): void;

  /**
   * Rows of the board in `buffer` (native/core/known.h), under its lock. Paths are latin1, one
   * character a byte. Here: what a name is, for `leaseMs`; also that a directory has no names but
   * those with rows, for `namesLeaseMs`.
   */
  knowName(buffer: ArrayBuffer, name: string, path: string, known: KnownName): void;
  /** It may be there or not, and has to be asked for. */
  askName(buffer: ArrayBuffer, name: string, path: string): void;
  /** All names of a directory are known for longer. False: they were not, or not any more. */
  keepNames(buffer: ArrayBuffer, name: string, path: string, leaseMs: number): boolean;
  /** Nothing is known of any name. */
  clearNames(buffer: ArrayBuffer): void;
}

interface Loaded {
  readonly native: NativeAddon | null;
  readonly reason: string;
}

/** The package's root, from src/base under a test as well as from dist/base when installed. */
function packageRoot(from: string): string | null {
  for (let directory = from; ; directory = dirname(directory)) {
    if (existsSync(join(directory, 'package.json'))) return directory;
    if (dirname(directory) === directory) return null;
  }
}

function load(): Loaded {
  if (process.env['KANGAROO_NO_ADDON'] === '1') {
    return { native: null, reason: 'switched off by KANGAROO_NO_ADDON=1' };
  }
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)));
  if (root === null) return { native: null, reason: 'no package.json above the program' };
  const path = join(root, 'native', 'build', 'Release', 'kangaroo.node');
  if (!existsSync(path)) {
    return { native: null, reason: `not built (npm run build:native): ${path}` };
  }
  try {
    const native = createRequire(import.meta.url)(path) as NativeAddon;
    if (native.interfaceVersion !== interfaceVersion) {
      const built = String(native.interfaceVersion);
      const reason = `built for interface ${built}, not ${String(interfaceVersion)}: build it anew`;
      return { native: null, reason };
    }
    return { native, reason: '' };
  } catch (error) {
    return { native: null, reason: error instanceof Error ? error.message : String(error) };
  }
}

const loaded = load();

/** The addon, or null; see addonReason. */
export const native: NativeAddon | null = loaded.native;

/** Why `native` is null, in one line; empty when it is there. */
export const addonReason: string = loaded.reason;
