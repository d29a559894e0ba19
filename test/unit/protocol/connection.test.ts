/**
 * Connections over real sockets: calls and what ends them, handlers that stop the reading, signs of
 * life while nothing is read, and input that no peer of ours would send.
 */
import { createServer, connect as connectSocket, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { deadlineIn, NEVER } from '../../../src/base/deadline.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { limits } from '../../../src/base/limits.ts';
import { Connection, decodeError, dial } from '../../../src/protocol/connection.ts';
import { encodePrefix, type Frame, FrameReader, PUTS_TYPE } from '../../../src/protocol/frame.ts';
import { checkHello, greet } from '../../../src/protocol/hello.ts';
import {
  decodeMessage,
  encodeMessage,
  HELLO_MAGIC,
  type Message,
  MESSAGES,
} from '../../../src/protocol/messages.ts';
import { NO_BYTES, NO_ID } from '../../../src/protocol/operation.ts';

let server: Server;
let sockets: Socket[];
beforeEach(async () => {
  sockets = [];
  server = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

const port = (): number => (server.address() as { readonly port: number }).port;
/** A socket that dialled and the one that was accepted. */
const rawPair = async (): Promise<readonly [near: Socket, far: Socket]> => {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connectSocket(port(), '127.0.0.1');
  await once(near, 'connect');
  const [far] = await accepted;
  sockets.push(near);
  near.on('error', () => {});
  far.on('error', () => {});
  return [near, far];
};
const pair = async (): Promise<readonly [Connection, Connection]> => {
  const [near, far] = await rawPair();
  return [new Connection(near, 'far'), new Connection(far, 'near')];
};
const pause = async (ms = 20): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, ms));
};
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await pause(2);
};
const framesOf = (socket: Socket): Frame[] => {
  const reader = new FrameReader();
  const frames: Frame[] = [];
  socket.on('data', (chunk: Buffer) => {
    reader.push(chunk);
    for (let frame = reader.next(); frame !== null; frame = reader.next()) frames.push(frame);
  });
  return frames;
};
const COMMIT = { lowWater: 1 };
const INCARNATION = { incarnation: 42 };

describe('a call', () => {
  test('gets its own answer, whatever the order of answers', async () => {
    const [near, far] = await pair();
    const asked: Frame[] = [];
    far.onFrame = (frame) => {
      asked.push(frame);
      if (asked.length < 3) return;
      for (const { callId, body } of asked.reverse()) {
        const incarnation = body.readUInt32LE(0) * 10;
        far.send('COMMITTED', { incarnation }, callId);
      }
    };
    const answers = await Promise.all(
      [1, 2, 3].map(async (lowWater) => {
        return await near.ask('COMMIT', { lowWater }, 'COMMITTED', { deadline: NEVER });
      }),
    );
    expect(answers.map(({ incarnation }) => incarnation)).toEqual([10, 20, 30]);
  });

  test('hands over parts until the answer comes', async () => {
    const [near, far] = await pair();
    far.onFrame = ({ callId }) => {
      for (const offset of [0, 3]) {
        far.send('DATA', { offset, bytes: Buffer.from('abc') }, callId);
      }
      far.send('DONE', {}, callId);
    };
    const parts: string[] = [];
    await near.ask('COMMIT', COMMIT, 'DONE', {
      deadline: NEVER,
      onPart: (frame) => parts.push(decodeMessage('DATA', frame).bytes.toString()),
    });
    expect(parts).toEqual(['abc', 'abc']);
  });

  test('ends with the error that the other side sent, unknown codes as INTERNAL', async () => {
    const [near, far] = await pair();
    const types: number[] = [];
    far.onFrame = ({ type, callId, body }) => {
      types.push(type);
      const code = body.readUInt32LE(0) === 1 ? 'HELD' : 'OF_A_LATER_RELEASE';
      far.send('ERROR', { code, message: 'why', hint: 'what to do' }, callId);
    };
    const ask = (lowWater: number): Promise<unknown> => {
      return near.ask('COMMIT', { lowWater }, 'COMMITTED', { deadline: NEVER });
    };
    const held = { code: 'HELD', message: 'why', hint: 'what to do', exitStatus: 73 };
    await expect(ask(1)).rejects.toMatchObject(held);
    await expect(ask(2)).rejects.toMatchObject({ code: 'INTERNAL', message: 'why' });
    await near.ask('COMMIT', COMMIT, 'COMMITTED', { deadline: deadlineIn(50) }).catch(() => {});
    // Nothing is taken back that has been answered.
    expect(new Set(types)).toEqual(new Set([MESSAGES.COMMIT.type]));
  });

  test('with an answer of another kind is PROTOCOL', async () => {
    const [near, far] = await pair();
    far.onFrame = ({ callId }) => far.send('DONE', {}, callId);
    const asked = near.ask('COMMIT', COMMIT, 'COMMITTED', { deadline: NEVER });
    await expect(asked).rejects.toMatchObject({ code: 'PROTOCOL' });
  });

  test('ends at its deadline and takes the request back', async () => {
    const [near, far] = await pair();
    const seen: Frame[] = [];
    far.onFrame = (frame) => void seen.push(frame);
    const asked = near.ask('COMMIT', COMMIT, 'COMMITTED', { deadline: deadlineIn(30) });
    await expect(asked).rejects.toMatchObject({ code: 'NOT_YET' });
    await until(() => seen.length === 2);
    expect(seen.map(({ type }) => type)).toEqual([MESSAGES.COMMIT.type, MESSAGES.CANCEL.type]);
    expect(seen[1]?.callId).toBe(seen[0]?.callId);
    // An answer that comes late belongs to nobody, and disturbs nobody.
    const late: Frame[] = [];
    near.onFrame = (frame) => void late.push(frame);
    far.send('COMMITTED', INCARNATION, seen[0]?.callId ?? 0);
    await until(() => late.length === 1);
    expect(near.isOpen).toBe(true);
  });

  test('ends when it is aborted, before or meanwhile', async () => {
    const [near, far] = await pair();
    const seen: Frame[] = [];
    far.onFrame = (frame) => void seen.push(frame);
    const stop = new AbortController();
    const options = { deadline: NEVER, signal: stop.signal };
    const asked = near.ask('COMMIT', COMMIT, 'COMMITTED', options);
    setTimeout(() => stop.abort(), 10);
    await expect(asked).rejects.toMatchObject({ code: 'INTERRUPTED' });
    const again = near.ask('COMMIT', COMMIT, 'COMMITTED', options);
    await expect(again).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await until(() => seen.filter(({ type }) => type === MESSAGES.CANCEL.type).length === 2);
  });

  test('ends as DISCONNECTED when the connection does: the outcome is unknown', async () => {
    const [near, far] = await pair();
    far.onFrame = () => far.close(null);
    const asked = near.ask('COMMIT', COMMIT, 'COMMITTED', { deadline: NEVER });
    await expect(asked).rejects.toMatchObject({ code: 'DISCONNECTED' });
    await expect(near.call('PING', {}, { deadline: NEVER })).rejects.toMatchObject({
      code: 'DISCONNECTED',
    });
  });
});

describe('the end', () => {
  test('between two frames is a good one', async () => {
    const [near, far] = await pair();
    near.send('BYE', {});
    const seen: number[] = [];
    far.onFrame = ({ type }) => void seen.push(type);
    await near.end();
    expect(await far.closed).toBeNull();
    expect(seen).toEqual([MESSAGES.BYE.type]);
  });

  test('in the middle of a frame is not', async () => {
    const whole = encodeMessage('COMMIT', COMMIT, 1);
    for (const length of [1, 15, 16, whole.length - 1]) {
      const [near, far] = await rawPair();
      const connection = new Connection(far, 'near');
      near.end(whole.subarray(0, length));
      expect(await connection.closed).toMatchObject({ code: 'DISCONNECTED' });
    }
  });

  test('by a reset is DISCONNECTED, and closing again does nothing', async () => {
    const [near, far] = await pair();
    near.socket.resetAndDestroy();
    const error = await far.closed;
    expect(error).toMatchObject({ code: 'DISCONNECTED' });
    far.close(new KangarooError('INTERNAL', 'other'));
    expect(await far.closed).toBe(error);
    far.send('PING', {});
    await expect(far.roomToSend()).rejects.toMatchObject({ code: 'DISCONNECTED' });
  });
});

describe('bad input', () => {
  const fate = async (
    bytes: Buffer,
  ): Promise<{ readonly told: Frame[]; readonly end: unknown }> => {
    const [near, far] = await rawPair();
    const connection = new Connection(far, 'near');
    const told = framesOf(near);
    near.write(bytes);
    const end = await connection.closed;
    await Promise.race([once(near, 'close'), pause(200)]);
    return { told, end };
  };

  test('of any kind is told and ends the connection', async () => {
    const damaged = encodeMessage('COMMIT', COMMIT, 1);
    damaged[20] = (damaged[20] as number) ^ 1;
    const giant = encodePrefix(PUTS_TYPE, 0, limits.greetingBytesMax + 1, 0);
    for (const bytes of [
      damaged,
      giant,
      Buffer.alloc(64, 0xff),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    ]) {
      const { told, end } = await fate(bytes);
      expect(end).toMatchObject({ code: 'PROTOCOL' });
      expect(decodeError(told[0] as Frame)).toMatchObject({ code: 'PROTOCOL' });
    }
  });

  test('that a handler refuses is told with its code', async () => {
    const [near, far] = await pair();
    far.onFrame = () => {
      throw new KangarooError('CORRUPT', 'a record: checksum');
    };
    let told: KangarooError | null = null;
    near.onFrame = (frame) => {
      told = decodeError(frame);
    };
    near.send('COMMIT', COMMIT);
    expect(await far.closed).toMatchObject({ code: 'CORRUPT' });
    await until(() => told !== null);
    expect(told).toMatchObject({ code: 'CORRUPT', message: 'a record: checksum' });
  });
});

describe('back-pressure', () => {
  test('a handler that takes its time stops the reading, and then all comes in order', async () => {
    const [near, far] = await pair();
    far.welcome();
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const seen: number[] = [];
    far.onFrame = async (frame) => {
      seen.push(decodeMessage('DATA', frame).offset);
      if (seen.length === 1) await gate;
    };
    const bytes = Buffer.alloc(100_000, 7);
    const count = 300;
    let sent = 0;
    const sending = (async () => {
      for (; sent < count; sent++) {
        await near.roomToSend();
        near.send('DATA', { offset: sent, bytes });
      }
    })();
    await pause(150);
    const read = far.socket.bytesRead;
    expect(seen).toEqual([0]);
    expect(sent).toBeLessThan(count);
    expect(near.queuedBytes).toBeLessThanOrEqual(limits.sendQueueBytesMax + bytes.length + 100);
    await pause(100);
    expect(far.socket.bytesRead).toBe(read);
    expect(read).toBeLessThan(2_000_000);
    open();
    await sending;
    await until(() => seen.length === count);
    expect(seen).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  test('on one way leaves the other free', async () => {
    const [near, far] = await pair();
    let open = (): void => {};
    far.onFrame = async () => {
      await new Promise<void>((resolve) => {
        open = resolve;
      });
    };
    const seen: Frame[] = [];
    near.onFrame = (frame) => void seen.push(frame);
    near.send('COMMIT', COMMIT);
    await pause(30);
    for (let i = 0; i < 20; i++) far.send('COMMITTED', INCARNATION);
    await until(() => seen.length === 20);
    open();
  });
});

describe('signs of life', () => {
  /** Intervals by hand, and a clock that goes with them. */
  const timeMachine = (): ((ms: number) => Promise<void>) => {
    const now = performance.now.bind(performance);
    let skewMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => now() + skewMs);
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    return async (ms) => {
      for (let done = 0; done < ms; done += 1_000) {
        skewMs += 1_000;
        vi.advanceTimersByTime(1_000);
        await pause(1);
      }
    };
  };

  test('come from a side that has stopped reading, so that nobody gives it up', async () => {
    const pass = timeMachine();
    const [near, far] = await pair();
    near.startHeartbeat();
    far.startHeartbeat();
    let open = (): void => {};
    let handled = 0;
    far.onFrame = async () => {
      handled += 1;
      await new Promise<void>((resolve) => {
        open = resolve;
      });
    };
    near.send('COMMIT', COMMIT);
    await until(() => handled === 1);
    await pass(5 * limits.linkSilenceMs);
    expect([near.isOpen, far.isOpen]).toEqual([true, true]);
    open();
    near.send('COMMIT', COMMIT);
    await until(() => handled === 2);
    open();
  });

  test('that are missing end the connection', async () => {
    const pass = timeMachine();
    const [near, far] = await rawPair();
    const connection = new Connection(near, 'far');
    connection.startHeartbeat();
    far.resume();
    await pass(limits.linkSilenceMs + 2 * limits.pingEveryMs);
    expect(await connection.closed).toMatchObject({
      code: 'DISCONNECTED',
      message: expect.stringContaining('no sign of life') as unknown,
    });
  });

  test('are answered, and reach no handler', async () => {
    const [near, far] = await rawPair();
    const connection = new Connection(far, 'near');
    const handled: Frame[] = [];
    connection.onFrame = (frame) => void handled.push(frame);
    const told = framesOf(near);
    near.write(encodeMessage('PING', {}));
    near.write(encodeMessage('PONG', {}));
    await until(() => told.length === 1);
    expect(told[0]?.type).toBe(MESSAGES.PONG.type);
    expect(handled).toEqual([]);
  });
});

describe('dialling', () => {
  test('nobody is UNREACHABLE, by either kind of address', async () => {
    const tcp = dial({ kind: 'tcp', host: '127.0.0.1', port: 1 }, deadlineIn(3_000));
    await expect(tcp).rejects.toMatchObject({ code: 'UNREACHABLE', exitStatus: 69 });
    const unix = dial({ kind: 'unix', path: '/nonexistent/socket' }, deadlineIn(3_000));
    await expect(unix).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});

describe('the handshake', () => {
  const hello: Message<'HELLO'> = {
    magic: HELLO_MAGIC,
    versionMin: 1,
    versionMax: 1,
    role: 'client',
    senderId: 'ab'.repeat(16),
    method: 'address',
    credential: NO_BYTES,
    software: 'a test',
  };

  test('says who is there, and raises the bound on frames only for whoever is welcome', async () => {
    const [near, far] = await pair();
    far.onFrame = (frame) => {
      expect(checkHello(decodeMessage('HELLO', frame))).toBe('relay');
      far.welcome();
      const welcome = {
        version: 1,
        serverName: 'archive',
        spoolId: 'cd'.repeat(16),
        incarnation: 9,
        takenFloor: 7,
        spoolDirectory: '',
        software: 'a test',
        board: '',
      };
      far.send('WELCOME', welcome, frame.callId);
    };
    const welcome = await greet(near, 'relay', 'ab'.repeat(16), deadlineIn(2_000));
    expect(welcome).toMatchObject({ serverName: 'archive', takenFloor: 7 });
  });

  test.each([
    ['PROTOCOL', { magic: 1 }],
    ['PROTOCOL', { role: 'king' }],
    ['PROTOCOL', { senderId: NO_ID }],
    ['VERSION', { versionMin: 2, versionMax: 9 }],
    ['VERSION', { versionMin: 0, versionMax: 0 }],
    ['DENIED', { method: 'token' }],
  ])('is refused as %s for %j', (code, parts) => {
    const check = (): unknown => checkHello({ ...hello, ...parts });
    expect(check).toThrow(expect.objectContaining({ code }));
  });

  test('is good for a range of versions, and for a mover without an id', () => {
    expect(checkHello({ ...hello, versionMin: 0, versionMax: 5 })).toBe('client');
    expect(checkHello({ ...hello, role: 'mover', senderId: NO_ID })).toBe('mover');
  });
});
