/** The export directory on local disk keeps the storage contract, with the addon and without. */

import { expect, test } from 'vitest';
import { addonReason, native } from '../../../src/base/addon.ts';
import { openLocalStorage } from '../../../src/server/storage-local.ts';
import { storageConformance } from '../../conformance/storage.ts';

storageConformance('without the addon', (directory) => openLocalStorage(directory, null), {
  followsLinks: false,
  timesWithinNs: 1000n,
});

if (native === null) {
  process.stderr.write(`storage with the addon: skipped: ${addonReason}\n`);
  test.skip(`with the addon: ${addonReason}`);
} else {
  storageConformance('with the addon', (directory) => openLocalStorage(directory, native), {
    followsLinks: true,
    timesWithinNs: 0n,
  });
}

test('a directory that is not there is told at once', () => {
  for (const addon of [native, null]) {
    expect(() => openLocalStorage('/nonexistent/kangaroo', addon)).toThrow(/ENOENT/);
    expect(() => openLocalStorage('/dev/null', addon)).toThrow(/ENOTDIR/);
  }
});
