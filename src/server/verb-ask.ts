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
import { EVERYTHING, formatTarget, parseTarget, type Target } from '../route/address.ts';
import type { Notice } from './notices.ts';
import type { Session } from './session.ts';
import { statusOf } from './status.ts';

/** How long a report waits for a next hop that does not answer. */
const REPORT_WAIT_MS = 3_000;

interface Arguments {
  readonly target: Target;
  readonly after: number;
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
  const { target, after } = Object(parsed) as { target?: unknown; after?: unknown };
  return {
    target: typeof target === 'string' ? parseTarget(target) : EVERYTHING,
    after: typeof after === 'number' && Number.isSafeInteger(after) ? after : 0,
  };
}

async function status({ session, args }: Asked): Promise<object> {
  return await Promise.resolve(statusOf(session.server, args.target));
}

async function messages(asked: Asked): Promise<object> {
  const { server } = asked.session;
  const own = server.notices.since(asked.args.after);
  const theirs = await askOn(asked, async (document) => {
    const { messages: list } = document as { messages?: Notice[] };
    return await Promise.resolve((list ?? []).filter(({ state }) => state === 'held'));
  });
  return { messages: [...own.messages, ...theirs.answers.flat()], last: own.last };
}

async function retry(asked: Asked): Promise<object> {
  const here = await asked.session.server.stuck.retry(asked.args.target);
  const theirs = await askOn(asked, async (document) => {
    return await Promise.resolve((document as { retried?: number }).retried ?? 0);
  });
  const retried = here + sum(theirs.answers);
  if (retried === 0 && theirs.error !== null) throw theirs.error;
  return { retried };
}

async function discard(asked: Asked): Promise<object> {
  const { server } = asked.session;
  if (asked.args.target.name === '') {
    throw new KangarooError('USAGE', 'discard needs to be told what to give up');
  }
  const given = await server.stuck.discard(asked.args.target);
  server.giveUp(given);
  const theirs = await askOn(asked, async (document) => {
    return await Promise.resolve((document as { discarded?: number }).discarded ?? 0);
  });
  const discarded = given.length + sum(theirs.answers);
  if (discarded === 0 && theirs.error !== null) throw theirs.error;
  return { discarded };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Asks the next hop of every name that is meant. Those that do not answer in time are left out. */
async function askOn<T>(
  asked: Asked,
  read: (document: unknown) => Promise<T>,
): Promise<{ readonly answers: T[]; readonly error: KangarooError | null }> {
  const { session, args, verb, hops, timeoutMs } = asked;
  const { server } = session;
  const known = args.target.name === '' ? server.spool.index.destinations() : [args.target.name];
  const names = known.filter((name) => name !== server.name);
  const deadline = Math.min(session.deadline(timeoutMs), deadlineIn(REPORT_WAIT_MS));
  let error: KangarooError | null = null;
  const answers = await Promise.all(
    names.map(async (name): Promise<T | null> => {
      try {
        const address = server.nextHop(name, hops);
        const target = formatTarget({ name, path: args.target.path });
        const request = {
          verb,
          timeoutMs: toWireMs(deadline),
          hops: hops + 1,
          arguments: JSON.stringify({ target, after: 0 }),
        };
        const { json } = await server.downstream.with(address, deadline, async (connection) => {
          return await connection.ask('ASK', request, 'DOCUMENT', { deadline, what: verb });
        });
        return await read(JSON.parse(json));
      } catch (failure) {
        error ??= asKangarooError(failure);
        return null;
      }
    }),
  );
  return { answers: answers.filter((answer) => answer !== null), error };
}
