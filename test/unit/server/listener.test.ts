/**
 * The door for those who may not come in: they hear why, whatever they say themselves, and cannot
 * hold anything up by it.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connect } from '../../../src/index.ts';
import { deadlineIn } from '../../../src/base/deadline.ts';
import { limits } from '../../../src/base/limits.ts';
import { createLogger } from '../../../src/base/log.ts';
import { AllowList } from '../../../src/server/allow.ts';
import { Downstream } from '../../../src/server/downstream.ts';
import { Listener } from '../../../src/server/listener.ts';

let listener: Listener;
let port: number;
let peers: number;
const sockets: Socket[] = [];

beforeEach(async () => {
  peers = 0;
  const nobody = new AllowList([]);
  // This machine is always let in, and a test has no other.
  nobody.allows = () => false;
  const logger = createLogger('server', { level: 'silent' });
  listener = new Listener(nobody, logger, () => (peers += 1));
  port = Number((await listener.listenTcp('127.0.0.1:0')).split(':').at(-1));
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await listener.close();
});

/** What a stranger hears until the end, and when that comes; it does not hang up itself. */
function stranger(says = ''): Promise<{ readonly heard: string; readonly ms: number }> {
  const startMs = performance.now();
  const socket = connectSocket({ port, host: '127.0.0.1', allowHalfOpen: true });
  sockets.push(socket);
  let heard = '';
  socket.on('data', (bytes: Buffer) => (heard += bytes.toString('latin1')));
  socket.on('error', () => {});
  if (says !== '') socket.write(says);
  return new Promise((resolve) => {
    const end = (): void => resolve({ heard, ms: performance.now() - startMs });
    socket.once('end', end);
    socket.once('close', end);
  });
}

test('a client that is not let in says so, and who may change it', async () => {
  const refused = connect({ server: `127.0.0.1:${port}`, timeoutMs: 5_000 });
  await expect(refused).rejects.toMatchObject({
    code: 'DENIED',
    exitStatus: 77,
    hint: 'start that server with --allow 127.0.0.1',
  });
  expect(peers).toBe(0);
});

test('a hop that is not let in waits, and can say why', async () => {
  const downstream = new Downstream();
  const address = { kind: 'tcp', host: '127.0.0.1', port } as const;
  const asked = downstream.lookup(address, deadlineIn(5_000), async () => {});
  await expect(asked).rejects.toMatchObject({ code: 'NOT_YET' });
  expect(downstream.awayReason(address)).toContain('127.0.0.1 is not let in');
  await downstream.close();
});

test('one that talks hears it as well', async () => {
  const { heard } = await stranger('x'.repeat(1_000_000));
  expect(heard).toContain('DENIED');
  expect(heard.length).toBeLessThan(200);
});

test('beyond the bound they are hung up on, and those that stay are thrown out', async () => {
  const startMs = performance.now();
  const all = await Promise.all(
    Array.from({ length: 3 * limits.refusalsAtOnceMax }, () => stranger()),
  );
  const told = all.filter(({ heard }) => heard.includes('DENIED')).length;
  expect(told).toBe(limits.refusalsAtOnceMax);
  expect(peers).toBe(0);
  // Nobody has hung up: the server does, in a moment, and is there for the next.
  await listener.close();
  expect(performance.now() - startMs).toBeLessThan(limits.refusalMs + 2_000);
});
