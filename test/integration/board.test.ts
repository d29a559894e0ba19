/**
 * The board between processes: programs here, servers of their own processes, one of them killed in
 * mid-work. What a program was told is written arrives, once and in order.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native } from '../../src/base/addon.ts';
import { HEADER } from '../../src/server/board-layout.ts';
import { CHANGE_KIND } from '../../src/server/verb-change.ts';
import { OPEN_FLAGS } from '../../src/server/verb-open.ts';
import { BoardWriter } from '../support/board-writer.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import { signal } from '../support/proc.ts';
import { until } from '../support/wait.ts';

const { CREATE, TRUNCATE, WRITE } = OPEN_FLAGS;
const WAIT_MS = 30_000;

let cluster: Cluster;
const writers: BoardWriter[] = [];

async function program(hop: Hop): Promise<BoardWriter> {
  const writer = await BoardWriter.connect(hop.socket);
  writers.push(writer);
  return writer;
}

/** The file at the destination, when it is as long as that. */
function arrived(hop: Hop, path: string, bytes: number): Buffer | null {
  const file = join(hop.exportDirectory, path);
  if (!existsSync(file)) return null;
  const there = readFileSync(file);
  return there.length === bytes ? there : null;
}

describe.skipIf(native === null)(`a board between processes ${addonReason}`, () => {
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(async () => {
    for (const writer of writers.splice(0)) writer.close();
    await cluster.close();
  });

  test('what programs write arrives behind a hop', async () => {
    const [first, last] = (await cluster.chain(['first', 'dest'])) as [Hop, Hop];
    const one = await program(first);
    await one.change({ kind: CHANGE_KIND.mkdir, path: 'out', mode: 0o755 });
    const file = await one.open('out/new', CREATE | WRITE);
    const grant = await one.grant(4 << 20);
    for (let i = 0; i < 1000; i++) await one.writeWhenRoom(file, i * 7, Buffer.from('1234567'));
    one.writeInto(grant, 0, file, 7000, Buffer.alloc(1 << 20, 'x'));
    await one.change({ kind: CHANGE_KIND.rename, path: 'out/new', path2: 'out/done' });
    one.write(file, 7000 + (1 << 20), Buffer.from('end'));
    await one.push('out');
    const bytes = readFileSync(join(last.exportDirectory, 'out/done'));
    expect(bytes.length).toBe(7003 + (1 << 20));
    expect(bytes.toString('latin1', 0, 9)).toBe('123456712');
    expect(bytes.subarray(-4).toString()).toBe('xend');
    // Another hop's reader and this one's see the same.
    expect((await one.stat('out/done')).size).toBe(bytes.length);
    expect((await one.open('out/done', WRITE)).size).toBe(bytes.length);
  });

  test('what stands in the ring of a killed server is taken by the next one, once', async () => {
    const [first, last] = (await cluster.chain(['first', 'dest'])) as [Hop, Hop];
    const one = await program(first);
    const file = await one.open('a', CREATE | TRUNCATE | WRITE);
    const grant = await one.grant(4 << 20);
    for (let i = 0; i < 100; i++) one.write(file, i * 10, Buffer.alloc(10, 48 + (i % 10)));
    await one.commit();
    // It cannot take what comes now.
    signal(first.pid, 'SIGSTOP');
    for (let i = 100; i < 200; i++) one.write(file, i * 10, Buffer.alloc(10, 48 + (i % 10)));
    one.writeInto(grant, 0, file, 2000, Buffer.alloc(500_000, 'g'));
    await first.kill();
    one.write(file, 502_000, Buffer.from('after its death'));
    expect(one.header(HEADER.tail)).toBeGreaterThan(one.header(HEADER.head));
    await first.start();
    expect(one.header(HEADER.head)).toBe(one.header(HEADER.tail));
    const two = await program(first);
    expect(two.header(HEADER.incarnation)).toBe(two.welcome.incarnation);
    expect((await two.stat('a')).size).toBe(502_015);
    await two.push('');
    const bytes = readFileSync(join(last.exportDirectory, 'a'));
    expect(bytes.length).toBe(502_015);
    for (let i = 0; i < 200; i++) expect(bytes[i * 10]).toBe(48 + (i % 10));
    expect(bytes.subarray(2000, 502_000).equals(Buffer.alloc(500_000, 'g'))).toBe(true);
    expect(bytes.subarray(-5).toString()).toBe('death');
  });

  test('a program that dies right behind a write need tell nobody', async () => {
    const hop = cluster.add({ name: 'dest', exports: true });
    await hop.start();
    const one = await program(hop);
    const file = await one.open('a', CREATE | WRITE);
    one.isQuiet = true;
    one.write(file, 0, Buffer.from('last words'));
    one.close();
    await until('it to arrive', WAIT_MS, () => arrived(hop, 'a', 10));
  });

  test('a clean stop leaves nothing in memory when nobody is there', async () => {
    const hop = cluster.add({ name: 'dest', exports: true });
    await hop.start();
    const one = await program(hop);
    const file = await one.open('a', CREATE | WRITE);
    one.write(file, 0, Buffer.from('text'));
    await one.commit();
    const { board } = one.welcome;
    expect(existsSync(board)).toBe(true);
    one.close();
    // The server hears of it by itself, some time.
    await new Promise((resolve) => setTimeout(resolve, 200));
    await hop.stop();
    expect(existsSync(board)).toBe(false);
    expect(readFileSync(join(hop.exportDirectory, 'a'), 'utf8')).toBe('text');
  });
});
