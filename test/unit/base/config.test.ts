/**
 * The table of settings: what comes from a file, the environment or an option is converted and
 * checked, and what is not in the table is refused by name.
 */
import { describe, expect, test } from 'vitest';
import {
  defaultSocketPath,
  defaultSpoolPath,
  readEnvironment,
  readSettings,
  SERVER_SETTINGS,
} from '../../../src/base/config.ts';
import { LOG_LEVELS } from '../../../src/base/log.ts';
import { nearest } from '../../../src/base/nearest.ts';

const GiB = 1024 ** 3;

describe('reading', () => {
  test('every type of setting', () => {
    const raw = {
      name: 'archive',
      listen: ['127.0.0.1:0'],
      'spool-limit': '1.5G',
      mover: false,
      allow: '192.0.2.0/24',
      export: '/srv',
    };
    expect(readSettings(raw, 'f.toml')).toEqual({
      name: 'archive',
      listen: ['127.0.0.1:0'],
      spoolLimitBytes: 1.5 * GiB,
      mover: false,
      allow: ['192.0.2.0/24'],
      export: '/srv',
    });
    expect(readSettings({ 'spool-limit': 4096 }, 'f.toml')).toEqual({ spoolLimitBytes: 4096 });
  });

  test.each([
    [{ name: 7 }, 'f.toml: name'],
    [{ name: 'a/b' }, 'not a server name'],
    [{ 'spool-limit': '5 apples' }, 'f.toml: spool-limit'],
    [{ 'spool-limit': -1 }, 'f.toml: spool-limit'],
    [{ listen: [1] }, 'f.toml: listen'],
    [{ mover: 'no' }, 'not true or false'],
    [{ export: '' }, 'empty'],
    [{ 'log-level': 'loud' }, 'not one of'],
    [{ allow: ['10.0.0.0/33'] }, '0 to 32 bits'],
    [{ allow: ['fe80::1%eth0/64'] }, 'not ADDRESS/BITS'],
    [{ allow: ['10.0.0/8'] }, 'not ADDRESS/BITS'],
    [{ allow: ['10.0.0.0/8/8'] }, 'not ADDRESS/BITS'],
    [{ allow: ['host.example.org'] }, 'not ADDRESS/BITS'],
  ])('%j is refused', (raw, text) => {
    expect(() => readSettings(raw, 'f.toml')).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringContaining(text) as string }),
    );
  });

  test.each(['0.0.0.0/0', '192.0.2.7', '2001:db8::/32', '::/0', '::ffff:10.0.0.0/104'])(
    'the network %s is taken',
    (network) => {
      expect(readSettings({ allow: [network] }, 'f')).toEqual({ allow: [network] });
    },
  );

  test('an unknown key names the nearest known one', () => {
    expect(() => readSettings({ spool_limit: '1G' }, 'f.toml')).toThrow(
      expect.objectContaining({ code: 'USAGE', hint: "did you mean 'spool-limit'?" }),
    );
    expect(() => readSettings({ zzzzzz: 1 }, 'f.toml')).toThrow(
      expect.objectContaining({ message: "f.toml: there is no setting 'zzzzzz'" }),
    );
  });

  test('the environment, empty variables left out', () => {
    expect(readEnvironment({ KANGAROO_LOG: 'info' })).toEqual({ logLevel: 'info' });
    expect(readEnvironment({ KANGAROO_LOG: '' })).toEqual({});
    expect(() => readEnvironment({ KANGAROO_LOG: 'loud' })).toThrow(/KANGAROO_LOG/);
  });
});

test('the levels are those of the log', () => {
  const { check } = SERVER_SETTINGS.logLevel;
  for (const level of LOG_LEVELS) expect(check?.(level)).toBeNull();
  expect(check?.('')).toContain(LOG_LEVELS.join(' '));
});

test('keys are the long options', () => {
  for (const { key, flag } of Object.values(SERVER_SETTINGS)) {
    expect(flag.replace(/^--(no-)?/, '').replace(/ .*/, '')).toBe(key);
  }
});

test('default places', () => {
  expect(defaultSocketPath({ XDG_RUNTIME_DIR: '/run/user/7' }, '/home/u')).toBe(
    '/run/user/7/kangaroo/server.sock',
  );
  expect(defaultSocketPath({ XDG_RUNTIME_DIR: '' }, '/home/u')).toBe(
    '/home/u/.kangaroo/server.sock',
  );
  expect(defaultSpoolPath({}, '/home/u', 'n')).toBe('/home/u/.local/state/kangaroo/n');
  expect(defaultSpoolPath({ XDG_STATE_HOME: '/s' }, '/home/u', 'n')).toBe('/s/kangaroo/n');
});

test('nearest finds typing errors and nothing far away', () => {
  const words = ['put', 'push', 'status', 'messages'];
  expect(nearest('pussh', words)).toBe('push');
  expect(nearest('stauts', words)).toBe('status');
  expect(nearest('message', words)).toBe('messages');
  expect(nearest('frobnicate', words)).toBeNull();
});
