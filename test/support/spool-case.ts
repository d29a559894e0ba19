/**
 * A spool in a scratch directory, without a server: records go in as a session would hand them
 * over, and `killed` gives the directory as a SIGKILL would leave it (a copy taken while it is
 * open, so with everything that is in the page cache and with nothing that only memory knows).
 */
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '../../src/base/crc32c.ts';
import { errnoOf } from '../../src/base/errors.ts';
import { createLogger } from '../../src/base/log.ts';
import {
  encodeHead,
  FLAGS,
  headOf,
  KIND,
  type RecordHeader,
} from '../../src/protocol/operation.ts';
import { type Incoming, Spool } from '../../src/spool/spool.ts';

export const SENDER = 'ab'.repeat(16);
const LIMIT_BYTES = 1024 * 1024 * 1024;

/** A write of `payload`, as number `seq` of its sender; its payload follows the head. */
export function incoming(
  seq: number,
  path: string,
  payload: Buffer,
  parts: Partial<RecordHeader> = {},
): Incoming {
  const { senderId = SENDER, ...rest } = parts;
  const head: RecordHeader = {
    ...headOf({ kind: KIND.write, name: 'dest', path, flags: FLAGS.CREATE }, seq),
    payloadBytes: payload.length,
    payloadCrc: crc32c(payload),
    ...rest,
  };
  const bytes = Buffer.concat([encodeHead(head), payload]);
  return { bytes, head, senderId, place: null };
}

/** As `incoming`, with the payload in a data segment of `spool`; no grant is held afterwards. */
export function incomingExternal(
  spool: Spool,
  seq: number,
  path: string,
  payload: Buffer,
): Incoming {
  const extent = spool.reserve(payload.length);
  writeSync(spool.data.fd(extent.segment) as number, payload, 0, payload.length, extent.offset);
  const { head, senderId } = incoming(seq, path, payload);
  return { bytes: encodeHead(head), head, senderId, place: [extent.segment, extent.offset] };
}

export class SpoolCase {
  readonly root = mkdtempSync(join(tmpdir(), 'kangaroo-spool-'));
  readonly #limitBytes: number;
  readonly #open = new Set<Spool>();
  #copies = 0;

  constructor(limitBytes = LIMIT_BYTES) {
    this.#limitBytes = limitBytes;
  }

  get directory(): string {
    return join(this.root, 'spool');
  }

  async open(directory = this.directory): Promise<Spool> {
    const logger = createLogger('server', { level: 'silent' });
    const spool = await Spool.open({ directory, limitBytes: this.#limitBytes, logger });
    this.#open.add(spool);
    return spool;
  }

  async close(spool: Spool): Promise<void> {
    this.#open.delete(spool);
    await spool.close();
  }

  /** A directory with what a SIGKILL at this moment would leave. */
  killed(directory = this.directory): string {
    this.#copies += 1;
    const copy = join(this.root, `killed-${this.#copies}`);
    copyInUse(directory, copy);
    return copy;
  }

  async end(): Promise<void> {
    for (const spool of this.#open) await spool.close().catch(() => {});
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Copies a directory that others work in: a file that is removed meanwhile may be missing. */
export function copyInUse(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    try {
      if (entry.isDirectory()) copyInUse(source, target);
      else copyFileSync(source, target);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}

/** Payload of every live entry by path, read back. */
export async function contents(spool: Spool): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const entry of spool.live.values()) {
    found.set(entry.path, (await spool.readPayload(entry)).toString('latin1'));
  }
  return found;
}
