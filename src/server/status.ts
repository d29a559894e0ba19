/**
 * The document of `kangaroo status --json` (interface contract): what this hop has, and laid over
 * it
 * what the hops beyond say they have of the same, so that one question tells where the data is.
 */
import { nowMs } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import { version } from '../base/version.ts';
import { formatServerAddress } from '../protocol/server-address.ts';
import { matches, type Target, toDisplay } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { Server } from './server.ts';

type State = 'idle' | 'sending' | 'waiting' | 'held';
/** From the one that needs nobody to the one that needs somebody. */
const STATES: readonly State[] = ['idle', 'sending', 'waiting', 'held'];

interface FileStatus {
  readonly path: string;
  queuedBytes: number;
  heldOperations: number;
  state: State;
  reason: string | null;
}

/** What lies at one hop. */
interface HopStatus {
  readonly server: string;
  readonly queuedOperations: number;
  readonly queuedBytes: number;
  readonly heldOperations: number;
  readonly state: State;
  readonly reason: string | null;
}

interface DestinationStatus {
  readonly name: string;
  readonly nextHop: string;
  state: State;
  reason: string | null;
  retryInSeconds: number | null;
  queuedOperations: number;
  queuedBytes: number;
  heldOperations: number;
  bytesPerSecond: number;
  etaSeconds: number | null;
  /** This hop first, then those beyond it that have something. */
  hops: HopStatus[];
  files?: FileStatus[];
  filesOmitted?: number;
}

export interface Status {
  readonly server: object;
  readonly spool: object;
  readonly destinations: DestinationStatus[];
}

interface Counts {
  queuedOperations: number;
  queuedBytes: number;
  heldOperations: number;
  readonly files: Map<string, FileStatus>;
}

/** `originId`: only what that spool numbered first; null: everything here. */
export function statusOf(server: Server, target: Target, originId: string | null): Status {
  const { spool } = server;
  const withFiles = target.name !== '';
  const byName = count(server, target, originId, withFiles);
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

/** What the hops beyond have, added destination by destination. */
export function withHopsBeyond(own: Status, beyond: readonly Status[]): Status {
  for (const mine of own.destinations) {
    for (const status of beyond) {
      const theirs = status.destinations.find(({ name }) => name === mine.name);
      if (theirs === undefined || theirs.queuedOperations === 0) continue;
      mine.queuedOperations += theirs.queuedOperations;
      mine.queuedBytes += theirs.queuedBytes;
      mine.heldOperations += theirs.heldOperations;
      mine.hops.push(...theirs.hops);
      if (STATES.indexOf(theirs.state) > STATES.indexOf(mine.state)) {
        mine.state = theirs.state;
        mine.reason = theirs.reason;
        mine.etaSeconds = null;
      }
      if (mine.files !== undefined) mergeFiles(mine, theirs);
    }
  }
  return own;
}

function mergeFiles(mine: DestinationStatus, theirs: DestinationStatus): void {
  const byPath = new Map(mine.files?.map((file) => [file.path, file]));
  for (const file of theirs.files ?? []) {
    const known = byPath.get(file.path);
    if (known === undefined) {
      byPath.set(file.path, file);
      continue;
    }
    known.queuedBytes += file.queuedBytes;
    known.heldOperations += file.heldOperations;
    if (STATES.indexOf(file.state) > STATES.indexOf(known.state)) {
      known.state = file.state;
      known.reason = file.reason;
    }
  }
  const files = [...byPath.values()];
  mine.files = files.slice(0, limits.statusFilesMax);
  mine.filesOmitted =
    (mine.filesOmitted ?? 0) + (theirs.filesOmitted ?? 0) + files.length - mine.files.length;
}

function count(
  server: Server,
  target: Target,
  originId: string | null,
  withFiles: boolean,
): Map<string, Counts> {
  const byName = new Map<string, Counts>();
  for (const name of server.outstanding) {
    if (matches(target, name, target.path)) byName.set(name, noCounts());
  }
  for (const entry of server.spool.live.values()) {
    if (!matches(target, entry.name, entry.path)) continue;
    if (originId !== null && entry.originId !== originId) continue;
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

function stateOf(server: Server, name: string, counts: Counts): State {
  if (counts.queuedOperations === 0) return 'idle';
  if (counts.queuedOperations === counts.heldOperations) return 'held';
  return server.links.get(name)?.state === 'sending' ? 'sending' : 'waiting';
}

function destination(
  server: Server,
  name: string,
  counts: Counts,
  withFiles: boolean,
): DestinationStatus {
  const { queuedOperations, queuedBytes, heldOperations } = counts;
  const link = server.links.get(name);
  const state = stateOf(server, name, counts);
  const waits = state === 'waiting' ? (server.waitingReason(name) ?? 'queued') : null;
  const reason = state === 'held' ? heldReason(server, name) : waits;
  const bytesPerSecond = state === 'sending' ? (link?.bytesPerSecond ?? 0) : 0;
  const eta = bytesPerSecond > 0 ? Math.ceil(queuedBytes / bytesPerSecond) : null;
  const files = [...counts.files.values()];
  for (const file of files) {
    if (file.state !== 'held') Object.assign(file, { state, reason: waits });
  }
  const here = {
    server: server.name,
    queuedOperations,
    queuedBytes,
    heldOperations,
    state,
    reason,
  };
  return {
    name,
    nextHop: name === server.name ? '' : formatServerAddress(server.routes.nextHop(name)),
    state,
    reason,
    retryInSeconds: state === 'waiting' && link !== undefined ? seconds(link.retryInMs) : null,
    queuedOperations,
    queuedBytes,
    heldOperations,
    bytesPerSecond,
    etaSeconds: state === 'idle' ? 0 : eta,
    hops: queuedOperations > 0 ? [here] : [],
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
