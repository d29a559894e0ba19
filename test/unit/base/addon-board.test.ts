/**
 * The addon's calls for memory between processes: shared maps, the lock that survives its holder,
 * and what they refuse. Each other process is a `node` of its own that loads the same addon.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addonReason, native, type NativeAddon } from '../../../src/base/addon.ts';

const BYTES = 8192;
const addonFile = fileURLToPath(
  new URL('../../../native/build/Release/kangaroo.node', import.meta.url),
);

describe.skipIf(native === null)(`memory between processes ${addonReason}`, () => {
  const addon = native as NativeAddon;
  let directory: string;
  let file: string;
  let memory: ArrayBuffer;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'kangaroo-shared-'));
    file = join(directory, 'board');
    const fd = openSync(file, 'wx+', 0o600);
    ftruncateSync(fd, BYTES);
    memory = addon.mapShared(fd, BYTES);
    // The map stands without it.
    closeSync(fd);
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  /** Runs in another process, which has `addon` and `memory`. */
  function elsewhere(script: string): readonly string[] {
    const start = `const addon = require(${JSON.stringify(addonFile)});
      const fd = require('fs').openSync(${JSON.stringify(file)}, 'r+');
      const memory = addon.mapShared(fd, ${BYTES});`;
    return ['-e', `${start}\n${script}`];
  }

  test('what one writes the file has, and the other reads', () => {
    Atomics.store(new BigUint64Array(memory), 2, 0x1122_3344_5566_7788n);
    expect(readFileSync(file).readBigUInt64LE(16)).toBe(0x1122_3344_5566_7788n);
    const script = `Atomics.add(new BigUint64Array(memory), 2, 1n);`;
    expect(spawnSync(process.execPath, elsewhere(script)).status).toBe(0);
    expect(Atomics.load(new BigUint64Array(memory), 2)).toBe(0x1122_3344_5566_7789n);
  });

  test('a lock is waited for until the deadline, and taken over from the dead', async () => {
    addon.initializeLock(memory, 128);
    expect(addon.lock(memory, 128, 0)).toBe(true);
    addon.unlock(memory, 128);
    const script = `addon.lock(memory, 128, 1000);
      process.stdout.write('locked');
      setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, elsewhere(script), {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    const begin = performance.now();
    expect(addon.lock(memory, 128, 100)).toBe(false);
    expect(performance.now() - begin).toBeGreaterThan(90);
    holder.kill('SIGKILL');
    await new Promise((resolve) => holder.once('exit', resolve));
    expect(addon.lock(memory, 128, 1_000)).toBe(true);
    addon.unlock(memory, 128);
    expect(addon.lock(memory, 128, 0)).toBe(true);
    addon.unlock(memory, 128);
    expect(() => addon.unlock(memory, 128)).toThrow('EPERM');
  });

  test('a place outside of the memory, or that is none, is refused', () => {
    for (const offset of [BYTES, BYTES - 8, 4, -16, 0.5]) {
      expect(() => addon.initializeLock(memory, offset)).toThrow(TypeError);
      expect(() => addon.lock(memory, offset, 0)).toThrow(TypeError);
    }
    expect(() => addon.futexWake(memory, BYTES)).toThrow(TypeError);
    expect(() => addon.futexWake(memory, 2)).toThrow(TypeError);
    expect(() => addon.futexWake(Buffer.alloc(8) as unknown as ArrayBuffer, 0)).toThrow(TypeError);
    addon.futexWake(memory, BYTES - 4);
    expect(() => addon.mapShared(9_999, BYTES)).toThrow('EBADF');
  });
});
