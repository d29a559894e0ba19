/** The routing table and the addresses of servers in it. */
import { describe, expect, test } from 'vitest';
import { formatServerAddress, parseServerAddress } from '../../../src/protocol/server-address.ts';
import { DEFAULT_PORT, RouteTable } from '../../../src/route/table.ts';

describe('the address of a server', () => {
  test.each([
    ['unix:/run/k.sock', { kind: 'unix', path: '/run/k.sock' }, 'unix:/run/k.sock'],
    ['/run/k.sock', { kind: 'unix', path: '/run/k.sock' }, 'unix:/run/k.sock'],
    ['./k.sock', { kind: 'unix', path: './k.sock' }, 'unix:./k.sock'],
    ['host:1', { kind: 'tcp', host: 'host', port: 1 }, 'host:1'],
    ['10.0.0.1:65535', { kind: 'tcp', host: '10.0.0.1', port: 65_535 }, '10.0.0.1:65535'],
    ['[::1]:7', { kind: 'tcp', host: '::1', port: 7 }, '[::1]:7'],
    ['[fe80::1%eth0]:7', { kind: 'tcp', host: 'fe80::1%eth0', port: 7 }, '[fe80::1%eth0]:7'],
  ])('%s', (text, address, written) => {
    expect(parseServerAddress(text)).toEqual(address);
    expect(formatServerAddress(parseServerAddress(text))).toBe(written);
  });

  test('takes the port that is usual where none is given', () => {
    expect(parseServerAddress('host', 9)).toEqual({ kind: 'tcp', host: 'host', port: 9 });
    expect(parseServerAddress('[::1]', 9)).toEqual({ kind: 'tcp', host: '::1', port: 9 });
  });

  test.each([
    '',
    ':7',
    'host',
    'host:',
    'host:65536',
    'host:-1',
    'host:1:2',
    '::1',
    '[::1',
    'unix:',
  ])('%j is a wrong use', (text) => {
    expect(() => parseServerAddress(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('the routing table', () => {
  const table = RouteTable.parse([
    'archive=relay:1',
    '*.cs.example.org=unix:/run/cs.sock',
    '*.example.org=edge:2',
    'archive=never:3',
  ]);
  const way = (name: string): string => formatServerAddress(table.nextHop(name));

  test('goes by exact name, by suffix, in the order given', () => {
    expect(way('archive')).toBe('relay:1');
    expect(way('a.cs.example.org')).toBe('unix:/run/cs.sock');
    expect(way('b.example.org')).toBe('edge:2');
  });

  test('leaves what it does not list to the name itself, and can tell', () => {
    expect(way('example.org')).toBe(`example.org:${DEFAULT_PORT}`);
    expect(way('archive2')).toBe(`archive2:${DEFAULT_PORT}`);
    expect(
      ['archive', 'x.example.org', 'example.org', 'xexample.org'].map((n) => table.lists(n)),
    ).toEqual([true, true, false, false]);
  });

  test('with a star lists everything', () => {
    const all = RouteTable.parse(['*=relay']);
    expect([all.lists('any'), formatServerAddress(all.nextHop('any'))]).toEqual([
      true,
      `relay:${DEFAULT_PORT}`,
    ]);
    expect(all.routes).toHaveLength(1);
  });

  test.each([
    '',
    'archive',
    '=relay',
    'a b=relay',
    '*x=relay',
    '*.=relay',
    'a=',
    '.a=relay',
    '**=r',
  ])('%j is a wrong use', (text) => {
    expect(() => RouteTable.parse([text])).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});
