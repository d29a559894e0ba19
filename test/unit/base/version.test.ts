/** The version constant is package.json's, and is a version. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { version } from '../../../src/base/version.ts';

test('is what package.json says', () => {
  const file = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  expect(version).toBe((JSON.parse(file) as { version: string }).version);
  expect(version).toMatch(/^\d+\.\d+\.\d+/);
});
