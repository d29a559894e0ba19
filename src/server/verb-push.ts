/**
 * PUSH: the answer comes when everything that the target means has arrived, durably (paper, 3.2).
 *
 * Three steps. What this server itself is to store must be stored and synced, and nothing of it
 * held; nothing of what is meant may be damaged here. What waits here for other servers is hurried,
 * and waited for until their hop has committed it. Then the same is asked of each next hop, so that
 * the answer travels back from the destination.
 * An error claims nothing but its own reason; the request may be repeated.
 */
import { type Deadline, hasPassed, toWireMs } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage, MESSAGES } from '../protocol/messages.ts';
import { NO_ID } from '../protocol/operation.ts';
import { formatTarget, matches, parseTarget, type Target } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { DamagedRecord } from './damage.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';

interface Push {
  readonly server: Server;
  readonly target: Target;
  /** Only what this spool numbered first; null: whatever is here. */
  readonly originId: string | null;
  readonly hops: number;
  readonly deadline: Deadline;
  readonly signal: AbortSignal;
  readonly progress: (operations: number, bytes: number, where: string, reason: string) => void;
}

export async function push(session: Session, frame: Frame, signal: AbortSignal): Promise<void> {
  const { target, originId, timeoutMs, hops } = decodeMessage('PUSH', frame);
  const { server, connection } = session;
  const work: Push = {
    server,
    target: parseTarget(target),
    originId: originId === NO_ID ? null : originId,
    hops,
    deadline: session.deadline(timeoutMs),
    signal,
    progress: (operations, bytes, where, reason) => {
      connection.send('PROGRESS', { operations, bytes, where, reason }, frame.callId);
    },
  };
  await pushOwn(work);
  await pushWaiting(work);
  await pushOn(work);
  connection.send('DONE', {}, frame.callId);
}

function isMeant(push: Push, entry: DamagedRecord): boolean {
  if (push.originId !== null && entry.originId !== push.originId) return false;
  if (matches(push.target, entry.name, entry.path)) return true;
  return entry.path2 !== '' && matches(push.target, entry.name, entry.path2);
}

/** What is addressed to this server, or cannot go on from it. */
async function pushOwn(push: Push): Promise<void> {
  const { server } = push;
  // What programs of this machine wrote comes by way of the spool: it may just be on its way.
  await server.stuck.work();
  // A push may be the very moment at which a full disk has room again.
  assertNothingHeld(push);
  assertNothingDamaged(push);
  await server.destination?.sync();
  assertNothingHeld(push);
  assertNothingDamaged(push);
}

function assertNothingHeld(push: Push): void {
  const { server } = push;
  let first: Entry | null = null;
  let count = 0;
  for (const entry of server.stuck.entries()) {
    if (!isMeant(push, entry)) continue;
    first ??= entry;
    count += 1;
  }
  if (first === null) return;
  const notice = server.notices.ofEntry(first);
  const what = notice?.address ?? formatTarget(first);
  // An adapted program's fsync(2) fails with the errno that is named here.
  const reason = notice === null ? 'held' : `${notice.reason} (${notice.errno})`;
  const others = count > 1 ? ` (${count} operations are held)` : '';
  throw new KangarooError('HELD', `${what}: ${reason} at server ${server.name}${others}`, {
    hint: notice?.todo,
  });
}

/** What was found damaged before, and will not arrive unless it is put again. */
function assertNothingDamaged(push: Push): void {
  const { server } = push;
  const meant = server.notices.damage.meantBy((record) => isMeant(push, record));
  const [first] = meant;
  if (first === undefined) return;
  const what = first.address === '' ? '' : `${first.address}: `;
  const count = meant.reduce((sum, { operations }) => sum + operations, 0);
  const others = count > 1 ? ` (${count} records are)` : '';
  throw new KangarooError(
    'HELD',
    `${what}${first.reason}: quarantined at server ${server.name}${others}`,
    { hint: `see kangaroo messages; ${first.todo}` },
  );
}

/** What was found damaged while the push waited for it has left, but not arrived. */
function assertNoneGivenUp(server: Server, entries: Iterable<Entry>): void {
  for (const entry of entries) {
    if (!entry.givenUp) continue;
    const { name, path } = entry;
    const what = `${formatTarget({ name, path })}: given up at server ${server.name}`;
    throw new KangarooError('CORRUPT', what, { hint: 'kangaroo messages tells why; put it again' });
  }
}

async function pushWaiting(push: Push): Promise<void> {
  const { server } = push;
  const pending = new Map<number, Entry>();
  for (const entry of server.movable()) if (isMeant(push, entry)) pending.set(entry.seq, entry);
  if (pending.size === 0) return;
  const seqs = new Set(pending.keys());
  // A push of everything has nothing to overtake.
  if (push.target.name !== '') server.hurry([...seqs]);
  const tell = setInterval(() => {
    if (seqs.size === 0) return;
    const [operations, bytes, name] = remaining(seqs, pending);
    push.progress(operations, bytes, server.name, server.waitingReason(name) ?? '');
  }, limits.progressEveryMs);
  try {
    await server.untilReleased(seqs, push.deadline, 'push', push.signal);
    assertNoneGivenUp(server, pending.values());
  } catch (error) {
    const known = asKangarooError(error);
    if (known.code !== 'NOT_YET') throw known;
    const [operations, , name] = remaining(seqs, pending);
    const why = server.waitingReason(name) ?? 'the time was too short';
    throw new KangarooError(
      'NOT_YET',
      `push: ${operations} operations are still at server ${server.name}: ${why}`,
    );
  } finally {
    clearInterval(tell);
  }
}

function remaining(
  seqs: ReadonlySet<number>,
  pending: ReadonlyMap<number, Entry>,
): [operations: number, bytes: number, name: string] {
  let bytes = 0;
  let name = '';
  for (const seq of seqs) {
    const entry = pending.get(seq);
    if (entry === undefined) continue;
    bytes += entry.payloadBytes;
    if (name === '') name = entry.name;
  }
  return [seqs.size, bytes, name];
}

/** The same, asked of the next hop of each name. */
async function pushOn(push: Push): Promise<void> {
  const { server, target } = push;
  const names = target.name === '' ? [...server.outstanding] : [target.name];
  const others = names.filter((name) => !(name === server.name && server.destination !== null));
  await Promise.all(others.map(async (name) => await pushName(push, name)));
}

async function pushName(push: Push, name: string): Promise<void> {
  const { server, target, deadline, signal } = push;
  const address = server.nextHop(name, push.hops);
  const originId = push.originId ?? (server.relays ? NO_ID : server.spool.spoolId);
  const lastSeq = server.spool.highestSeq;
  await server.downstream.with(
    address,
    deadline,
    async (connection) => {
      if (hasPassed(deadline)) throw new KangarooError('NOT_YET', 'push: the time ran out');
      const request = {
        target: formatTarget({ name, path: target.path }),
        originId,
        timeoutMs: toWireMs(deadline),
        hops: push.hops + 1,
      };
      await connection.call('PUSH', request, {
        deadline,
        signal,
        what: `push at ${connection.peer}`,
        onPart: (frame) => {
          if (frame.type !== MESSAGES.PROGRESS.type) return;
          const { operations, bytes, where, reason } = decodeMessage('PROGRESS', frame);
          push.progress(operations, bytes, where, reason);
        },
      });
    },
    signal,
  );
  // Nothing new for that name: the next push of everything need not ask it again.
  const wholeName = target.path === '' && push.originId === null;
  if (wholeName && server.spool.highestSeq === lastSeq) server.settled(name);
}
