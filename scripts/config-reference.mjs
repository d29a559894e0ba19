/**
 * Writes config/server.example.toml and config/REFERENCE.md from the table of settings. Run it
 * after a change of src/base/config.ts and a build; a test fails while files and table differ.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, say } from './stamp.mjs';

const { exampleFile, referencePage } = await import('../dist/client/cli/config-text.js');

for (const [path, text] of [
  ['config/server.example.toml', exampleFile()],
  ['config/REFERENCE.md', referencePage()],
]) {
  writeFileSync(join(root, path), text);
  say(`wrote ${path}`);
}
