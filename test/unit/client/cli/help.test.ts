/**
 * The command line that other people's scripts rely on: names, options and exit statuses stay.
 * CONTRACT is that promise; a row may get longer, and nothing may leave it.
 */
import { describe, expect, test } from 'vitest';
import { ERRORS } from '../../../../src/base/errors.ts';
import { version } from '../../../../src/base/version.ts';
import { COMMANDS } from '../../../../src/client/cli/commands.ts';
import { EXIT_STATUSES, worstOf } from '../../../../src/client/cli/exit-status.ts';
import { run } from './run-io.ts';

const CONTRACT: Readonly<Record<string, readonly string[]>> = {
  put: ['--push', '-r', '--timeout', '--no-progress', '--server'],
  get: ['--offset', '--length', '-r', '--server'],
  run: ['--server', '--timeout', '--mount', '--report', '--fsync', '--print-library'],
  commit: ['--server'],
  push: ['--timeout', '--server'],
  ls: ['--server'],
  stat: ['--server'],
  mkdir: ['--server'],
  mv: ['--server'],
  rm: ['-r', '--server'],
  status: ['--json', '--watch', '--server'],
  messages: ['--json', '--follow', '--server'],
  retry: ['--server'],
  discard: ['--server'],
  check: ['--spool'],
  server: [
    '--name',
    '--listen',
    '--socket',
    '--export',
    '--spool',
    '--spool-limit',
    '--allow',
    '--route',
    '--config',
    '--ready-file',
    '--no-mover',
  ],
  mover: ['--spool'],
  demo: [],
};

describe('help', () => {
  test('every command is listed by --help and has a row in the contract', async () => {
    const { stdout, status } = await run(['--help']);
    expect(status).toBe(0);
    for (const name of Object.keys(CONTRACT))
      expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    expect(COMMANDS.map(({ name }) => name).sort()).toEqual(Object.keys(CONTRACT).sort());
  });

  test.each(Object.entries(CONTRACT))(
    '%s --help: options, statuses, example',
    async (name, flags) => {
      const { stdout, stderr, status } = await run([name, '--help']);
      expect(status).toBe(0);
      expect(stderr).toBe('');
      for (const flag of flags) expect(stdout).toMatch(new RegExp(`^  (-\\w, )?${flag}\\b`, 'm'));
      expect(stdout).toMatch(/^Examples?:\n {2}\S/m);
      expect(stdout).toMatch(/^Exit status:\n {2}0 /m);
      for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
      expect(stdout).toMatch(new RegExp(`^Usage: kangaroo ${name}\\b`));
    },
  );

  test('help NAME is NAME --help, help is --help', async () => {
    expect(await run(['help', 'put'])).toEqual(await run(['put', '--help']));
    expect(await run(['help'])).toEqual(await run(['--help']));
  });

  test('--version', async () => {
    expect(await run(['--version'])).toMatchObject({ status: 0, stdout: `${version}\n` });
  });
});

describe('exit statuses', () => {
  test('every status of an error is one of the contract', () => {
    expect(Object.keys(EXIT_STATUSES).map(Number)).toEqual([0, 1, 2, 69, 73, 75, 77, 78, 130]);
    for (const { exitStatus } of Object.values(ERRORS))
      expect(EXIT_STATUSES).toHaveProperty([exitStatus]);
  });

  test('the worst of several', () => {
    expect(worstOf([])).toBe(0);
    expect(worstOf([75])).toBe(75);
    expect(worstOf([75, 1, 69])).toBe(1);
    expect(worstOf([73, 75])).toBe(73);
    expect(worstOf([1, 130, 2])).toBe(130);
    expect(worstOf([0, 1, 77])).toBe(77);
  });
});

describe('wrong usage is one line and status 2', () => {
  test.each<[string[], string]>([
    [[], 'kangaroo: no command (kangaroo --help lists them)'],
    [['pt'], "kangaroo: there is no command 'pt' (did you mean 'put'?)"],
    [['help', 'frobnicate'], "kangaroo: there is no command 'frobnicate'"],
    [['--frob'], "kangaroo: unknown option '--frob' (see kangaroo --help)"],
    [['put', '--pussh', 'a', 'kangaroo://a/b'], "unknown option '--pussh' (did you mean --push?)"],
    [['put'], "missing required argument 'src' (see kangaroo put --help)"],
    [['put', 'a'], 'a: the source or the destination is missing'],
    [['put', 'a', 'b'], 'b: not an address'],
    [['put', 'kangaroo://a/x', 'kangaroo://a/y'], 'a source of put is a local file'],
    [['put', '-', 'x', 'kangaroo://a/'], 'standard input goes alone'],
    [['put', '-', 'kangaroo://a/dir/'], 'standard input goes alone'],
    [['put', 'a', 'kangaroo://a/../x'], "'..' are not allowed"],
    [['put', 'a', 'kangaroo://a/b', '--timeout', '30'], "--timeout '30' is not a duration"],
    [['get', 'kangaroo://a/b'], "missing required argument 'dest'"],
    [['get', 'x', 'y'], 'x: not an address'],
    [['get', 'kangaroo://a/b', 'y', '--offset', 'five'], "--offset 'five' is not a size"],
    [['get', 'kangaroo://a/b', '-', '-r'], '-r goes with neither'],
    [['get', 'kangaroo://a/b', 'c', 'd'], 'too many arguments'],
    [['push', 'kangaroo://'], "'' is no server name"],
    [['commit', 'x'], 'too many arguments'],
    [['mv', 'kangaroo://a/b', 'kangaroo://c/d'], 'are on different servers'],
    [['status', '--json', '--watch'], '--json shows one moment'],
    [['discard'], "missing required argument 'target'"],
    [['discard', ''], 'discard wants a target'],
    [['server'], 'the server has no name'],
    [['server', '--name', 'n', '--listen', '0.0.0.0:1'], 'other machines could reach'],
    [['server', '--name', 'n', '--log-level', 'loud'], 'not one of'],
    [['mover'], 'the mover has no spool'],
    [['check'], 'no spool'],
    [['run'], 'no program'],
    [['run', '--timeout', '30', 'true'], "--timeout '30' is not a duration"],
    [['run', '--mount', 'x'], "--mount 'x' is not a pair of paths"],
    [['run', '--fsync', 'maybe'], "option '--fsync <what>' argument 'maybe' is invalid"],
  ])('%j', async (argv, text) => {
    const { status, stdout, stderr } = await run(argv);
    expect(stderr).toContain(text);
    expect(stderr.endsWith(')\n')).toBe(true);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toMatch(new RegExp(`^kangaroo( ${argv[0] ?? ''})?: `));
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });
});
