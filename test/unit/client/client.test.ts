/** The calls of a client, one by one: what they send, what they make of the answer. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connect, type Entry, type Kangaroo } from '../../../src/client/client.ts';
import { limits } from '../../../src/base/limits.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { decodeMessage, MESSAGES } from '../../../src/protocol/messages.ts';
import { FLAGS, KIND } from '../../../src/protocol/operation.ts';
import { FakeServer } from './fake-server.ts';

let server: FakeServer;
let client: Kangaroo;

beforeEach(async () => {
  server = await FakeServer.start();
  client = await connect({ server: server.socketPath });
});

afterEach(async () => {
  await client.close();
  await server.remove();
});

const at = (path: string): string => `kangaroo://far/${path}`;

function file(path: string, bytes: Buffer | string): void {
  server.files.set(path, { bytes: Buffer.from(bytes), mode: 0o640, mtimeNs: 123n, kind: 1 });
}

describe('what changes something', () => {
  test('each call is the operation it says', async () => {
    await client.truncate(at('f'), 77);
    await client.setAttributes('/kangaroo/far/f', { mode: 0o600, mtimeNs: 5n });
    await client.mkdir(at('d/e'), { parents: true, mode: 0o711 });
    await client.rename(at('f'), at('d/g'));
    await client.remove(at('d/g'));
    await client.remove(at('d/e'), { directory: true });
    await client.commit();
    const seen = server.records.map(({ head }) => [head.kind, head.flags, head.path, head.path2]);
    expect(seen).toEqual([
      [KIND.write, FLAGS.TRUNCATE, 'f', ''],
      [KIND.write, FLAGS.MODE | FLAGS.MTIME, 'f', ''],
      [KIND.mkdir, FLAGS.PARENTS | FLAGS.MODE, 'd/e', ''],
      [KIND.rename, 0, 'f', 'd/g'],
      [KIND.remove, 0, 'd/g', ''],
      [KIND.remove, FLAGS.DIRECTORY, 'd/e', ''],
    ]);
    expect(server.records[0]?.head).toMatchObject({ size: 77, name: 'far' });
    expect(server.records[1]?.head).toMatchObject({ mode: 0o600, mtimeNs: 5n });
  });

  test('an empty write makes the file', async () => {
    await client.write(at('empty'), 0, new Uint8Array());
    await client.commit();
    expect(server.text('empty')).toBe('');
  });

  test('wrong use is a usage error and sends nothing', async () => {
    const wrong = [
      client.write(at('f'), -1, Buffer.from('x')),
      client.write('file', 0, Buffer.from('x')),
      client.write(at('a/../b'), 0, Buffer.from('x')),
      client.truncate(at('f'), 0.5),
      client.rename(at('f'), 'kangaroo://near/f'),
      client.remove(at('')),
      client.commit({ timeoutMs: Number.NaN }),
    ];
    for (const call of wrong) await expect(call).rejects.toMatchObject({ code: 'USAGE' });
    await client.commit();
    expect(server.records).toHaveLength(0);
  });
});

describe('what asks', () => {
  test('stat: facts, or NOT_FOUND', async () => {
    file('f', 'hello');
    const facts = await client.stat(at('f'));
    expect(facts).toMatchObject({ kind: 'file', size: 5, mode: 0o640, mtimeNs: 123n });
    await expect(client.stat(at('g'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('list: all entries over several pages, with addresses for any bytes', async () => {
    const names = ['a', 'b', 'c', 'd', 'x\xff', 'z'];
    for (const name of names) file(`dir/${name}`, `in ${name.length}`);
    file('dir/sub/deep', '');
    const entries: Entry[] = [];
    for await (const entry of client.list(at('dir'))) entries.push(entry);
    expect(entries.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd', 'sub', 'x\xff', 'z']);
    expect(entries.map(({ kind }) => kind).indexOf('directory')).toBe(4);
    const odd = entries[5] as Entry;
    expect((await client.read(odd.address, 0, 9)).toString()).toBe('in 2');
  });

  test.each([
    ['..', 'a name that leads out'],
    ['a/b', 'a path for a name'],
    ['', 'no name'],
    ['a\0b', 'NUL'],
  ])('list: %j is refused (%s)', async (name) => {
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.LIST.type) return false;
      const entries = [{ name, kind: 1, size: 0, mode: 0, mtimeNs: 0n }];
      connection.send('LISTED', { more: false, entries }, frame.callId);
      return true;
    };
    const all = async (): Promise<void> => {
      for await (const _ of client.list(at('dir'))) continue;
    };
    await expect(all()).rejects.toMatchObject({ code: 'PROTOCOL' });
  });

  test('list: a server that begins again and again is found out', async () => {
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.LIST.type) return false;
      const entries = [{ name: 'a', kind: 1, size: 0, mode: 0, mtimeNs: 0n }];
      connection.send('LISTED', { more: true, entries }, frame.callId);
      return true;
    };
    const all = async (): Promise<void> => {
      for await (const _ of client.list(at('dir'))) continue;
    };
    await expect(all()).rejects.toMatchObject({ code: 'PROTOCOL' });
  });

  test('push, status, messages, retry, discard', async () => {
    const progress: unknown[] = [];
    await client.push('far', { onProgress: (one) => progress.push(one) });
    expect(progress).toEqual([{ operations: 3, bytes: 42, where: 'far', reason: 'away' }]);
    expect(await client.status(at('d'))).toMatchObject({
      question: { target: at('d'), files: true },
    });
    expect(await client.status()).toMatchObject({ question: { target: '', files: false } });
    expect(await client.messages({ after: 3 })).toMatchObject({ last: 7, question: { after: 3 } });
    expect(await client.retry()).toBe(2);
    expect(await client.discard(at('f'))).toBe(3);
  });

  test('push sends the target and the time left, and covers what was put before', async () => {
    let seen: unknown;
    server.intercept = (frame) => {
      if (frame.type === MESSAGES.PUSH.type) {
        seen = { ...decodeMessage('PUSH', frame), records: server.records.length };
      }
      return false;
    };
    await client.write(at('a'), 0, Buffer.from('1'));
    await client.push(at('dir/'), { timeoutMs: 5_000 });
    expect(seen).toMatchObject({
      target: at('dir'),
      originId: '0'.repeat(32),
      hops: 0,
      records: 1,
    });
    expect((seen as { timeoutMs: number }).timeoutMs).toBeGreaterThan(4_000);
  });

  test("the server's own error arrives with its code and hint", async () => {
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.PUSH.type) return false;
      const error = new KangarooError('HELD', 'far: EACCES', { hint: 'chmod it' });
      connection.sendError(error, frame.callId);
      return true;
    };
    const push = client.push();
    await expect(push).rejects.toMatchObject({
      code: 'HELD',
      message: 'far: EACCES',
      hint: 'chmod it',
    });
  });

  test('an answer that is no document is a protocol error', async () => {
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.ASK.type) return false;
      connection.send('DOCUMENT', { json: '{"server": 1' }, frame.callId);
      return true;
    };
    await expect(client.status()).rejects.toMatchObject({ code: 'PROTOCOL' });
  });
});

describe('reading', () => {
  const data = Buffer.alloc(3 * limits.getBytesMax + 12_345);
  for (let i = 0; i < data.length; i += 4)
    data.writeUInt32LE(i, i > data.length - 4 ? data.length - 4 : i);

  test('read: any range, short only at the end', async () => {
    file('f', data);
    const two = limits.getBytesMax * 2;
    expect((await client.read(at('f'), 7, two)).equals(data.subarray(7, 7 + two))).toBe(true);
    expect((await client.read(at('f'), data.length - 3, 10)).equals(data.subarray(-3))).toBe(true);
    expect(await client.read(at('f'), data.length + 5, 10)).toHaveLength(0);
    expect(await client.read(at('f'), 0, 0)).toHaveLength(0);
    await expect(client.read(at('g'), 0, 1)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test.each([
    [0, undefined],
    [5, limits.getBytesMax],
    [limits.getBytesMax, limits.getBytesMax],
    [1, data.length],
    [data.length, undefined],
  ])('stream from %d, %s bytes', async (offset, length) => {
    file('f', data);
    const parts: Buffer[] = [];
    for await (const part of client.createReadStream(at('f'), { offset, length })) {
      parts.push(part as Buffer);
    }
    const wanted = data.subarray(offset, length === undefined ? undefined : offset + length);
    expect(Buffer.concat(parts).equals(wanted)).toBe(true);
  });

  test('a lost connection in the middle of a stream is not noticed', async () => {
    file('f', data);
    let gets = 0;
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.GET.type || ++gets !== 2) return false;
      const { offset } = decodeMessage('GET', frame);
      const bytes = data.subarray(offset, offset + 1000);
      connection.send('DATA', { offset, bytes }, frame.callId);
      setTimeout(() => connection.close(null), 20);
      return true;
    };
    const parts: Buffer[] = [];
    for await (const part of client.readChunks(at('f'))) parts.push(part);
    expect(Buffer.concat(parts).equals(data)).toBe(true);
  });

  test('a reader that stops makes the asking stop', async () => {
    file('f', Buffer.alloc(20 * limits.getBytesMax));
    let gets = 0;
    server.intercept = (frame) => {
      if (frame.type === MESSAGES.GET.type) gets += 1;
      return false;
    };
    const stream = client.createReadStream(at('f'));
    await new Promise((resolve) => stream.once('readable', resolve));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(gets).toBeLessThanOrEqual(limits.getsAheadMax + 1);
    stream.destroy();
  });

  test.each([
    ['a gap', 5, 10],
    ['too much', 0, 200],
  ])('%s in the data is a protocol error', async (_what, shift, length) => {
    server.intercept = (frame, connection) => {
      if (frame.type !== MESSAGES.GET.type) return false;
      connection.send('DATA', { offset: shift, bytes: Buffer.alloc(length) }, frame.callId);
      const found = { kind: 1, size: 100, mode: 0, mtimeNs: 0n, pendingBytes: 0 };
      connection.send('FOUND', found, frame.callId);
      return true;
    };
    await expect(client.read(at('f'), 0, 100)).rejects.toMatchObject({ code: 'PROTOCOL' });
  });
});

describe('a stream to write into', () => {
  test('a short one is a single record with everything in it', async () => {
    const stream = client.createWriteStream(at('d/f'), { parents: true, mode: 0o600, mtimeNs: 9n });
    await pipeline(Readable.from([Buffer.from('hel'), Buffer.from('lo')]), stream);
    await client.commit();
    expect(server.records).toHaveLength(1);
    const { CREATE, TRUNCATE, PARENTS, MODE, MTIME } = FLAGS;
    const flags = CREATE | TRUNCATE | PARENTS | MODE | MTIME;
    expect(server.records[0]?.head).toMatchObject({ flags, mode: 0o600, mtimeNs: 9n, size: 0 });
    expect(server.text('d/f')).toBe('hello');
  });

  test('an empty one makes an empty file', async () => {
    file('f', 'old');
    await pipeline(Readable.from([]), client.createWriteStream(at('f')));
    await client.commit();
    expect(server.text('f')).toBe('');
  });

  test('a long one is blocks; created first, mode last, nothing lost', async () => {
    const chunks = Array.from({ length: 50 }, (_, i) => Buffer.alloc(70_000 + i, i + 1));
    await pipeline(Readable.from(chunks), client.createWriteStream(at('f'), { mode: 0o400 }));
    await client.commit();
    const flags = server.records.map(({ head }) => head.flags);
    expect(flags[0]).toBe(FLAGS.CREATE | FLAGS.TRUNCATE);
    expect(flags.at(-1)).toBe(FLAGS.MODE);
    expect(flags.slice(1, -1).every((one) => one === 0)).toBe(true);
    expect(server.files.get('f')?.bytes.equals(Buffer.concat(chunks))).toBe(true);
  });

  test('a length of whole blocks still ends with the mode', async () => {
    const chunk = Buffer.alloc(limits.payloadBytesMax, 'x');
    await pipeline(
      Readable.from([chunk, chunk]),
      client.createWriteStream(at('f'), { mode: 0o400 }),
    );
    await client.commit();
    expect(server.files.get('f')).toMatchObject({ mode: 0o400 });
    expect(server.files.get('f')?.bytes.length).toBe(2 * chunk.length);
  });

  test('at an offset it leaves the rest alone', async () => {
    file('f', '0123456789');
    const stream = client.createWriteStream(at('f'), { offset: 4 });
    stream.end('AB');
    await new Promise((resolve) => stream.on('finish', resolve));
    await client.commit();
    expect(server.text('f')).toBe('0123AB6789');
  });

  test('what a slow writer wrote is put after a while', async () => {
    const stream = client.createWriteStream(at('f'));
    stream.write('so far');
    await expect.poll(() => server.text('f'), { timeout: 5_000 }).toBe('so far');
    stream.end(', and more');
    await new Promise((resolve) => stream.on('finish', resolve));
    await client.commit();
    expect(server.text('f')).toBe('so far, and more');
  });

  test('an abort ends it with INTERRUPTED', async () => {
    const abort = new AbortController();
    const stream = client.createWriteStream(at('f'), { signal: abort.signal });
    const ended = new Promise((resolve) => stream.once('error', resolve));
    stream.write('x');
    abort.abort();
    expect(await ended).toMatchObject({ code: 'INTERRUPTED' });
  });
});
