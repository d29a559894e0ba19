/** Where a client looks for its server, and what it says when there is none. */
import { describe, expect, test } from 'vitest';
import { connect } from '../../../src/client/client.ts';
import { noServerError, serverCandidates } from '../../../src/client/locate.ts';
import { KangarooError } from '../../../src/base/errors.ts';
import { formatServerAddress } from '../../../src/protocol/server-address.ts';
import { FakeServer } from './fake-server.ts';

const shown = (server: string | undefined, environment: Record<string, string>): string[] =>
  serverCandidates(server, environment).map(formatServerAddress);

describe('candidates', () => {
  const usual = { XDG_RUNTIME_DIR: '/run/user/7', HOME: '/home/joe' };

  test('a name that was given is the only one', () => {
    const environment = { ...usual, KANGAROO_SERVER: 'relay:1' };
    expect(shown('/tmp/s.sock', environment)).toEqual(['unix:/tmp/s.sock']);
    expect(shown('host', environment)).toEqual(['host:9631']);
    expect(shown(undefined, environment)).toEqual(['relay:1']);
    expect(shown('', environment)).toEqual(['relay:1']);
  });

  test('the usual places, in their order', () => {
    expect(shown(undefined, usual)).toEqual([
      'unix:/run/user/7/kangaroo/server.sock',
      'unix:/home/joe/.kangaroo/server.sock',
      '127.0.0.1:9631',
    ]);
    expect(shown(undefined, { HOME: '/home/joe', XDG_RUNTIME_DIR: '' })).toEqual([
      'unix:/home/joe/.kangaroo/server.sock',
      '127.0.0.1:9631',
    ]);
  });

  test('nonsense is a usage error', () => {
    expect(() => serverCandidates('a:b:c', {})).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

test('the error lists all that was tried', () => {
  const failures = ['unix:/a: ENOENT', 'h:1: ECONNREFUSED'].map(
    (text) => new KangarooError('UNREACHABLE', text),
  );
  const error = noServerError(failures);
  expect(error.code).toBe('UNREACHABLE');
  expect(error.message).toContain('unix:/a: ENOENT; h:1: ECONNREFUSED');
});

test('nobody there is UNREACHABLE at once', async () => {
  const server = await FakeServer.start();
  await server.stop();
  await expect(connect({ server: server.socketPath })).rejects.toMatchObject({
    code: 'UNREACHABLE',
    exitStatus: 69,
  });
  await server.remove();
});

test('one that accepts and says nothing ends at the deadline', async () => {
  const server = await FakeServer.start();
  server.intercept = () => true;
  const begin = performance.now();
  await expect(connect({ server: server.socketPath, timeoutMs: 100 })).rejects.toMatchObject({
    exitStatus: expect.any(Number) as number,
  });
  expect(performance.now() - begin).toBeLessThan(2_000);
  await server.remove();
});
