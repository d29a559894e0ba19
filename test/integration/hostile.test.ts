/**
 * Clients that mean no good, or are broken: silent, torn, gigantic, noise. Each loses its own
 * connection and nothing else: the server stays up, its memory stays where it was, and an honest
 * client beside them does not notice (invariant I15).
 */
import { randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PREFIX_BYTES } from '../../src/protocol/frame.ts';
import { encodeMessage, HELLO_MAGIC, PROTOCOL_VERSION } from '../../src/protocol/messages.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import { startProgram, program } from '../support/kangaroo.ts';
import { openDescriptors, residentMiB } from '../support/proc.ts';
import { pause } from '../support/wait.ts';

let cluster: Cluster;
let server: Hop;
const sockets = new Set<Socket>();

beforeAll(async () => {
  cluster = new Cluster();
  server = cluster.add({ name: 'last', exports: true });
  await server.start();
  await honest();
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await cluster.close();
});

interface Stranger {
  readonly socket: Socket;
  /** Resolves when the server has ended the connection, with what it said before. */
  readonly ended: Promise<Buffer>;
}

async function stranger(path?: string): Promise<Stranger> {
  const [host = '', port = ''] = server.address.split(':');
  const socket = path === undefined ? connect(Number(port), host) : connect(path);
  sockets.add(socket);
  const heard: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => heard.push(bytes));
  socket.on('error', () => {
    // A reset is one way of being thrown out.
  });
  const ended = new Promise<Buffer>((resolve) => {
    socket.once('end', () => resolve(Buffer.concat(heard)));
    socket.once('close', () => resolve(Buffer.concat(heard)));
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  return { socket, ended };
}

function hello(role: string, senderId = randomBytes(16).toString('hex')): Buffer {
  return encodeMessage(
    'HELLO',
    {
      magic: HELLO_MAGIC,
      versionMin: PROTOCOL_VERSION,
      versionMax: PROTOCOL_VERSION,
      role,
      senderId,
      method: 'address',
      credential: Buffer.alloc(0),
      software: 'a stranger',
    },
    1,
  );
}

/** An honest client's put must go through. */
async function honest(): Promise<void> {
  const input = randomBytes(300_000);
  const put = await server.run(['put', '-', 'kangaroo://last/honest', '--push'], { input });
  expect(put).toMatchObject({ status: 0, stderr: '' });
  const got = await server.run(['get', 'kangaroo://last/honest', '-']);
  expect(got.stdout.equals(input)).toBe(true);
}

async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  const late = pause(ms).then(() => {
    throw new Error(`${what}: not within ${ms} ms`);
  });
  return await Promise.race([work, late]);
}

/** The prefix of a frame that would fill the memory. */
const giant = Buffer.alloc(PREFIX_BYTES);
giant.writeUInt32LE(0xffff_fff0);

const AT_ONCE: Readonly<Record<string, readonly Buffer[]>> = {
  'a giant length': [giant],
  'a web browser': [Buffer.from('GET / HTTP/1.1\r\nHost: archive\r\n\r\n')],
  noise: [randomBytes(100_000)],
  'a giant length after a proper greeting': [hello('client'), giant],
  'noise after a proper greeting': [hello('client'), randomBytes(100_000)],
  'two greetings': [hello('client'), hello('client')],
  'an unknown role': [hello('king')],
  'a mover from outside': [hello('mover')],
  'no sender id': [hello('relay', '0'.repeat(32))],
};

describe('thrown out at once', () => {
  test.each(Object.keys(AT_ONCE))('%s', async (name) => {
    const { socket, ended } = await stranger();
    for (const bytes of AT_ONCE[name] ?? []) socket.write(bytes);
    await within(5_000, name, ended);
    await honest();
  });
});

describe('memory and patience', () => {
  test('the silent and the half-hearted are given 10 seconds', async () => {
    const silent = await stranger();
    const half = await stranger();
    half.socket.write(hello('client').subarray(0, 20));
    const [, ...rest] = await Promise.all([
      honest(),
      within(15_000, 'silent', silent.ended),
      within(15_000, 'half a greeting', half.ended),
    ]);
    expect(rest).toHaveLength(2);
  });

  test('hundreds of half frames and noise: memory and descriptors stay', async () => {
    await honest();
    const before = residentMiB(server.pid);
    const descriptors = openDescriptors(server.pid);
    for (let round = 0; round < 5; round++) {
      const all = await Promise.all(Array.from({ length: 100 }, () => stranger()));
      for (const [i, { socket }] of all.entries()) {
        if (i % 3 === 0) socket.write(randomBytes(8_000));
        if (i % 3 === 1) socket.write(giant);
        // A large frame is announced and never comes.
        if (i % 3 === 2) {
          const announced = Buffer.alloc(200_000);
          announced.writeUInt32LE(1_000_000);
          announced[4] = 3;
          socket.write(Buffer.concat([hello('client'), announced]));
        }
      }
      await honest();
      for (const { socket } of all) socket.destroy();
    }
    await pause(500);
    await honest();
    expect(residentMiB(server.pid) - before).toBeLessThan(120);
    expect(openDescriptors(server.pid)).toBeLessThan(descriptors + 20);
    expect(server.log).not.toContain('INTERNAL');
  });

  test('one that asks for much and never reads the answers', async () => {
    const input = randomBytes(4_194_304);
    const put = await server.run(['put', '-', 'kangaroo://last/wide', '--push'], { input });
    expect(put.status, put.stderr).toBe(0);
    const { socket } = await stranger();
    socket.pause();
    socket.write(hello('client'));
    const before = residentMiB(server.pid);
    for (let i = 0; i < 1_000; i++) {
      const get = { name: 'last', path: 'wide', offset: 0, length: input.length };
      socket.write(encodeMessage('GET', { ...get, timeoutMs: 60_000, hops: 0 }, i + 2));
    }
    await pause(3_000);
    await honest();
    const grown = residentMiB(server.pid) - before;
    socket.destroy();
    // 256 requests at a time of 4 MiB each would be a gibibyte.
    expect(grown).toBeLessThan(400);
  });
});

describe('where one may come from', () => {
  const isRoot = process.getuid?.() === 0;
  const space = `kg${process.pid}`;

  test.skipIf(!isRoot)(
    'an address that is not allowed is refused, an allowed one is not',
    async () => {
      const ip = (...args: string[]): boolean => spawnSync('ip', args).status === 0;
      const made =
        ip('netns', 'add', space) &&
        ip('link', 'add', `${space}a`, 'type', 'veth', 'peer', 'name', `${space}b`, 'netns', space);
      try {
        if (!made) {
          console.log('skipped: network namespaces are not possible here');
          return;
        }
        ip('addr', 'add', '10.213.7.1/24', 'dev', `${space}a`);
        ip('link', 'set', `${space}a`, 'up');
        ip('-n', space, 'addr', 'add', '10.213.7.2/24', 'dev', `${space}b`);
        ip('-n', space, 'addr', 'add', '10.213.7.3/24', 'dev', `${space}b`);
        ip('-n', space, 'link', 'set', `${space}b`, 'up');
        const open = cluster.add({
          name: 'open',
          exports: true,
          args: ['--listen', '10.213.7.1:0', '--allow', '10.213.7.2/32'],
        });
        await open.start();
        const address = open.ready.listen.find((text) => text.startsWith('10.')) ?? '';
        const ask = async (from: string): Promise<number | null> => {
          ip('-n', space, 'route', 'replace', '10.213.7.0/24', 'dev', `${space}b`, 'src', from);
          const line = ['netns', 'exec', space, program, 'status', '--server', address];
          const run = await startProgram('ip', line, { env: cluster.env, input: '' }).result;
          return run.status;
        };
        expect(await ask('10.213.7.2')).toBe(0);
        expect(await ask('10.213.7.3')).toBe(77);
        expect(open.log).toContain('10.213.7.3');
      } finally {
        ip('netns', 'del', space);
        ip('link', 'del', `${space}a`);
      }
    },
  );
  if (!isRoot) console.log('skipped: an address that is not allowed needs root (veth)');

  test('without --allow a server does not listen for other machines', async () => {
    const line = ['server', '--name', 'x', '--listen', '0.0.0.0:0', '--socket', ''];
    expect((await server.run(line)).status).toBe(2);
  });
});
