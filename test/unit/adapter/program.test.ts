/**
 * Which programs the library reaches, from files made for it: ELF heads, scripts, modes, PATH.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { libraryPath } from '../../../src/adapter/library.ts';
import { findProgram, whyNotReached } from '../../../src/adapter/program.ts';

let directory: string;
const place = (name: string): string => join(directory, name);

/** The head of an ELF file with one program header. */
function elf({ bits = 64, machine = 62, header = 3 } = {}): Buffer {
  const bytes = Buffer.alloc(64 + 56);
  bytes.writeUInt32BE(0x7f454c46, 0);
  bytes[4] = bits === 64 ? 2 : 1;
  bytes[5] = 1;
  bytes.writeUInt16LE(machine, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(header, 64);
  return bytes;
}

function put(name: string, bytes: Buffer | string, mode = 0o755): string {
  writeFileSync(place(name), bytes);
  chmodSync(place(name), mode);
  return place(name);
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kg-program-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

describe('reached or not', () => {
  const nobody = { uid: 4_000_000, gid: 4_000_000 };
  const judge = (path: string): string | null => whyNotReached(path, directory, nobody, 'x64');

  test('a dynamic program is', () => {
    expect(judge(put('dynamic', elf()))).toBe(null);
    expect(whyNotReached(process.execPath, '')).toBe(null);
  });

  test.each([
    ['static', elf({ header: 1 }), /static is linked statically$/],
    ['small', elf({ bits: 32 }), /small is a 32-bit program$/],
    ['arm', elf({ machine: 183 }), /arm is a program of another architecture$/],
  ])('%s is not', (name, bytes, why) => {
    expect(judge(put(name, bytes))).toMatch(why);
  });

  test('set-user-ID and set-group-ID of others', () => {
    put('set', elf(), 0o4755);
    expect(judge(place('set'))).toMatch(/set runs with rights of its own/);
    put('group', elf(), 0o2755);
    expect(judge(place('group'))).toMatch(/group runs with rights of its own/);
    const own = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    expect(whyNotReached(place('set'), directory, own, 'x64')).toBe(null);
  });

  test('of a script its interpreter counts', () => {
    put('static', elf({ header: 1 }));
    put('dynamic', elf());
    expect(judge(put('one', `#!${place('static')} -x\n`))).toMatch(/static is linked statically$/);
    expect(judge(put('two', `#! ${place('one')}\n`))).toMatch(/static is linked statically$/);
    expect(judge(put('three', '#!/usr/bin/env -S A=1 static\n'))).toMatch(/statically$/);
    expect(judge(put('four', `#!${place('dynamic')}\n`))).toBe(null);
    expect(judge(put('loop', `#!${place('loop')}\n`))).toBe(null);
    // Not the script's own bit.
    expect(judge(put('five', `#!${place('dynamic')}\n`, 0o4755))).toBe(null);
  });

  test('what says nothing is left to the kernel', () => {
    for (const text of ['', '#!', '\x7fELF', 'text', elf().subarray(0, 80)]) {
      expect(judge(put('odd', text as string))).toBe(null);
    }
    expect(judge(place('none'))).toBe(null);
  });
});

describe('in PATH', () => {
  test('found, not found, not executable', () => {
    mkdirSync(place('bin'));
    mkdirSync(place('other'));
    put('bin/tool', 'x', 0o644);
    put('other/tool', 'x');
    put('bin/plain', 'x', 0o644);
    mkdirSync(place('bin/folder'));
    const path = `${place('none')}:${place('bin')}:${place('other')}`;
    expect(findProgram('tool', path)).toEqual({ path: place('other/tool') });
    expect(findProgram('plain', path)).toEqual({ status: 126, why: 'not executable' });
    expect(findProgram('missing', path)).toEqual({ status: 127, why: 'not found' });
    expect(findProgram('folder', path)).toMatchObject({ status: 126 });
    expect(findProgram('sh', undefined)).toEqual({ path: '/bin/sh' });
    expect(findProgram(place('other/tool'), undefined)).toEqual({ path: place('other/tool') });
    expect(findProgram('./missing', path)).toMatchObject({ status: 127 });
  });
});

test('a library that was not built is an error that says how to build it', () => {
  put('package.json', '{}');
  mkdirSync(place('deep/er'), { recursive: true });
  expect(() => libraryPath(place('deep/er'))).toThrow(/was not built/);
  mkdirSync(place('native/build/preload'), { recursive: true });
  put('native/build/preload/libkangaroo.so', '');
  expect(libraryPath(place('deep/er'))).toBe(place('native/build/preload/libkangaroo.so'));
});
