/**
 * The server's side of its own mover: what there is to move goes out, what has been committed by a
 * next hop comes in. Only the server writes the spool; the mover reads the segments (decision 3).
 */
import type { Frame } from '../protocol/frame.ts';
import { KangarooError } from '../base/errors.ts';
import { nowMs } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import { decodeMessage, type Message, MESSAGES } from '../protocol/messages.ts';
import { KIND } from '../protocol/operation.ts';
import type { Entry } from '../spool/entry.ts';
import type { Session } from './session.ts';

/** Operations in one WORK frame. */
const WORK_OPERATIONS_MAX = 1_000;
/** Between two frames of the first load, the server looks after its clients. */
const breathe = async (): Promise<void> => {
  await new Promise((resolve) => setImmediate(resolve));
};

/** What a mover session still has to be told before live work is passed on as it comes. */
interface Load {
  readonly waiting: Set<Entry>;
  /** Asked to hurry meanwhile: it cannot hurry what it does not know yet. */
  readonly hurried: number[];
}
const loads = new WeakMap<Session, Load>();
/** What came in lately and is yet to be told. */
interface Gathered {
  readonly entries: Entry[];
  readonly sinceMs: number;
  timer: NodeJS.Timeout;
  payloadBytes: number;
  /** There is enough of it: it goes at the end of this turn of the event loop. */
  isDue: boolean;
}
const gathered = new WeakMap<Session, Gathered>();

/** The mover has greeted: it gets everything that waits, then whatever comes. */
export function subscribe(session: Session): void {
  const { server, connection } = session;
  server.mover?.connection.close(new KangarooError('DISCONNECTED', 'another mover took over'));
  server.mover = session;
  server.links.clear();
  const onMoved = (entries: readonly Entry[]): void => sendMoved(session, entries);
  const onLowWater = (seq: number): void => connection.send('LOW_WATER', { seq });
  server.spool.on('moved', onMoved);
  server.spool.on('lowWater', onLowWater);
  void connection.closed.then(() => {
    server.spool.off('moved', onMoved);
    server.spool.off('lowWater', onLowWater);
  });
  void load(session, server.movable());
}

/**
 * Tells the mover of these, in order. What changes names is told only when it is durable here:
 * after
 * a power cut its sender would send it again under a new number, and the next hop would do it a
 * second time. Bytes at an offset may be written twice, a rename may not be done twice.
 */
async function load(session: Session, entries: Iterable<Entry>): Promise<void> {
  const { server, connection } = session;
  // Entries that are appended meanwhile go through the same list, so that numbers ascend.
  const { waiting, hurried }: Load = { waiting: new Set(entries), hurried: [] };
  loads.set(session, { waiting, hurried });
  let durableUpTo = 0;
  const batch: Entry[] = [];
  for (const entry of waiting) {
    waiting.delete(entry);
    if (changesNames(entry) && entry.seq > durableUpTo) {
      if (batch.length > 0) sendBatch(session, batch.splice(0));
      durableUpTo = server.spool.highestSeq;
      // When it fails the spool has failed, and the server ends.
      if (!(await server.spool.sync().then(yes, no)) || !connection.isOpen) return;
    }
    if (entry.released) continue;
    batch.push(entry);
    if (batch.length < WORK_OPERATIONS_MAX) continue;
    sendBatch(session, batch.splice(0));
    await breathe();
    if (!connection.isOpen) return;
    await connection.roomToSend().catch(() => {});
  }
  loads.delete(session);
  if (batch.length > 0) sendBatch(session, batch);
  if (hurried.length > 0) sendHurry(session, hurried);
}

const yes = (): boolean => true;
const no = (): boolean => false;

function changesNames({ kind }: Entry): boolean {
  return kind === KIND.rename || kind === KIND.remove;
}

/**
 * New work for the mover: a little later where it is little, and when clients have their commits
 * and programs have made their small files, so that these go on before the mover and the next hop
 * take the processor and the disk, and small operations make the way together. A push does not wait
 * for that, see `sendHurry`.
 */
export function sendWork(session: Session, entries: readonly Entry[]): void {
  let waiting = gathered.get(session);
  if (waiting === undefined) {
    const timer = setTimeout(() => sendWhenCommitted(session), limits.workGatheredMs);
    waiting = { entries: [], sinceMs: nowMs(), timer, payloadBytes: 0, isDue: false };
    gathered.set(session, waiting);
  }
  for (const entry of entries) {
    waiting.entries.push(entry);
    waiting.payloadBytes += entry.payloadBytes;
  }
  if (waiting.isDue || waiting.payloadBytes < limits.workGatheredBytes) return;
  waiting.isDue = true;
  // A commit that came with it has begun by then.
  setImmediate(() => sendWhenCommitted(session));
}

function sendWhenCommitted(session: Session): void {
  const waiting = gathered.get(session);
  if (waiting === undefined) return;
  const isLate = nowMs() - waiting.sinceMs >= limits.workHeldMs;
  if (isLate || !isInTheWay(session, waiting)) {
    sendGathered(session);
    return;
  }
  clearTimeout(waiting.timer);
  waiting.timer = setTimeout(() => sendWhenCommitted(session), limits.workGatheredMs);
}

/** Would moving it slow somebody down who is at work on this machine now? */
function isInTheWay({ server }: Session, { entries, payloadBytes }: Gathered): boolean {
  if (server.clientCommits > 0) return true;
  const isSmall = payloadBytes < entries.length * limits.inlinePayloadBytesMax;
  return isSmall && payloadBytes < limits.workHeldBytes && server.board?.isAwake === true;
}

function sendGathered(session: Session): void {
  const waiting = gathered.get(session);
  clearTimeout(waiting?.timer);
  gathered.delete(session);
  const entries = waiting?.entries.filter(({ released }) => !released) ?? [];
  if (entries.length === 0 || !session.connection.isOpen) return;
  const running = loads.get(session);
  if (running !== undefined) {
    for (const entry of entries) running.waiting.add(entry);
    return;
  }
  if (entries.some(changesNames)) {
    void load(session, entries);
    return;
  }
  for (let i = 0; i < entries.length; i += WORK_OPERATIONS_MAX) {
    sendBatch(session, entries.slice(i, i + WORK_OPERATIONS_MAX));
  }
}

function sendBatch(session: Session, entries: readonly Entry[]): void {
  // An entry has the fields of a row; only the place of the record goes by another name.
  session.connection.send('WORK', { operations: entries });
}

function sendMoved(session: Session, entries: readonly Entry[]): void {
  sendGathered(session);
  const operations = entries.map(({ seq, segment, at }) => ({ seq, segment, at }));
  session.connection.send('MOVED', { operations });
}

/** A push, or a reader, waits for these. */
export function sendHurry(session: Session, seqs: readonly number[]): void {
  sendGathered(session);
  loads.get(session)?.hurried.push(...seqs);
  session.connection.send('HURRY', { operations: rangesOf(seqs) });
}

/** These were given up. */
export function sendDrop(session: Session, seqs: readonly number[]): void {
  sendGathered(session);
  session.connection.send('DROP', { operations: rangesOf(seqs) });
}

function rangesOf(seqs: readonly number[]): { first: number; last: number }[] {
  const operations: { first: number; last: number }[] = [];
  for (const seq of [...seqs].sort((a, b) => a - b)) {
    const last = operations.at(-1);
    if (last !== undefined && seq <= last.last + 1) last.last = seq;
    else operations.push({ first: seq, last: seq });
  }
  return operations;
}

/** Frames that only a mover sends. */
export function moverFrame(session: Session, frame: Frame): void {
  switch (frame.type) {
    case MESSAGES.RELEASE.type:
      release(session, decodeMessage('RELEASE', frame));
      return;
    case MESSAGES.LINK.type: {
      const link = decodeMessage('LINK', frame);
      session.server.links.set(link.name, link);
      return;
    }
    case MESSAGES.BAD.type:
      void bad(session, frame);
      return;
    case MESSAGES.SUBSCRIBE.type:
      return;
    default:
      throw new KangarooError('PROTOCOL', `frame type ${frame.type} from a mover`);
  }
}

function release(session: Session, { operations }: Message<'RELEASE'>): void {
  const { live } = session.server.spool;
  const entries: Entry[] = [];
  for (const { first, last } of operations) {
    for (let seq = first; seq <= last; seq++) {
      const entry = live.get(seq);
      if (entry !== undefined) entries.push(entry);
    }
  }
  session.server.spool.release(entries);
}

/**
 * Records that the mover cannot read back. The server looks for itself, where they are now: what it
 * can read stays, what is damaged is put aside and given up, and the mover is told to drop it. Then
 * the call is answered, behind whatever the mover has to know.
 */
async function bad({ server, connection }: Session, frame: Frame): Promise<void> {
  const { spool } = server;
  try {
    for (const { seq } of decodeMessage('BAD', frame).operations) {
      const entry = spool.live.get(seq);
      const problem = entry === undefined ? null : await spool.problemOf(entry);
      if (entry === undefined || problem === null || entry.released) continue;
      server.quarantine(entry, problem);
    }
    connection.send('DONE', {}, frame.callId);
  } catch (error) {
    server.logger.error({ err: error }, 'looking at a record that the mover cannot read');
    if (spool.index.isFailed) spool.fail(error);
    connection.sendError(error, frame.callId);
  }
}
