/**
 * What a fresh clone needs before anything can be built: a young enough Node, a C++ compiler, make
 * and Python 3. Each that is missing is named together with the Debian package that has it.
 *
 * It also finds Node's C headers where they lie beside the running node, as in the official
 * archives and in Debian's packages, so that building the addons downloads nothing there.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

const oldestNode = [20, 19];

/** One line of complaint, or undefined. */
export function nodeComplaint(version = process.versions.node) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor, oldestMinor] = oldestNode;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return undefined;
  return (
    `Node ${oldestNode.join('.')} or newer is needed and this is ${version}: ` +
    `apt install nodejs (Debian 13 or newer), or see nodejs.org`
  );
}

/**
 * One line that names every missing build tool, or undefined. `forAddon` false: only what C needs.
 */
export function toolsComplaint({ forAddon = true } = {}) {
  const missing = [];
  const need = (tool, debianPackage, found) => {
    if (!found) missing.push([tool, debianPackage]);
  };
  need('a C compiler', 'gcc', findCompiler('CC', ['gcc', 'cc', 'clang']) !== undefined);
  need('make', 'make', runs(process.env['MAKE'] || 'make'));
  if (forAddon) needForAddon(need);
  if (missing.length === 0) return undefined;
  const tools = missing.map(([tool]) => tool).join(', ');
  const packages = missing.map(([, debianPackage]) => debianPackage).join(' ');
  return `cannot be built without ${tools}: apt install ${packages}`;
}

function needForAddon(need) {
  need('a C++ compiler', 'g++', findCompiler('CXX', ['g++', 'c++', 'clang++']) !== undefined);
  const pythons = [process.env['PYTHON'], 'python3', 'python'].filter(Boolean);
  need('Python 3', 'python3', pythons.some(isPython3));
}

/** The environment for npm and node-gyp: this one, and what finds the compiler and headers. */
export function buildEnvironment() {
  const environment = { ...process.env };
  // node-gyp calls gcc and g++ by name unless told otherwise.
  environment['CC'] ||= findCompiler('CC', ['gcc', 'cc', 'clang']);
  environment['CXX'] ||= findCompiler('CXX', ['g++', 'c++', 'clang++']);
  environment['npm_config_nodedir'] ||= headersPrefix();
  for (const name of ['CC', 'CXX', 'npm_config_nodedir']) {
    if (environment[name] === undefined) delete environment[name];
  }
  return environment;
}

// The folder above include/node, if the headers there are this very version's.
function headersPrefix() {
  const prefix = dirname(dirname(process.execPath));
  const include = join(prefix, 'include', 'node');
  if (!existsSync(join(include, 'common.gypi'))) return undefined;
  let text;
  try {
    text = readFileSync(join(include, 'node_version.h'), 'utf8');
  } catch {
    return undefined;
  }
  const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const version = ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  return version === process.versions.node ? prefix : undefined;
}

function findCompiler(variable, names) {
  // The variable may carry options or a wrapper, such as `ccache g++`.
  const chosen = process.env[variable];
  if (chosen) return runs(chosen.split(' ')[0]) ? chosen : undefined;
  return names.find(isOnPath);
}

function isOnPath(name) {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return folder !== '';
    } catch {
      return false;
    }
  });
}

function runs(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function isPython3(command) {
  const program = 'import sys; sys.exit(sys.version_info < (3, 8))';
  return spawnSync(command, ['-c', program], { stdio: 'ignore' }).status === 0;
}
