/**
 * Options, environment, file and defaults become one checked ServerOptions, or one USAGE error
 * before anything is started.
 */
import { describe, expect, test } from 'vitest';
import { limits } from '../../../../src/base/limits.ts';
import {
  isLoopback,
  readMoverOptions,
  readServerOptions,
  type SettingSources,
} from '../../../../src/client/cli/server-options.ts';

function sources(flags: Record<string, unknown>, toml?: string): SettingSources {
  const file = toml === undefined ? null : { name: 'server.toml', text: toml };
  return { flags, env: { XDG_RUNTIME_DIR: '/run/user/7' }, home: '/home/u', file };
}

async function usageError(from: SettingSources): Promise<string> {
  const outcome = await readServerOptions(from).then(
    () => null,
    (error: unknown) => error,
  );
  expect(outcome).toMatchObject({ code: 'USAGE' });
  const { message, hint } = outcome as { message: string; hint: string };
  return `${message} (${hint})`;
}

test('a name is enough', async () => {
  expect(await readServerOptions(sources({ name: 'n7', mover: true }))).toEqual({
    name: 'n7',
    listen: [],
    socket: '/run/user/7/kangaroo/server.sock',
    export: null,
    spool: '/home/u/.local/state/kangaroo/n7',
    spoolLimitBytes: limits.spoolBytesDefault,
    allow: [],
    route: [],
    readyFile: null,
    mover: true,
    logLevel: 'warn',
  });
});

test('option over environment over file over default', async () => {
  const toml = 'name = "f"\nspool-limit = "1G"\nlog-level = "debug"\nmover = false\nspool = "s"\n';
  const base = sources({ name: 'o', mover: true }, toml);
  const options = await readServerOptions({ ...base, env: { KANGAROO_LOG: 'info' } });
  expect(options).toMatchObject({ name: 'o', spoolLimitBytes: 1024 ** 3, logLevel: 'info' });
  // Commander's `mover: true` is only the absence of --no-mover: the file counts.
  expect(options.mover).toBe(false);
  expect(options.spool).toBe(`${process.cwd()}/s`);
  expect((await readServerOptions(sources({ name: 'o', mover: false }))).mover).toBe(false);
});

test('a list on the command line replaces that of the file', async () => {
  const toml = 'name = "f"\nroute = ["a=h:1", "b=h:2"]\n';
  const { route } = await readServerOptions(sources({ route: ['c=h:3'] }, toml));
  expect(route).toEqual(['c=h:3']);
});

describe('refused before anything is started', () => {
  test.each([
    [{}, undefined, '--name'],
    [{ name: 'a b' }, undefined, 'not a server name'],
    [{ name: 'n', listen: ['0.0.0.0:9631'] }, undefined, '--allow'],
    [{ name: 'n', listen: ['[::]:0'] }, undefined, '--allow'],
    [{ name: 'n', listen: ['192.0.2.7:9631'] }, undefined, '--allow'],
    [{ name: 'n', listen: ['/tmp/s'] }, undefined, '--socket'],
    [{ name: 'n', listen: ['127.0.0.1'] }, undefined, 'host:port'],
    [{ name: 'n', route: ['archive'] }, undefined, 'PATTERN=ADDR'],
    [{ name: 'n', socket: `/${'x'.repeat(200)}` }, undefined, '--socket'],
    [{ name: 'n', socket: '' }, undefined, '--listen'],
    [{ name: 'n', spoolLimit: 'lots' }, undefined, '--spool-limit'],
    [{}, 'name = "n"\nexprt = "/x"\n', "did you mean 'export'?"],
    [{}, 'name = \n', 'server.toml:1:'],
  ])('%j %j', async (flags, toml, text) => {
    const said = await usageError(sources(flags, toml));
    expect(said).toContain(text);
    expect(said).not.toContain('\n');
  });
});

test('a listener that other machines reach is fine with an allow list', async () => {
  const flags = { name: 'n', listen: ['0.0.0.0:0'], allow: ['192.0.2.0/24'], socket: '' };
  expect(await readServerOptions(sources(flags))).toMatchObject({
    listen: ['0.0.0.0:0'],
    socket: null,
  });
});

test('loopback', () => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1']) {
    expect(isLoopback(host)).toBe(true);
  }
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.example.org', 'localhost.example.org']) {
    expect(isLoopback(host)).toBe(false);
  }
});

test('a mover takes its part of the same settings', async () => {
  const toml = 'name = "n"\nroute = ["a=h:1"]\nexport = "/srv"\nlog-level = "info"\n';
  expect(await readMoverOptions(sources({}, toml))).toEqual({
    spool: '/home/u/.local/state/kangaroo/n',
    routes: ['a=h:1'],
    logLevel: 'info',
  });
  await expect(readMoverOptions(sources({}))).rejects.toMatchObject({ code: 'USAGE' });
});
