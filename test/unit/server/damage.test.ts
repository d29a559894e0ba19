/**
 * What was found damaged in a spool: which pushes it concerns, how long, and that it is told once.
 */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { Damage, type DamagedRecord } from '../../../src/server/damage.ts';
import { Notices } from '../../../src/server/notices.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { SpoolCase } from '../../support/spool-case.ts';

let scene: SpoolCase;
let spool: Spool;
const before = { ...limits };
beforeEach(async () => {
  scene = new SpoolCase();
  spool = await scene.open();
});
afterEach(async () => {
  Object.assign(limits, before);
  await scene.end();
});

const record = (path: string, parts: Partial<DamagedRecord> = {}): DamagedRecord => {
  return { name: 'archive', path, path2: '', originId: 'ab'.repeat(16), ...parts };
};
const isAt =
  (path: string) =>
  (one: DamagedRecord): boolean =>
    one.path === path;
const restarted = async (): Promise<Damage> => {
  await scene.close(spool);
  spool = await scene.open();
  return new Damage(spool.index, 'node');
};
const addresses = (damage: Damage, isMeant: (one: DamagedRecord) => boolean): string[] => {
  return damage.meantBy(isMeant).map(({ address }) => address);
};

test('a record concerns its own target, also after a restart, until it is discarded', async () => {
  let damage = new Damage(spool.index, 'node');
  damage.add(record('a', { path2: 'b' }), 'payload checksum', '00000001.log at 64', 10);
  for (let i = 0; i < 2; i++) {
    expect(addresses(damage, isAt('a'))).toEqual(['kangaroo://archive/a']);
    expect(addresses(damage, ({ path2 }) => path2 === 'b')).toEqual(['kangaroo://archive/a']);
    expect(addresses(damage, ({ originId }) => originId === 'ab'.repeat(16))).toHaveLength(1);
    expect(addresses(damage, isAt('b'))).toEqual([]);
    damage = await restarted();
  }
  expect(damage.discard(isAt('b'))).toBe(0);
  expect(damage.discard(isAt('a'))).toBe(1);
  expect(addresses(damage, () => true)).toEqual([]);
  expect(addresses(await restarted(), () => true)).toEqual([]);
});

test('a record without an address concerns everybody, and everybody may discard it', () => {
  const damage = new Damage(spool.index, 'node');
  damage.add(null, 'header checksum', '00000001.log at 64', 10);
  expect(addresses(damage, () => false)).toEqual(['']);
  expect(damage.discard(() => false)).toBe(1);
  expect(addresses(damage, () => true)).toEqual([]);
});

test('a place is told once: not again at the next start, nor after it was discarded', async () => {
  let damage = new Damage(spool.index, 'node');
  for (let i = 0; i < 3; i++) {
    damage.add(record('a'), 'payload checksum', '00000001.log at 64', 10);
    damage.tell('segment header', '00000001.log at 0', 64);
    expect(addresses(damage, () => true)).toHaveLength(1);
    damage = await restarted();
  }
  damage.discard(() => true);
  for (let i = 0; i < 2; i++) {
    damage.add(record('a'), 'payload checksum', '00000001.log at 64', 10);
    expect(addresses(damage, () => true)).toEqual([]);
    damage = await restarted();
  }
  const { messages } = new Notices(spool.index, 'node').since(0);
  expect(messages.map(({ state, address }) => [state, address])).toEqual([
    ['mended', ''],
    ['discarded', 'kangaroo://archive/a'],
  ]);
  expect(Object.keys(messages[1] ?? {})).not.toContain('place');
});

test('a notice is not forgotten behind many messages, and its history is', () => {
  Object.assign(limits, { messagesMax: 5 });
  const notices = new Notices(spool.index, 'node');
  notices.damage.add(record('a'), 'payload checksum', '00000001.log at 64', 10);
  for (let i = 0; i < 20; i++) notices.damage.tell('segment header', `${i}`, 64);
  const reopened = new Notices(spool.index, 'node');
  expect(addresses(reopened.damage, isAt('a'))).toHaveLength(1);
  expect(reopened.since(0).messages).toHaveLength(6);
});

test('beyond the bound they share one notice, which concerns everybody', async () => {
  Object.assign(limits, { quarantineReportsMax: 3 });
  const damage = new Damage(spool.index, 'node');
  for (let i = 0; i < 10; i++) damage.add(record(`f${i}`), 'payload checksum', `at ${i}`, 10);
  const meant = damage.meantBy(() => false);
  expect(meant).toMatchObject([{ address: '', operations: 7, bytes: 70, state: 'quarantined' }]);
  expect(addresses(damage, () => true)).toHaveLength(4);
  expect(addresses(await restarted(), () => true)).toHaveLength(4);
});

test('what an earlier release has noted counts as well', () => {
  const address = 'kangaroo://archive/dir/a';
  spool.index.addMessage({ address, state: 'quarantined', operations: 1 });
  const damage = new Damage(spool.index, 'node');
  expect(addresses(damage, ({ name, path }) => `${name}:${path}` === 'archive:dir/a')).toEqual([
    address,
  ]);
  expect(addresses(damage, isAt('other'))).toEqual([]);
});

test('what may never have been promised is told once and holds up nobody', async () => {
  let damage = new Damage(spool.index, 'node');
  for (let i = 0; i < 2; i++) {
    damage.suspect(record('a'), 'payload checksum', '00000001.log at 64', 10);
    expect(addresses(damage, () => true)).toEqual([]);
    expect(spool.index.messagesAfter(0, 10)).toHaveLength(1);
    damage = await restarted();
  }
});
