/** The document of `kangaroo status --json` (interface contract), from the server's state. Pure. */
import { nowMs } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import { version } from '../base/version.ts';
import { formatServerAddress } from '../protocol/server-address.ts';
import { matches, type Target, toDisplay } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { Server } from './server.ts';

type State = 'idle' | 'sending' | 'waiting' | 'held';

interface FileStatus {
  path: string;
  queuedBytes: number;
  heldOperations: number;
  state: State;
  reason: string | null;
}

interface Counts {
  queuedOperations: number;
  queuedBytes: number;
  heldOperations: number;
  readonly files: Map<string, FileStatus>;
}

export function statusOf(server: Server, target: Target): object {
  const { spool } = server;
  const withFiles = target.name !== '';
  const byName = count(server, target, withFiles);
  const first = spool.live.values().next();
  return {
    server: {
      name: server.name,
      spoolId: spool.spoolId,
      version,
      uptimeSeconds: seconds(nowMs() - server.startedMs),
    },
    spool: {
      operations: spool.live.size,
      bytes: spool.liveBytes,
      limitBytes: spool.limitBytes,
      oldestSeconds: first.done === true ? 0 : seconds(nowMs() - first.value.arrivedMs),
      state: spool.state,
      occupiedBytes: spool.occupiedBytes,
      reason: spool.fullReason,
    },
    destinations: [...byName].map(([name, counts]) => destination(server, name, counts, withFiles)),
  };
}

function count(server: Server, target: Target, withFiles: boolean): Map<string, Counts> {
  const byName = new Map<string, Counts>();
  for (const name of server.outstanding) {
    if (matches(target, name, target.path)) byName.set(name, noCounts());
  }
  for (const entry of server.spool.live.values()) {
    if (!matches(target, entry.name, entry.path)) continue;
    let counts = byName.get(entry.name);
    if (counts === undefined) {
      counts = noCounts();
      byName.set(entry.name, counts);
    }
    const held = server.stuck.has(entry);
    counts.queuedOperations += 1;
    counts.queuedBytes += entry.payloadBytes;
    if (held) counts.heldOperations += 1;
    if (withFiles) countFile(server, counts, entry, held);
  }
  return byName;
}

function noCounts(): Counts {
  return { queuedOperations: 0, queuedBytes: 0, heldOperations: 0, files: new Map() };
}

function countFile(server: Server, counts: Counts, entry: Entry, held: boolean): void {
  let file = counts.files.get(entry.path);
  if (file === undefined) {
    const path = toDisplay(entry.path);
    file = { path, queuedBytes: 0, heldOperations: 0, state: 'waiting', reason: null };
    counts.files.set(entry.path, file);
  }
  file.queuedBytes += entry.payloadBytes;
  if (held) {
    file.heldOperations += 1;
    file.state = 'held';
    file.reason ??= server.notices.ofEntry(entry)?.reason ?? 'behind a held operation';
  }
}

function destination(server: Server, name: string, counts: Counts, withFiles: boolean): object {
  const link = server.links.get(name);
  const isOwn = name === server.name;
  const moving = counts.queuedOperations - counts.heldOperations;
  const state: State =
    counts.queuedOperations === 0
      ? 'idle'
      : moving === 0
        ? 'held'
        : link?.state === 'sending'
          ? 'sending'
          : 'waiting';
  const waits = state === 'waiting' ? (server.waitingReason(name) ?? 'queued') : null;
  const reason = state === 'held' ? heldReason(server, name) : waits;
  const bytesPerSecond = state === 'sending' ? (link?.bytesPerSecond ?? 0) : 0;
  const eta = bytesPerSecond > 0 ? Math.ceil(counts.queuedBytes / bytesPerSecond) : null;
  const files = [...counts.files.values()];
  for (const file of files) {
    if (file.state !== 'held') Object.assign(file, { state, reason: waits });
  }
  return {
    name,
    nextHop: isOwn ? '' : formatServerAddress(server.routes.nextHop(name)),
    state,
    reason,
    retryInSeconds: state === 'waiting' && link !== undefined ? seconds(link.retryInMs) : null,
    queuedOperations: counts.queuedOperations,
    queuedBytes: counts.queuedBytes,
    heldOperations: counts.heldOperations,
    bytesPerSecond,
    etaSeconds: state === 'idle' ? 0 : eta,
    ...(withFiles
      ? {
          files: files.slice(0, limits.statusFilesMax),
          filesOmitted: Math.max(0, files.length - limits.statusFilesMax),
        }
      : {}),
  };
}

function heldReason(server: Server, name: string): string {
  const notice = server.notices.firstHeld((address) => address.startsWith(`kangaroo://${name}/`));
  return notice === null ? 'held' : `${notice.address}: ${notice.reason}`;
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10;
}
