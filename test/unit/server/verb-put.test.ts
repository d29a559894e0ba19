/**
 * What a server does with records for its own export directory, from the frame to the storage: what
 * must not share a sync with something older is applied behind that sync, whichever way its bytes
 * take (replay-guard.ts says which; this is about somebody asking it and waiting).
 */
import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { deadlineIn } from '../../../src/base/deadline.ts';
import { type ErrorCode, ERRORS } from '../../../src/base/errors.ts';
import { createLogger } from '../../../src/base/log.ts';
import { type Connection, dial } from '../../../src/protocol/connection.ts';
import { encodePrefix, PUTS_TYPE } from '../../../src/protocol/frame.ts';
import { greet } from '../../../src/protocol/hello.ts';
import { decodeMessage, MESSAGES } from '../../../src/protocol/messages.ts';
import { FLAGS, KIND, type RecordHeader } from '../../../src/protocol/operation.ts';
import { Server } from '../../../src/server/server.ts';
import { incoming, SENDER, SpoolCase } from '../../support/spool-case.ts';

const WAIT_MS = 10_000;
/** Above it the bytes go from the socket into the file, where the addon is there. */
const LARGE_BYTES = 200_000;

let scene: SpoolCase;
let server: Server;
let connection: Connection;
/** What the storage was asked for, in order. */
let calls: string[];

beforeEach(async () => {
  scene = new SpoolCase();
  const exported = join(scene.root, 'export');
  mkdirSync(exported);
  const logger = createLogger('server', { level: 'silent' });
  server = await Server.start(
    {
      name: 'dest',
      listen: [],
      socket: join(scene.root, 'socket'),
      export: exported,
      spool: scene.directory,
      spoolLimitBytes: 2 ** 30,
      allow: [],
      route: [],
      readyFile: null,
      mover: false,
      logLevel: 'silent',
    },
    logger,
  );
  calls = [];
  const storage = server.destination?.storage;
  if (storage === undefined) throw new Error('it has no export directory');
  const { apply, openForBulk, sync } = storage;
  storage.apply = (head, payload) => {
    calls.push(`${head.kind === KIND.write ? 'write' : 'name'} ${head.path}`);
    apply.call(storage, head, payload);
  };
  storage.openForBulk = (head) => {
    calls.push(`write ${head.path}`);
    return openForBulk.call(storage, head);
  };
  storage.sync = async () => {
    calls.push('sync');
    await sync.call(storage);
  };
  await greeted();
});

/** On a new connection. */
async function greeted(): Promise<void> {
  const path = join(scene.root, 'socket');
  connection = await dial({ kind: 'unix', path }, deadlineIn(WAIT_MS));
  await greet(connection, 'client', SENDER, deadlineIn(WAIT_MS));
}

afterEach(async () => {
  connection.close(null);
  await server.stop();
  await scene.end();
});

type Step = readonly [path: string, bytes: number, parts?: Partial<RecordHeader>];

/** Puts these in order, a frame each, and commits. */
async function put(...steps: readonly Step[]): Promise<void> {
  for (const [i, [path, bytes, parts]] of steps.entries()) {
    const record = incoming(i + 1, path, Buffer.alloc(bytes, i), parts).bytes;
    const prefix = encodePrefix(PUTS_TYPE, 0, record.length, 0);
    connection.sendBytes(Buffer.concat([prefix, record]));
  }
  const deadline = deadlineIn(WAIT_MS);
  await connection.ask('COMMIT', { lowWater: 0 }, 'COMMITTED', { deadline });
}

const REMOVE: Partial<RecordHeader> = { kind: KIND.remove, flags: 0 };

test('a rename comes behind a sync of what it renames', async () => {
  await put(['new', 10], ['new', 0, { kind: KIND.rename, flags: 0, path2: 'final' }]);
  expect(calls).toEqual(['write new', 'sync', 'name new', 'sync']);
});

test('what shares no name with anything before it waits for nothing', async () => {
  await put(['a', 10], ['b', LARGE_BYTES], ['c', 0, { kind: KIND.mkdir, flags: 0 }]);
  expect(calls).toEqual(['write a', 'write b', 'name c', 'sync']);
});

for (const [size, bytes] of [
  ['small', 10],
  ['large', LARGE_BYTES],
] as const) {
  test(`a ${size} file comes behind a sync of the removal that makes way for it`, async () => {
    await put(['d', 10], ['d', 0, REMOVE], ['d/x', bytes, { flags: FLAGS.CREATE | FLAGS.PARENTS }]);
    expect(calls).toEqual(['write d', 'sync', 'name d', 'sync', 'write d/x', 'sync']);
  });
}

/** What the server says before it breaks off. */
async function lastWords(): Promise<ErrorCode> {
  let said: ErrorCode | null = null;
  connection.onFrame = (frame) => {
    if (frame.type === MESSAGES.ERROR.type) said = decodeMessage('ERROR', frame).code as ErrorCode;
  };
  await connection.closed;
  if (said === null) throw new Error('it said nothing');
  return said;
}

const elsewhere: Step = ['x', LARGE_BYTES, { name: 'elsewhere' }];

test('whoever puts into a spool whose disk is gone may send it again', async () => {
  const failed = server.failed.catch((error: unknown) => error);
  const segments = join(scene.directory, 'segments');
  renameSync(segments, `${segments} taken away`);
  const words = lastWords();
  await expect(put(elsewhere)).rejects.toMatchObject({ code: 'DISCONNECTED' });
  expect(ERRORS[await words]).toMatchObject({ retryable: true });
  expect(await failed).toMatchObject({ code: 'SPOOL_FAILED' });
});

test('so may one whose put meets a failure that nobody foresaw', async () => {
  const { destination } = server;
  if (destination === null) throw new Error('it has no export directory');
  destination.mustSettle = () => {
    throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
  };
  for (const bytes of [10, LARGE_BYTES]) {
    await greeted();
    const words = lastWords();
    await expect(put(['x', bytes])).rejects.toMatchObject({ code: 'DISCONNECTED' });
    expect(ERRORS[await words]).toMatchObject({ retryable: true });
  }
});
