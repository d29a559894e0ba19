/**
 * A session over lost connections, lost servers and full windows, against a fake server that does
 * these things on purpose. What is checked is what arrived there: all of it, in order, once.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connect, type ConnectOptions, type Kangaroo } from '../../../src/client/client.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { limits } from '../../../src/base/limits.ts';
import { MESSAGES } from '../../../src/protocol/messages.ts';
import { FakeServer } from './fake-server.ts';

let server: FakeServer;
let client: Kangaroo;

const open = async (options: ConnectOptions = {}): Promise<Kangaroo> =>
  await connect({ server: server.socketPath, reconnectMs: 5_000, ...options });

const sleep = async (ms: number): Promise<void> =>
  await new Promise((resolve) => setTimeout(resolve, ms));

beforeEach(async () => {
  server = await FakeServer.start();
  client = await open();
});

afterEach(async () => {
  await client.close();
  await server.remove();
});

const at = (path: string): string => `kangaroo://far/${path}`;

test('what is put arrives in order, in few frames, and commit covers it', async () => {
  for (let i = 0; i < 500; i += 1)
    await client.write(at('log'), i * 4, Buffer.from(`${i}`.padEnd(4)));
  await client.commit();
  expect(server.records.map(({ head }) => head.seq)).toEqual(
    Array.from({ length: 500 }, (_, i) => i + 1),
  );
  expect(server.text('log')?.split(/\s+/).slice(0, 3)).toEqual(['0', '1', '2']);
  expect(server.putsFrames).toBeLessThan(520);
});

test('puts of one turn share a frame', async () => {
  const puts = Array.from(
    { length: 100 },
    async (_, i) => await client.write(at(`f${i}`), 0, Buffer.from('x')),
  );
  await Promise.all(puts);
  await client.commit();
  expect(server.putsFrames).toBe(1);
});

test('a write larger than a block is split and keeps its order with what follows', async () => {
  const data = Buffer.alloc(3 * limits.payloadBytesMax + 5, 'abcdefg');
  const write = client.write(at('big'), 10, data);
  const rename = client.rename(at('big'), at('done'));
  await Promise.all([write, rename]);
  await client.commit();
  expect(server.files.get('done')?.bytes.subarray(10).equals(data)).toBe(true);
  expect(server.records.at(-1)?.head.path2).toBe('done');
});

test('a lost connection is taken up again; nothing is lost or doubled', async () => {
  for (let i = 0; i < 50; i += 1) {
    await client.write(at('log'), i, Buffer.from('x'));
    if (i % 10 === 0) {
      client.session.flush();
      server.drop();
      await sleep(5);
    }
  }
  await client.commit();
  expect(server.records).toHaveLength(50);
  expect(server.text('log')).toBe('x'.repeat(50));
  expect(new Set(server.greetings).size).toBe(1);
  expect(server.greetings.length).toBeGreaterThan(1);
});

test('what a server forgot before the commit is sent again, marked as repeated', async () => {
  await client.write(at('a'), 0, Buffer.from('first'));
  await client.commit();
  await client.write(at('b'), 0, Buffer.from('second'));
  client.session.flush();
  await sleep(20);
  expect(server.records).toHaveLength(2);
  server.forgetUncommitted();
  server.files.delete('b');
  server.drop();
  await client.commit();
  expect(server.text('b')).toBe('second');
  expect(server.repeatedFrames).toHaveLength(1);
  expect(server.lowWaters).toEqual([0, 1]);
});

test('a server that is away for a while is waited for', async () => {
  await client.write(at('a'), 0, Buffer.from('1'));
  await server.stop();
  const commit = client.commit();
  await sleep(400);
  await server.listen();
  await commit;
  expect(server.text('a')).toBe('1');
});

test('a commit during which the connection breaks is asked for again', async () => {
  let cuts = 2;
  server.intercept = (frame, connection) => {
    if (frame.type !== MESSAGES.COMMIT.type || cuts === 0) return false;
    cuts -= 1;
    connection.close(null);
    return true;
  };
  await client.write(at('a'), 0, Buffer.from('1'));
  await client.commit();
  expect(server.records).toHaveLength(1);
});

test('a server that stays lost: DISCONNECTED with puts, UNREACHABLE without', async () => {
  await client.close();
  client = await open({ reconnectMs: 300 });
  await server.stop();
  const stat = client.stat(at('a'), { timeoutMs: 300 });
  await expect(stat).rejects.toMatchObject({ code: 'UNREACHABLE' });
  await client.write(at('a'), 0, Buffer.from('1'));
  const begin = performance.now();
  await expect(client.commit()).rejects.toMatchObject({ code: 'DISCONNECTED', exitStatus: 75 });
  await expect(client.commit({ timeoutMs: 50 })).rejects.toMatchObject({ exitStatus: 75 });
  expect(performance.now() - begin).toBeLessThan(2_000);
  // The session is as good as before once the server is back.
  await server.listen();
  await client.commit();
  expect(server.text('a')).toBe('1');
});

test('a server that never answers holds no call beyond its deadline or signal', async () => {
  server.intercept = (frame) => frame.type !== MESSAGES.HELLO.type;
  const begin = performance.now();
  await expect(client.commit({ timeoutMs: 50 })).rejects.toMatchObject({ code: 'NOT_YET' });
  await expect(client.push('', { timeoutMs: 50 })).rejects.toMatchObject({ code: 'NOT_YET' });
  await expect(client.stat(at('a'), { timeoutMs: 50 })).rejects.toMatchObject({ code: 'NOT_YET' });
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);
  const commit = client.commit({ signal: abort.signal });
  await expect(commit).rejects.toMatchObject({ code: 'INTERRUPTED', exitStatus: 130 });
  await expect(client.status('', { signal: abort.signal })).rejects.toMatchObject({
    code: 'INTERRUPTED',
  });
  expect(performance.now() - begin).toBeLessThan(4_000);
});

test('another spool than the one that has the puts is refused for good', async () => {
  await client.write(at('a'), 0, Buffer.from('1'));
  await client.commit();
  server.spoolId = 'cd'.repeat(16);
  server.drop();
  await sleep(5);
  await expect(client.commit()).rejects.toMatchObject({ code: 'DISCONNECTED' });
  await expect(client.write(at('a'), 0, Buffer.from('1'))).rejects.toThrow(/another spool/);
});

test('another spool is fine while nothing was put', async () => {
  server.spoolId = 'cd'.repeat(16);
  server.drop();
  await sleep(5);
  await client.write(at('a'), 0, Buffer.from('1'));
  await client.commit();
  expect(client.server.spoolId).toBe('cd'.repeat(16));
});

test('a refusal outside of any call ends the session with its reason', async () => {
  server.intercept = (frame, connection) => {
    if (frame.type !== MESSAGES.PUTS.type) return false;
    connection.sendError(new KangarooError('NO_ROUTE', 'far: no route'), 0);
    connection.socket.end();
    return true;
  };
  await client.write(at('a'), 0, Buffer.from('1'));
  await expect(client.commit()).rejects.toMatchObject({ code: 'NO_ROUTE' });
});

test('a commit that failed sends everything again before the next one', async () => {
  let failures = 1;
  server.intercept = (frame, connection) => {
    if (frame.type !== MESSAGES.COMMIT.type || failures === 0) return false;
    failures -= 1;
    server.forgetUncommitted();
    connection.sendError(new KangarooError('SPOOL_FAILED', 'fdatasync: EIO'), frame.callId);
    return true;
  };
  await client.write(at('a'), 0, Buffer.from('1'));
  await expect(client.commit()).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
  expect(server.records).toHaveLength(0);
  await client.commit();
  expect(server.records).toHaveLength(1);
});

test('the window is bounded: puts wait, in order, for commits', async () => {
  let reading: () => void = () => {};
  const stopped = new Promise<boolean>((resolve) => {
    reading = () => resolve(false);
  });
  server.intercept = (frame) => (frame.type === MESSAGES.PUTS.type ? stopped : false);
  const block = Buffer.alloc(limits.payloadBytesMax, 'w');
  const blocks = 2 * Math.ceil(limits.clientWindowBytesMax / block.length);
  const order: number[] = [];
  const puts = Array.from({ length: blocks }, async (_, i) => {
    await client.write(at(`big${i}`), 0, block);
    order.push(i);
  });
  await sleep(50);
  expect(client.session.heldBytes).toBeLessThanOrEqual(limits.clientWindowBytesMax);
  expect(order.length).toBeLessThan(blocks / 2 + 1);
  const late = client.write(at('late'), 0, block, { timeoutMs: 20 });
  await expect(late).rejects.toMatchObject({ code: 'NOT_YET' });
  reading();
  await Promise.all(puts);
  await client.commit();
  expect(order).toEqual(Array.from({ length: blocks }, (_, i) => i));
  expect(server.records).toHaveLength(blocks);
  expect(server.files.has('late')).toBe(false);
  expect(server.commits).toBeGreaterThan(1);
});

test('puts that wait for a lost server fail; those with a deadline wait for it', async () => {
  await client.close();
  client = await open({ reconnectMs: 300 });
  const block = Buffer.alloc(limits.payloadBytesMax);
  await server.stop();
  const room = Math.floor(limits.clientWindowBytesMax / block.length) - 1;
  for (let i = 0; i < room; i += 1) await client.write(at('big'), i * block.length, block);
  const patient = client.write(at('a'), 0, block, { timeoutMs: 10_000 });
  const hasty = client.write(at('b'), 0, block);
  await client.write(at('x'), 0, block, { timeoutMs: 1 }).catch(() => {});
  await expect(hasty).rejects.toMatchObject({ code: 'DISCONNECTED' });
  await server.listen();
  await patient;
  await client.commit();
  expect(server.files.has('a')).toBe(true);
  expect(server.files.has('b')).toBe(false);
});

test('goodbye is said when all is committed, and only then', async () => {
  await client.write(at('a'), 0, Buffer.from('1'));
  await client.close();
  await sleep(20);
  expect(server.byes).toBe(0);
  expect(server.text('a')).toBe('1');
  client = await open();
  await client.write(at('a'), 0, Buffer.from('2'));
  await client.commit();
  await client.close();
  await sleep(20);
  expect(server.byes).toBe(1);
  await expect(client.commit()).rejects.toMatchObject({ code: 'INTERRUPTED' });
  await client.close();
});

test('a session taken up by its id goes on behind what the server has of it', async () => {
  const senderId = 'c0'.repeat(16);
  await client.close();
  client = await open({ senderId });
  await client.write(at('a'), 0, Buffer.from('1'));
  await client.commit();
  await client.session.connection?.end();
  const again = await open({ senderId });
  await again.write(at('a'), 1, Buffer.from('2'));
  await again.commit();
  expect(server.text('a')).toBe('12');
  await again.close();
});
