/**
 * Makes the programs of dist/ from src/: a few files where src has a hundred. Node finds, reads and
 * compiles a module at a time, and a short command such as `kangaroo put` would spend more time on
 * that than on its work.
 *
 *   node scripts/bundle.mjs dist      replaces them there, without a look at the types
 *
 * What a short command needs is in four files, whatever it does; the server, the mover and the
 * commands that few people call are apart. Names and comments stay, and there are source maps, so
 * that a stack trace can be read. Packages are not bundled.
 */

import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';
import { root } from './stamp.mjs';

/** Programs and the library; and what other scripts import. The rest follows from their imports. */
const ENTRIES = [
  ...['index', 'client/cli/main', 'mover/child'],
  ...['base/crc32c', 'protocol/frame', 'protocol/messages', 'protocol/operation'],
  'client/cli/config-text',
];

/** What every command that talks to a server needs, and put, which is called most. */
const TALKING = ['with-client', 'text', 'progress', 'failures', 'push', 'cmd-put'];

/**
 * What goes into one file, with what it imports unless an earlier group has that. The name says
 * where the file lies: see assertPlaces.
 */
const GROUPS = [
  // All but the log, which loads a package that no client needs.
  { name: 'base/base', test: /\/src\/base\/(?!log)/, priority: 5 },
  // With base all that --help and --version need.
  { name: 'client/cli/run', test: /\/cli\/(?:run|commands|exit-status|io)\./, priority: 4 },
  { name: 'client/library', test: /\/src\/(?:protocol|route|client)\/[^/]+$/, priority: 3 },
  {
    name: 'client/cli/talking',
    test: new RegExp(`/cli/(?:${TALKING.join('|')})[.]`),
    priority: 2,
  },
  // It reads a file beside it, and the mover must not load it.
  { name: 'spool/index', test: /\/src\/spool\/index\./, priority: 1 },
];

/** Throws an Error when it cannot be done. `directory` is relative to the root. */
export async function bundle(directory) {
  const source = join(root, 'src');
  const placeOf = (file) => relative(source, file).replace(/\.ts$/, '');
  const build = await rolldown({
    input: Object.fromEntries(ENTRIES.map((entry) => [entry, join(source, `${entry}.ts`)])),
    platform: 'node',
    external: /^[^./]/,
    transform: { target: 'node20.19' },
    onLog: (level, log) => {
      // A command loads such a module late by itself, and here it is at hand anyway.
      if (log.code !== 'INEFFECTIVE_DYNAMIC_IMPORT' && level === 'warn')
        throw new Error(log.message);
    },
  });
  const { output } = await build.write({
    dir: join(root, directory),
    format: 'esm',
    sourcemap: true,
    entryFileNames: '[name].js',
    chunkFileNames: ({ name, facadeModuleId, moduleIds }) => {
      const place = facadeModuleId ?? moduleIds.at(-1);
      return name.includes('/') ? `${name}.js` : `${placeOf(place)}.js`;
    },
    codeSplitting: { groups: GROUPS },
  });
  await build.close();
  assertPlaces(
    output.filter(({ type }) => type === 'chunk'),
    placeOf,
  );
}

/** What looks for a file by `import.meta.url` has to be as deep, or where, it is in src. */
function assertPlaces(chunks, placeOf) {
  for (const { fileName, moduleIds } of chunks) {
    for (const file of moduleIds) {
      const found = /new URL\('(\.[^']*)', import\.meta\.url\)/.exec(readFileSync(file, 'utf8'));
      if (found === null) continue;
      const [wanted, got] = [dirname(placeOf(file)), dirname(fileName)];
      if (join(wanted, found[1]) === join(got, found[1])) continue;
      throw new Error(`${file} finds ${found[1]} no more from ${fileName}: see GROUPS`);
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await bundle(process.argv[2] ?? 'dist');
}
