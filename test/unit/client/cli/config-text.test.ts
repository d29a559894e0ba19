/**
 * config/server.example.toml and config/REFERENCE.md are what the table of settings says, and the
 * example is a file that a server takes.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { SERVER_SETTINGS } from '../../../../src/base/config.ts';
import { exampleFile, referencePage } from '../../../../src/client/cli/config-text.ts';
import { readServerOptions } from '../../../../src/client/cli/server-options.ts';

const again = 'run npm run build && node scripts/config-reference.mjs';

function committed(path: string): string {
  return readFileSync(new URL(`../../../../config/${path}`, import.meta.url), 'utf8');
}

test('the files in config/ are up to date', () => {
  expect(committed('server.example.toml'), again).toBe(exampleFile());
  expect(committed('REFERENCE.md'), again).toBe(referencePage());
});

test('every setting is in both', () => {
  for (const { key } of Object.values(SERVER_SETTINGS)) {
    expect(exampleFile()).toMatch(new RegExp(`^(# )?${key} = `, 'm'));
    expect(referencePage()).toContain(`## \`${key}\`\n`);
  }
});

test('the example is taken, also with every line in force', async () => {
  const flags = { listen: ['127.0.0.1:0'] };
  const from = { flags, env: {}, home: '/home/u' };
  const asIs = { name: 'example', text: exampleFile() };
  expect(await readServerOptions({ ...from, file: asIs })).toMatchObject({
    name: 'archive.example.org',
    mover: true,
  });
  const all = { name: 'example', text: exampleFile().replace(/^# ([a-z-]+ = )/gm, '$1') };
  expect(await readServerOptions({ ...from, file: all })).toMatchObject({
    export: '/srv/archive',
    allow: ['192.0.2.0/24', '2001:db8::/32'],
    logLevel: 'info',
  });
});
