/**
 * `kangaroo check`: reads a spool back and verifies every checksum, with or without a server on it.
 *
 * It changes nothing. The index is read from a copy, since a running server holds it exclusively; a
 * record that the copy says is released may have lost its payload rightly. A record appended while
 * the check runs may be cut short at the end of the newest segment: that is no problem.
 */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../base/crc32c.ts';
import { KangarooError } from '../base/errors.ts';
import type { RangeSet } from '../base/ranges.ts';
import { FLAGS, type RecordHeader } from '../protocol/operation.ts';
import { formatAddress } from '../route/address.ts';
import { SpoolIndex } from './index.ts';
import { isTorn } from './recover.ts';
import {
  dataName,
  decodeLogHeader,
  isForeign,
  LOG_HEADER_BYTES,
  logName,
  parseSegmentName,
  walkLog,
} from './segment.ts';

/** How often the index is copied again because something seems to be missing. */
const LOOKS_MAX = 100;

export interface CheckFinding {
  readonly segment: string;
  readonly offset: number;
  readonly bytes: number;
  readonly problem: string;
}

export interface CheckResult {
  readonly segments: number;
  readonly operations: number;
  readonly bytes: number;
  readonly problems: number;
}

/** @throws KangarooError USAGE when there is no spool */
export async function checkSpool(
  directory: string,
  report: (finding: CheckFinding) => void,
): Promise<CheckResult> {
  const segments = join(directory, 'segments');
  if (!existsSync(segments)) throw new KangarooError('USAGE', `${directory}: there is no spool`);
  const check = new Check(directory, report);
  const logs = readdirSync(segments)
    .map(parseSegmentName)
    .filter((name) => name?.kind === 'log')
    .map((name) => name?.number ?? 0)
    .sort((a, b) => a - b);
  for (const number of logs) await check.log(number, number === logs.at(-1));
  await check.close();
  return { segments: logs.length, ...check.result };
}

/** What the index says has been released, by segment; empty when it cannot be read. */
function releasedNumbers(directory: string): ReadonlyMap<number, RangeSet> {
  const copy = mkdtempSync(join(tmpdir(), 'kangaroo-check-'));
  try {
    for (const file of ['index.db', 'index.db-wal']) {
      const from = join(directory, file);
      if (existsSync(from)) copyFileSync(from, join(copy, file));
    }
    const index = new SpoolIndex(join(copy, 'index.db'));
    try {
      return new Map(index.segments().map(({ number, released }) => [number, released]));
    } finally {
      index.close();
    }
  } catch {
    return new Map();
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

class Check {
  readonly result = { operations: 0, bytes: 0, problems: 0 };
  readonly #directory: string;
  readonly #segments: string;
  #released: ReadonlyMap<number, RangeSet>;
  #looks = 0;
  readonly #report: (finding: CheckFinding) => void;
  #data: { readonly number: number; readonly handle: FileHandle } | null = null;

  constructor(directory: string, report: (finding: CheckFinding) => void) {
    this.#directory = directory;
    this.#segments = join(directory, 'segments');
    this.#released = releasedNumbers(directory);
    this.#report = report;
  }

  async log(number: number, isNewest: boolean): Promise<void> {
    const segment = logName(number);
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(this.#segments, segment));
    } catch {
      // Everything in it was released since the directory was read.
      return;
    }
    const header = decodeLogHeader(bytes);
    if (typeof header === 'string') {
      this.#problem(segment, 0, Math.min(bytes.length, LOG_HEADER_BYTES), header);
      if (bytes.length < LOG_HEADER_BYTES || isForeign(header)) return;
    }
    const released = this.#released.get(number);
    const floor = typeof header === 'string' ? 0 : header.floor;
    for (const found of walkLog(bytes, floor)) {
      if (found.what === 'mark') continue;
      if (found.what === 'damage') {
        if (isNewest && found.toEnd && isTorn(bytes, found.at, found.problem)) continue;
        this.#problem(segment, found.at, found.bytes, found.problem);
        continue;
      }
      const { head, at } = found;
      this.result.operations += 1;
      this.result.bytes += head.payloadBytes;
      const where = formatAddress(head.name, head.path);
      if (!found.payloadSound) {
        this.#problem(segment, at, found.bytes, `payload checksum of ${where}`);
      } else if ((head.flags & FLAGS.EXTERNAL) !== 0 && released?.has(head.seq) !== true) {
        await this.#external(number, at, head, where);
      }
    }
  }

  async close(): Promise<void> {
    await this.#data?.handle.close();
  }

  async #external(number: number, at: number, head: RecordHeader, where: string): Promise<void> {
    const payload = Buffer.alloc(head.payloadBytes);
    try {
      const handle = await this.#open(head.payloadSegment);
      const { bytesRead } = await handle.read(payload, 0, payload.length, head.payloadOffset);
      if (bytesRead === payload.length && crc32c(payload) === head.payloadCrc) return;
    } catch {
      // The file is gone.
    }
    if (this.#hasLeft(number, head.seq)) return;
    const segment = logName(number);
    const data = dataName(head.payloadSegment);
    this.#problem(segment, at, head.payloadBytes, `payload checksum of ${where} in ${data}`);
  }

  /** Has a running server released it since the index was copied? Then it may be gone. */
  #hasLeft(number: number, seq: number): boolean {
    if (this.#released.get(number)?.has(seq) === true) return true;
    if (!existsSync(join(this.#segments, logName(number)))) return true;
    this.#looks += 1;
    if (this.#looks > LOOKS_MAX) return false;
    this.#released = releasedNumbers(this.#directory);
    return this.#released.get(number)?.has(seq) === true;
  }

  async #open(number: number): Promise<FileHandle> {
    if (this.#data?.number === number) return this.#data.handle;
    await this.#data?.handle.close();
    this.#data = null;
    const handle = await open(join(this.#segments, dataName(number)), 'r');
    this.#data = { number, handle };
    return handle;
  }

  #problem(segment: string, offset: number, bytes: number, problem: string): void {
    this.result.problems += 1;
    this.#report({ segment, offset, bytes, problem });
  }
}
