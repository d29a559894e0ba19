/**
 * Who may connect: this machine, and the networks that were named, each way an address is written.
 */
import { describe, expect, test } from 'vitest';
import { AllowList } from '../../../src/server/allow.ts';

describe('an allow list', () => {
  test('lets this machine in and nobody else by default', () => {
    const list = new AllowList([]);
    for (const own of ['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1']) {
      expect([own, list.allows(own)]).toEqual([own, true]);
    }
    for (const other of ['10.0.0.1', '::2', 'fe80::1', '::ffff:10.0.0.1', '', 'host', undefined]) {
      expect([other, list.allows(other)]).toEqual([other, false]);
    }
  });

  test.each([
    ['10.1.2.0/24', '10.1.2.255', '10.1.3.0'],
    ['10.1.2.3', '10.1.2.3', '10.1.2.4'],
    ['10.1.2.3/32', '::ffff:10.1.2.3', '::ffff:10.1.2.4'],
    ['2001:db8::/32', '2001:db8:1::1', '2001:db9::1'],
    ['2001:db8::7', '2001:db8::7', '2001:db8::8'],
    ['10.1.2.3/0', '192.168.0.1', '2001:db8::1'],
  ])('%s lets %s in and not %s', (network, inside, outside) => {
    const list = new AllowList([network]);
    expect([list.allows(inside), list.allows(outside)]).toEqual([true, false]);
  });

  test.each([
    '10.0.0.1/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/8x',
    '10.0.0/8',
    'example.org',
    '',
    '/8',
    '10.0.0.0/ 8',
    '10.0.0.0/1e1',
  ])('%s is refused by name', (network) => {
    expect(() => new AllowList([network])).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});
