/**
 * What a server does with records for its own export directory, from the frame to the storage: what
 * must not share a sync with something older is applied behind that sync, whichever way its bytes
 * take (replay-guard.ts says which; this is about somebody asking it and waiting).
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { deadlineIn } from '../../../src/base/deadline.ts';
import { createLogger } from '../../../src/base/log.ts';
import { type Connection, dial } from '../../../src/protocol/connection.ts';
import { encodePrefix, PUTS_TYPE } from '../../../src/protocol/frame.ts';
import { greet } from '../../../src/protocol/hello.ts';
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
  const socket = join(scene.root, 'socket');
  const logger = createLogger('server', { level: 'silent' });
  server = await Server.start(
    {
      name: 'dest',
      listen: [],
      socket,
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
  connection = await dial({ kind: 'unix', path: socket }, deadlineIn(WAIT_MS));
  await greet(connection, 'client', SENDER, deadlineIn(WAIT_MS));
});
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
