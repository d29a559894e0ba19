/**
 * Local files and trees into a fake server: what arrives, by cp's rules, inline and by way of
 * granted segments. The second way needs the addon and says so where it is missing.
 */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { limits } from '../../../src/base/limits.ts';
import { connect, type Kangaroo } from '../../../src/client/client.ts';
import { putFile, putFiles, type PutProgress, putStream } from '../../../src/client/put-tree.ts';
import { FOUND_KIND, MESSAGES } from '../../../src/protocol/messages.ts';
import { FLAGS, KIND } from '../../../src/protocol/operation.ts';
import { FakeServer } from './fake-server.ts';

let server: FakeServer;
let client: Kangaroo;
let local: string;

beforeEach(async () => {
  server = await FakeServer.start();
  client = await connect({ server: server.socketPath });
  local = mkdtempSync(join(tmpdir(), 'kangaroo-put-'));
});

afterEach(async () => {
  await client.close();
  await server.remove();
  rmSync(local, { recursive: true, force: true });
});

const at = (path: string): string => `kangaroo://far/${path}`;

function make(name: string, bytes: Buffer | string, mode = 0o644): string {
  const path = join(local, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, bytes);
  chmodSync(path, mode);
  return path;
}

describe('one file', () => {
  test('a small one is a single record, with its mode and without its times', async () => {
    const path = make('tool', '#!/bin/sh\n', 0o750);
    expect(await putFile(client, path, at('bin/tool'))).toBe(10);
    await client.commit();
    expect(server.records).toHaveLength(1);
    const { CREATE, TRUNCATE, PARENTS, MODE } = FLAGS;
    const flags = CREATE | TRUNCATE | PARENTS | MODE;
    expect(server.records[0]?.head).toMatchObject({ flags, mode: 0o750, path: 'bin/tool' });
  });

  test.each([0, 1, limits.inlinePayloadBytesMax, limits.inlinePayloadBytesMax + 1])(
    '%d bytes, whatever was there before',
    async (bytes) => {
      const data = randomBytes(bytes);
      server.files.set('f', {
        bytes: Buffer.alloc(99),
        mode: 0,
        mtimeNs: 0n,
        kind: FOUND_KIND.file,
      });
      await putFile(client, make('f', data), at('f'));
      await client.commit();
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
    },
  );

  test('a large one is blocks: created by the first, its mode on the last', async () => {
    const data = randomBytes(5 * limits.payloadBytesMax + 77);
    await putFile(client, make('f', data, 0o400), at('f'));
    await client.commit();
    expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
    expect(server.records).toHaveLength(6);
    expect(server.records[0]?.head.flags).toBe(FLAGS.CREATE | FLAGS.TRUNCATE | FLAGS.PARENTS);
    expect(server.records.at(-1)?.head).toMatchObject({ flags: FLAGS.MODE, mode: 0o400 });
  });

  test('what is missing, unreadable or no file is LOCAL_FILE with its name', async () => {
    const missing = putFile(client, join(local, 'nothing'), at('f'));
    await expect(missing).rejects.toMatchObject({ code: 'LOCAL_FILE', exitStatus: 1 });
    await expect(missing).rejects.toThrow(/nothing: ENOENT/);
    await expect(putFile(client, local, at('f'))).rejects.toMatchObject({ code: 'IS_DIRECTORY' });
    execFileSync('mkfifo', [join(local, 'fifo')]);
    const fifo = putFile(client, join(local, 'fifo'), at('f'));
    await expect(fifo).rejects.toMatchObject({ code: 'LOCAL_FILE' });
  });

  test('a file of /proc, which says that it is empty, is put with what it gives', async () => {
    const bytes = await putFile(client, '/proc/self/status', at('f'));
    await client.commit();
    expect(bytes).toBeGreaterThan(100);
    expect(server.text('f')).toMatch(/^Name:/);
  });

  test('a file that shrinks while it is put is an error that names it', async () => {
    const path = make('f', '');
    // More than the window holds: it cannot have been read before the server sees some of it.
    truncateSync(path, 2 * limits.clientWindowBytesMax);
    server.intercept = (frame) => {
      if (frame.type === MESSAGES.PUTS.type) truncateSync(path, limits.payloadBytesMax);
      return false;
    };
    const result = await putFiles(client, [path, make('g', 'G')], at('d'));
    await client.commit();
    expect(result).toMatchObject({ files: 1, failureCount: 1 });
    expect(result.failures[0]?.error.code).toBe('LOCAL_FILE');
    expect(result.failures[0]?.error.message).toMatch(/f: it shrank from \d+ to \d+ bytes/);
    expect(server.text('d/g')).toBe('G');
  });
});

describe("cp's rules for the destination", () => {
  test('a trailing slash, an existing directory, several sources: into it', async () => {
    const [a, b] = [make('a', 'A'), make('b', 'B')];
    server.files.set('there', {
      bytes: Buffer.alloc(0),
      mode: 0,
      mtimeNs: 0n,
      kind: FOUND_KIND.directory,
    });
    await putFiles(client, [a], at('new/'));
    await putFiles(client, [a], at('there'));
    await putFiles(client, [a, b], at('both'));
    await putFiles(client, [a], at('plain'));
    await client.commit();
    const paths = [...server.files.keys()].filter((path) => path !== 'there').sort();
    expect(paths).toEqual(['both/a', 'both/b', 'new/a', 'plain', 'there/a']);
  });

  test('a destination that nobody can tell of now is taken for a file, soon', async () => {
    server.intercept = (frame) => frame.type === MESSAGES.STAT.type;
    const begin = performance.now();
    await putFiles(client, [make('a', 'A')], at('x'));
    await client.commit();
    expect(server.text('x')).toBe('A');
    expect(performance.now() - begin).toBeLessThan(4_000);
  });

  test('a directory needs recursive; the other sources go on', async () => {
    make('d/f', 'F');
    const result = await putFiles(client, [join(local, 'd'), make('a', 'A'), '/no/such'], at('x'));
    await client.commit();
    expect(result).toMatchObject({ files: 1, failureCount: 2 });
    expect(result.failures.map(({ error }) => error.code)).toEqual(['IS_DIRECTORY', 'LOCAL_FILE']);
    expect(server.text('x/a')).toBe('A');
  });
});

describe('a tree', () => {
  test('arrives with directories, modes and times, a directory after its contents', async () => {
    make('t/a', 'A', 0o600);
    make('t/sub/b', 'B', 0o755);
    mkdirSync(join(local, 't/empty'));
    utimesSync(join(local, 't/a'), 1_000, 2_000.5);
    utimesSync(join(local, 't/sub'), 1_000, 3_000);
    chmodSync(join(local, 't/sub'), 0o500);
    const result = await putFiles(client, [join(local, 't')], at('dest'), { recursive: true });
    await client.commit();
    expect(result).toMatchObject({ files: 2, directories: 3, bytes: 2, failureCount: 0 });
    expect(server.files.get('dest/a')).toMatchObject({ mode: 0o600, mtimeNs: 2_000_500_000_000n });
    expect(server.files.get('dest/sub')).toMatchObject({
      mode: 0o500,
      mtimeNs: 3_000_000_000_000n,
    });
    expect(server.text('dest/sub/b')).toBe('B');
    expect(server.files.get('dest/empty')?.kind).toBe(FOUND_KIND.directory);
    const steps = server.records.map(
      ({ head }) => `${head.kind === KIND.mkdir ? 'mkdir ' : ''}${head.path}`,
    );
    expect(steps.indexOf('mkdir dest/sub')).toBeLessThan(steps.indexOf('dest/sub/b'));
    expect(steps.lastIndexOf('dest/sub')).toBeGreaterThan(steps.indexOf('dest/sub/b'));
    expect(steps.at(-1)).toBe('dest');
  });

  test('into an existing directory under its own name; its dot is its contents', async () => {
    make('t/a', 'A');
    server.files.set('d', {
      bytes: Buffer.alloc(0),
      mode: 0,
      mtimeNs: 0n,
      kind: FOUND_KIND.directory,
    });
    await putFiles(client, [join(local, 't')], at('d'), { recursive: true });
    await putFiles(client, [`${local}/t/.`], at('d'), { recursive: true });
    await putFiles(client, [join(local, 't')], 'kangaroo://far/', { recursive: true });
    await client.commit();
    expect([server.text('d/t/a'), server.text('d/a'), server.text('t/a')]).toEqual(['A', 'A', 'A']);
  });

  test('links to files are files; other links and special files are left out', async () => {
    make('t/a', 'A');
    make('elsewhere/x', 'X');
    symlinkSync('a', join(local, 't/link'));
    symlinkSync('../elsewhere', join(local, 't/dirlink'));
    symlinkSync('nowhere', join(local, 't/dangling'));
    execFileSync('mkfifo', [join(local, 't/fifo')]);
    const result = await putFiles(client, [join(local, 't')], at('d'), { recursive: true });
    await client.commit();
    expect(server.text('d/link')).toBe('A');
    expect(result.skipped.map(({ path }) => path.split('/').at(-1)).sort()).toEqual([
      'dangling',
      'dirlink',
      'fifo',
    ]);
    expect(result).toMatchObject({ files: 2, skippedCount: 3, failureCount: 0 });
  });

  test('names that are no UTF-8 keep their bytes', async () => {
    mkdirSync(join(local, 't'));
    writeFileSync(Buffer.concat([Buffer.from(`${local}/t/n`), Buffer.from([0xff, 0xfe])]), 'odd');
    writeFileSync(join(local, 't/ü'), 'utf-8');
    await putFiles(client, [join(local, 't')], at('d'), { recursive: true });
    await client.commit();
    expect(server.text('d/n\xff\xfe')).toBe('odd');
    expect(server.text('d/\xc3\xbc')).toBe('utf-8');
  });

  test('what cannot be read is a failure by name, and the rest goes on', async () => {
    make('t/a', 'A');
    // Reading it fails with EIO, for root too.
    symlinkSync('/proc/self/mem', join(local, 't/bad'));
    make('t/z', 'Z');
    const result = await putFiles(client, [join(local, 't')], at('d'), { recursive: true });
    await client.commit();
    expect(result).toMatchObject({ files: 2, failureCount: 1 });
    expect(result.failures[0]?.path).toMatch(/t\/bad$/);
    expect(result.failures[0]?.error.message).toMatch(/t\/bad: EIO/);
    expect([server.text('d/a'), server.text('d/z')]).toEqual(['A', 'Z']);
  });

  test('a deadline and a signal end it', async () => {
    for (let i = 0; i < 600; i += 1) make(`t/${i}`, 'x');
    const options = { recursive: true, timeoutMs: 0 };
    const late = putFiles(client, [join(local, 't')], at('d/'), options);
    await expect(late).rejects.toMatchObject({ code: 'NOT_YET' });
    const signal = AbortSignal.abort();
    const stopped = putFiles(client, [join(local, 't')], at('d/'), { recursive: true, signal });
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });

  test('thousands of small files take few frames, and little time', async () => {
    const data = Buffer.alloc(4096, 'd');
    for (let i = 0; i < 3_000; i += 1) make(`t/${i % 30}/${i}`, data);
    const begin = process.cpuUsage();
    const result = await putFiles(client, [join(local, 't')], at('d'), { recursive: true });
    const used = process.cpuUsage(begin);
    await client.commit();
    expect(result).toMatchObject({ files: 3_000, bytes: 3_000 * 4096 });
    expect(server.records).toHaveLength(3_000 + 2 * 31);
    expect(server.putsFrames).toBeLessThan(150);
    const cpuMs = (used.user + used.system) / 1_000;
    console.info(`3,000 files of 4 KiB: ${cpuMs} ms of processor time, the fake server's included`);
  });

  test('concurrent puts of small files do not mix their bytes', async () => {
    const paths = Array.from({ length: 200 }, (_, i) => make(`c/${i}`, Buffer.alloc(60_000, i)));
    // A server that does not read: most of them have to wait for room.
    let go: () => void = () => {};
    const gate = new Promise<boolean>((resolve) => {
      go = () => resolve(false);
    });
    server.intercept = (frame) => (frame.type === MESSAGES.PUTS.type ? gate : false);
    const more = Array.from({ length: 4 }, () => paths).flat();
    const puts = more.map(async (path, i) => await putFile(client, path, at(`${i}`)));
    setTimeout(go, 100);
    await Promise.all(puts);
    await client.commit();
    for (let i = 0; i < more.length; i += 1) {
      expect(server.files.get(`${i}`)?.bytes.equals(Buffer.alloc(60_000, i % 200))).toBe(true);
    }
  });
});

describe('progress and streams', () => {
  test('totals are known for files, and the last report is the whole', async () => {
    const reports: PutProgress[] = [];
    const sources = [make('a', 'AAAA'), make('b', Buffer.alloc(200_000))];
    await putFiles(client, sources, at('d/'), { onProgress: (report) => reports.push(report) });
    expect(reports.at(-1)).toMatchObject({
      files: 2,
      bytes: 200_004,
      totalFiles: 2,
      totalBytes: 200_004,
    });
    expect(reports.at(-1)?.file).toMatch(/b$/);
  });

  test('a stream of any length goes to one file', async () => {
    const chunks = Array.from({ length: 40 }, () => randomBytes(99_991));
    const bytes = await putStream(client, Readable.from(chunks), at('d/s'));
    await client.commit();
    expect(bytes).toBe(40 * 99_991);
    expect(server.files.get('d/s')?.bytes.equals(Buffer.concat(chunks))).toBe(true);
  });

  test('a stream that fails is LOCAL_FILE, one that hangs ends at the deadline', async () => {
    const failing = new Readable({
      read() {
        this.destroy(new Error('EIO'));
      },
    });
    await expect(putStream(client, failing, at('s'))).rejects.toMatchObject({ code: 'LOCAL_FILE' });
    const silent = (): Readable => new Readable({ read: () => {} });
    const late = putStream(client, silent(), at('s'), { timeoutMs: 50 });
    await expect(late).rejects.toMatchObject({ code: 'NOT_YET' });
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 50);
    const stopped = putStream(client, silent(), at('s'), { signal: abort.signal });
    await expect(stopped).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

describe.skipIf(native === null)(
  `by way of granted segments${native === null ? ` (skipped: ${addonReason})` : ''}`,
  () => {
    beforeEach(async () => {
      await client.close();
      server.useGrants();
      client = await connect({ server: server.socketPath });
    });

    const isExternal = (flags: number): boolean => (flags & FLAGS.EXTERNAL) !== 0;

    test.each([
      ['less than a block', 100_000],
      ['whole blocks', 3 * limits.payloadBytesMax],
      ['more than a grant', 20 * limits.payloadBytesMax + 4321],
    ])('a file of %s: only heads cross the socket', async (_what, bytes) => {
      server.grantBytesMax = 9 * limits.payloadBytesMax + 100;
      const data = randomBytes(bytes);
      await putFile(client, make('f', data, 0o600), at('f'));
      await client.commit();
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
      expect(server.files.get('f')?.mode).toBe(0o600);
      expect(server.records.every(({ head }) => isExternal(head.flags))).toBe(true);
      expect(client.session.heldBytes).toBe(0);
    });

    test('small files go inline and middling ones share a grant', async () => {
      const paths = [make('s', 'S')];
      for (let i = 0; i < 20; i += 1) paths.push(make(`m${i}`, Buffer.alloc(100_000, i)));
      await putFiles(client, paths, at('d/'));
      await client.commit();
      expect(server.records.filter(({ head }) => isExternal(head.flags))).toHaveLength(20);
      expect(server.grants).toHaveLength(1);
      expect(server.files.get('d/m7')?.bytes.equals(Buffer.alloc(100_000, 7))).toBe(true);
    });

    test('a stream goes the same way', async () => {
      const chunks = Array.from({ length: 30 }, () => randomBytes(100_003));
      await putStream(client, Readable.from(chunks), at('s'));
      await client.commit();
      expect(server.files.get('s')?.bytes.equals(Buffer.concat(chunks))).toBe(true);
      expect(server.records.filter(({ head }) => isExternal(head.flags)).length).toBeGreaterThan(1);
    });

    test('a connection lost in the middle: new grants, and the rest comes inline', async () => {
      const data = randomBytes(40 * limits.payloadBytesMax);
      let cuts = 3;
      server.intercept = (frame, connection) => {
        if (frame.type !== MESSAGES.PUTS.type || cuts === 0) return false;
        cuts -= 1;
        connection.close(null);
        return true;
      };
      await putFile(client, make('f', data), at('f'));
      await client.commit();
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
      expect(server.records.some(({ head, repeated }) => repeated && !isExternal(head.flags))).toBe(
        true,
      );
      expect(server.records).toHaveLength(40);
    });

    test.each([
      ['that will be committed: all heads come at its end', true, 'GGGP+'],
      ['that will be pushed: heads come while it is copied', false, 'GP*GP+GP+'],
    ])('a file %s', async (_what, willCommit, wanted) => {
      server.grantBytesMax = 9 * limits.payloadBytesMax;
      let frames = '';
      server.intercept = ({ type }) => {
        if (type === MESSAGES.GRANT.type) frames += 'G';
        if (type === MESSAGES.PUTS.type) frames += 'P';
        return false;
      };
      const data = randomBytes(25 * limits.payloadBytesMax);
      await putFile(client, make('f', data), at('f'), { willCommit });
      await client.commit();
      expect(frames).toMatch(new RegExp(`^${wanted.replaceAll('*', '*?')}$`));
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
    });

    test('a grant that is long in coming may wait for what is copied: its heads come', async () => {
      server.grantBytesMax = 9 * limits.payloadBytesMax;
      let asked = 0;
      let waiting: (() => void) | null = null;
      server.intercept = (frame, connection) => {
        if (frame.type === MESSAGES.PUTS.type) waiting?.();
        if (frame.type !== MESSAGES.GRANT.type || (asked += 1) !== 2) return false;
        const answer = { code: 'BUSY', message: 'no room', hint: '' };
        waiting = () => {
          waiting = null;
          connection.send('ERROR', answer, frame.callId);
        };
        return true;
      };
      const data = randomBytes(12 * limits.payloadBytesMax);
      await putFile(client, make('f', data), at('f'), { timeoutMs: 10 * limits.unnamedMs });
      await client.commit();
      expect(waiting).toBe(null);
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
    });

    test('a connection lost before the heads: all of it is copied again', async () => {
      server.grantBytesMax = 9 * limits.payloadBytesMax;
      let asked = 0;
      server.intercept = (frame, connection) => {
        if (frame.type !== MESSAGES.GRANT.type || (asked += 1) !== 2) return false;
        connection.close(null);
        return true;
      };
      const data = randomBytes(20 * limits.payloadBytesMax);
      await putFile(client, make('f', data), at('f'));
      await client.commit();
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
      expect(server.records).toHaveLength(20);
      expect(server.records.every(({ head }) => isExternal(head.flags))).toBe(true);
    });

    test('payload that is gone with its segment ends the session, and says so', async () => {
      await putFile(client, make('f', randomBytes(limits.payloadBytesMax)), at('f'));
      client.session.flush();
      await expect.poll(() => server.records.length).toBe(1);
      server.forgetUncommitted();
      rmSync(server.segmentPath(server.grants[0]?.segment ?? 0));
      server.drop();
      await expect(client.commit()).rejects.toMatchObject({ code: 'DISCONNECTED' });
      await expect(client.commit()).rejects.toThrow(/gone/);
    });

    test('a server that gives no grants gets frames', async () => {
      const data = randomBytes(3 * limits.payloadBytesMax);
      server.intercept = (frame, connection) => {
        if (frame.type !== MESSAGES.GRANT.type) return false;
        connection.send('ERROR', { code: 'DENIED', message: 'no', hint: '' }, frame.callId);
        return true;
      };
      await putFile(client, make('f', data), at('f'));
      await client.commit();
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
    });

    test('a grant outside of the spool is not written to', async () => {
      const victim = make('victim', 'keep me');
      server.intercept = (frame, connection) => {
        if (frame.type !== MESSAGES.GRANT.type) return false;
        const granted = { segment: 1, file: victim, offset: 0, bytes: 8 << 20 };
        connection.send('GRANTED', granted, frame.callId);
        return true;
      };
      const data = randomBytes(2 * limits.payloadBytesMax);
      await putFile(client, make('f', data), at('f'));
      await client.commit();
      expect(server.files.get('f')?.bytes.equals(data)).toBe(true);
      expect(execFileSync('cat', [victim]).toString()).toBe('keep me');
    });

    test('many at a time take turns', async () => {
      const data = Array.from({ length: 12 }, () => randomBytes(2 * limits.payloadBytesMax + 5));
      const puts = data.map(
        async (bytes, i) => await putFile(client, make(`${i}`, bytes), at(`${i}`)),
      );
      await Promise.all(puts);
      await client.commit();
      data.forEach((bytes, i) => expect(server.files.get(`${i}`)?.bytes.equals(bytes)).toBe(true));
    });
  },
);
