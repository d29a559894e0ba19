/**
 * The logger: quiet unless asked, one JSON object a line with the fixed field names, text where
 * that is wanted, everything in the file when the call returns, and harmless when the disk is full
 * or the reader sleeps.
 */

import { execFileSync } from 'node:child_process';
import { closeSync, constants, existsSync, mkdtempSync, openSync } from 'node:fs';
import { readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { KangarooError } from '../../../src/base/errors.ts';
import { LogSink } from '../../../src/base/log-sink.ts';
import { createLogger } from '../../../src/base/log.ts';
import type { LogFields } from '../../../src/base/log.ts';

let folder = '';
let fd = -1;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kangaroo-log-'));
  fd = openSync(join(folder, 'log'), 'w+');
  vi.stubEnv('KANGAROO_LOG', undefined);
});

afterEach(() => {
  vi.unstubAllEnvs();
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

function text(): string {
  return readFileSync(join(folder, 'log'), 'utf8');
}

function lines(): Record<string, unknown>[] {
  return text()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('level', () => {
  test('is warn by default', () => {
    const log = createLogger('server', { fd });
    log.info('nothing to see');
    log.warn('a warning');
    expect(lines().map((line) => line['msg'])).toEqual(['a warning']);
  });

  test('follows KANGAROO_LOG, and the option before it', () => {
    vi.stubEnv('KANGAROO_LOG', 'debug');
    createLogger('a', { fd }).debug('from the environment');
    createLogger('b', { fd, level: 'error' }).debug('not this one');
    expect(lines().map((line) => line['name'])).toEqual(['a']);
  });

  test('refuses a level that does not exist, with the ones that do', () => {
    vi.stubEnv('KANGAROO_LOG', 'loud');
    let caught: unknown;
    try {
      createLogger('server', { fd });
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(KangarooError);
    expect(caught).toMatchObject({ code: 'USAGE', hint: expect.stringContaining('debug') });
  });
});

test('a line is one JSON object with the fixed names, there when the call returns', () => {
  const fields: LogFields = { hop: 'beta', file: 'kangaroo://beta/a', offset: 7, bytes: 9, op: 3 };
  createLogger('mover', { fd }).child({ link: 4 }).error(fields, 'not taken');
  expect(text().endsWith('\n')).toBe(true);
  const [line] = lines();
  expect(line).toMatchObject({ ...fields, link: 4, level: 'error', name: 'mover' });
  expect(line).toMatchObject({ pid: process.pid, msg: 'not taken' });
  expect(new Date(String(line?.['time'])).getTime()).toBeGreaterThan(Date.now() - 60_000);
});

test('an error keeps its code and its stack', () => {
  createLogger('mover', { fd }).error({ err: new KangarooError('NO_ROUTE', 'no way') }, 'stuck');
  expect(lines()[0]).toMatchObject({ err: { code: 'NO_ROUTE', message: 'no way' } });
});

test('pretty is one line of text with the fields in it', () => {
  createLogger('mover', { fd, pretty: true }).warn({ hop: 'beta' }, 'waiting');
  expect(text()).toMatch(/WARN.*mover.*waiting.*"hop":"beta"/);
  expect(text().trimEnd()).not.toContain('\n');
});

test('a full disk below the log neither throws nor hangs, also at fatal', (context) => {
  if (!existsSync('/dev/full')) return context.skip('no /dev/full here');
  const full = openSync('/dev/full', 'w');
  const log = createLogger('server', { fd: full });
  expect(() => {
    log.error('one');
    log.fatal('two');
  }).not.toThrow();
  closeSync(full);
});

test('a reader that sleeps loses lines, and is told how many when it wakes', () => {
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const sink = new LogSink(writer);
  const page = 'x'.repeat(4095) + '\n';
  let written = 0;
  while (sink.write(page)) written += 1;
  expect(written).toBeGreaterThan(0);

  const log = createLogger('server', { fd: writer });
  log.error('lost, after a wait');
  const startMs = performance.now();
  for (let i = 0; i < 50; i += 1) log.error('lost at once');
  expect(performance.now() - startMs).toBeLessThan(1000);

  const buffer = Buffer.alloc(1024 * 1024);
  readSync(reader, buffer);
  log.error('heard');
  const heard = buffer.toString('utf8', 0, readSync(reader, buffer));
  expect(heard).toContain('51 log lines could not be written');
  expect(heard).toContain('"msg":"heard"');
  closeSync(reader);
  closeSync(writer);
});
