/**
 * Makes a checkout ready to run: packages installed, native addon built, dist/ compiled. It is what
 * `npm test`, `npm run demo` and `npm run bench` begin with, also on a fresh clone, and takes a
 * fraction of a second when nothing changed.
 *
 * Node's own modules are all it uses. What the machine lacks is told in one line with the Debian
 * package that has it. The native addon and the preload library are optional; everything else must
 * succeed.
 */

import { buildDistIfStale } from './build.mjs';
import { buildNativeIfStale } from './build-native.mjs';
import { buildPreloadIfStale } from './build-preload.mjs';
import { installPackages } from './packages.mjs';
import { say } from './stamp.mjs';
import { nodeComplaint } from './toolchain.mjs';

try {
  const complaint = nodeComplaint();
  if (complaint !== undefined) throw new Error(complaint);
  installPackages();
  buildNativeIfStale();
  buildPreloadIfStale();
  await buildDistIfStale();
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
