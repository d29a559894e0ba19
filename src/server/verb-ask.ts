/**
 * ASK: status, messages, retry and discard. A verb and JSON in, one JSON document out.
 *
 * What lies at this hop is answered from here; for what has been passed on, the next hops are asked
 * in turn, since that is where things are held.
 */
import { deadlineIn, toWireMs } from '../base/deadline.ts';
import { asKangarooError, KangarooError } from '../base/errors.ts';
import type { Frame } from '../protocol/frame.ts';
import { decodeMessage } from '../protocol/messages.ts';
import { NO_ID } from '../protocol/operation.ts';
import { formatServerAddress, type ServerAddress } from '../protocol/server-address.ts';
import { EVERYTHING, formatTarget, matches, parseTarget, type Target } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { Notice } from './notices.ts';
import type { Session } from './session.ts';
import { type Status, statusOf, withHopsBeyond } from './status.ts';

/** How long a report waits for a next hop that does not answer. */
const REPORT_WAIT_MS = 3_000;

interface Arguments {
  readonly target: Target;
  readonly after: number;
  /** Of a hop that asks on: only what it numbered first; null: whatever is here. */
  readonly originId: string | null;
}

interface Asked {
  readonly session: Session;
  readonly args: Arguments;
  readonly verb: string;
  readonly hops: number;
  readonly timeoutMs: number;
}

const VERBS: Readonly<Record<string, (asked: Asked) => Promise<object>>> = {
  status,
  messages,
  retry,
  discard,
};

export async function ask(session: Session, frame: Frame): Promise<void> {
  const { verb, timeoutMs, hops, arguments: text } = decodeMessage('ASK', frame);
  const work = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
  if (work === undefined) throw new KangarooError('NOT_SUPPORTED', `'${verb}' is not known here`);
  const asked = { session, args: parseArguments(text), verb, hops, timeoutMs };
  const document = await work(asked);
  session.connection.send('DOCUMENT', { json: JSON.stringify(document) }, frame.callId);
}

function parseArguments(text: string): Arguments {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new KangarooError('PROTOCOL', 'ASK: the arguments are no JSON', { cause: error });
  }
  const { target, after, originId } = Object(parsed) as Record<string, unknown>;
  return {
    originId: typeof originId === 'string' && originId !== NO_ID ? originId : null,
    target: typeof target === 'string' ? parseTarget(target) : EVERYTHING,
    after: typeof after === 'number' && Number.isSafeInteger(after) ? after : 0,
  };
}

async function status(asked: Asked): Promise<object> {
  const { session, args } = asked;
  const own = statusOf(session.server, args.target, args.originId);
  const theirs = await askOn(asked, (document) => document as Status);
  return withHopsBeyond(own, theirs.answers);
}

async function messages(asked: Asked): Promise<object> {
  const { server } = asked.session;
  const own = server.notices.since(asked.args.after);
  const theirs = await askOn(asked, (document) => {
    const { messages: list } = document as { messages?: Notice[] };
    return (list ?? []).filter(({ state }) => state === 'held' || state === 'quarantined');
  });
  return { messages: [...own.messages, ...theirs.answers.flat()], last: own.last };
}

async function retry(asked: Asked): Promise<object> {
  const here = await asked.session.server.stuck.retry(asked.args.target);
  const theirs = await askOn(asked, (document) => (document as { retried?: number }).retried ?? 0);
  const retried = here + sum(theirs.answers);
  if (retried === 0 && theirs.error !== null) throw theirs.error;
  return { retried };
}

async function discard(asked: Asked): Promise<object> {
  const { server } = asked.session;
  if (asked.args.target.name === '') {
    throw new KangarooError('USAGE', 'discard needs to be told what to give up');
  }
  const { target } = asked.args;
  const given = await server.stuck.discard(target);
  // What was given up is not there any more.
  server.board?.names.clear();
  given.push(...unreachable(asked));
  server.giveUp(given);
  // Durable before it is answered: what was given up must not come back with the next start.
  if (given.length > 0) await server.spool.tidy();
  const damaged = server.notices.damage.discard(({ name, path, path2 }) => {
    return matches(target, name, path) || (path2 !== '' && matches(target, name, path2));
  });
  const theirs = await askOn(
    asked,
    (document) => (document as { discarded?: number }).discarded ?? 0,
  );
  for (const name of new Set(given.map((entry) => entry.name))) server.settled(name);
  const discarded = given.length + damaged + sum(theirs.answers);
  if (discarded === 0 && theirs.error !== null) throw theirs.error;
  return { discarded };
}

/**
 * What waits for a next hop that cannot be reached, such as a server whose name was mistyped. What
 * is
 * under way to one that can be reached is not given up: it will have arrived before anybody looks.
 */
function unreachable({ session, args }: Asked): Entry[] {
  const { server } = session;
  if (server.links.get(args.target.name)?.state !== 'waiting') return [];
  const meant: Entry[] = [];
  for (const entry of server.movable()) {
    if (matches(args.target, entry.name, entry.path)) meant.push(entry);
  }
  return meant;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Asks every next hop that is meant, once each. Those that do not answer in time are left out. */
async function askOn<T>(
  asked: Asked,
  read: (document: unknown) => T,
): Promise<{ readonly answers: T[]; readonly error: KangarooError | null }> {
  const { session, args, verb, hops, timeoutMs } = asked;
  const { server } = session;
  const deadline = Math.min(session.deadline(timeoutMs), deadlineIn(REPORT_WAIT_MS));
  const originId = args.originId ?? (server.relays ? NO_ID : server.spool.spoolId);
  const target = formatTarget(args.target);
  const request = {
    verb,
    timeoutMs: toWireMs(deadline),
    hops: hops + 1,
    arguments: JSON.stringify({ target, after: 0, originId }),
  };
  let error: KangarooError | null = null;
  const answers = await Promise.all(
    nextHops(asked).map(async (address): Promise<T | null> => {
      try {
        const { json } = await server.downstream.lookup(address, deadline, async (connection) => {
          return await connection.ask('ASK', request, 'DOCUMENT', { deadline, what: verb });
        });
        return read(JSON.parse(json));
      } catch (failure) {
        error ??= asKangarooError(failure);
        return null;
      }
    }),
  );
  return { answers: answers.filter((answer) => answer !== null), error };
}

/** The addresses that lie beyond this hop for what is asked about. */
function nextHops({ session, args, hops }: Asked): ServerAddress[] {
  const { server } = session;
  const known = args.target.name === '' ? server.outstanding : [args.target.name];
  const addresses = new Map<string, ServerAddress>();
  for (const name of known) {
    if (name === server.name) continue;
    try {
      const address = server.nextHop(name, hops);
      addresses.set(formatServerAddress(address), address);
    } catch {
      // No way on from here: what there is of that name lies here, and was answered for.
    }
  }
  return [...addresses.values()];
}
