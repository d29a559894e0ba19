/**
 * kangaroo run: starts a program with /kangaroo/NAME/path in its file system, and ends as it ends.
 *
 * The program has this command's own standard streams and is in its process group, so a terminal
 * and a batch system treat the two as one. Its exit status is passed on, 128+n when signal n ended
 * it. The library says in a file of this run, and on standard error, when the status is to be
 * another one: 78, a call met what will never work; 75, it had to kill the program, start it again.
 * What of the program still runs then is killed too, or it would go on without the part that is
 * gone.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, watch } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import {
  adaptedEnvironment,
  checkMountList,
  type Mount,
  parseMount,
} from '../../adapter/environment.ts';
import { libraryPath } from '../../adapter/library.ts';
import { findProgram, whyNotReached } from '../../adapter/program.ts';
import { asKangarooError, explain, KangarooError } from '../../base/errors.ts';
import { parseDuration } from '../../base/units.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { type Io, print } from './io.ts';

const TRY_AGAIN = 75;
const NEVER_WILL = 78;
/** Passed on to the program; those of a terminal's keys reach it without us, see isForeground. */
const PASSED_ON = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGCONT'] as const;
const OF_KEYS = ['SIGINT', 'SIGQUIT'] as const;
/** What a killed program had started meanwhile is looked for a few times. */
const KILL_ROUNDS_MAX = 10;

interface RunFlags {
  readonly server?: string;
  readonly timeout?: string;
  readonly mount?: readonly Mount[];
  readonly report?: string;
  readonly fsync?: 'commit' | 'push';
  readonly printLibrary?: boolean;
}

export function define(program: Command, context: Context): void {
  // What stands behind the program's name is the program's, options too.
  program.enablePositionalOptions();
  program
    .command('run')
    .description(
      'Start a program that sees /kangaroo/NAME/path as files: what it writes goes to the first\n' +
        'hop, fsync is a push, its exit is a commit.',
    )
    .usage('[options] [--] PROGRAM ARG...')
    .argument('[program...]', 'the program and its arguments')
    .passThroughOptions()
    .option('--server <addr>', 'unix:/path, a path or host:port; else $KANGAROO_SERVER')
    .option('--timeout <t>', 'how long a call may wait for a server that is gone (default: 5m)')
    .option(
      '--mount <logical=target>',
      'where a path of the program leads, /kangaroo/NAME/... or a local path; repeatable',
      (value: string, before?: readonly Mount[]) => [...(before ?? []), parseMount(value)],
    )
    .option('--report <file>', 'what was intercepted, written at exit; - is standard error')
    .addOption(
      new Option('--fsync <what>', 'what fsync waits for (default: push)').choices([
        'commit',
        'push',
      ]),
    )
    .option('--print-library', 'print what LD_PRELOAD is to name, and do nothing else')
    .addHelpText('after', helpEnd())
    .action((argv: string[], flags: RunFlags) => run(argv, flags, context));
}

function helpEnd(): string {
  return `
Examples:
  kangaroo run -- tar xf input.tar -C /kangaroo/archive/run7
  kangaroo run --mount output.txt=/kangaroo/archive/run7/output.txt ./simulate

${exitStatusHelp([0, 2, TRY_AGAIN, NEVER_WILL], 'the program ended so; its others are passed on')}
  126  the program cannot be started
  127  there is no such program
  128+n signal n ended the program`;
}

async function run(argv: readonly string[], flags: RunFlags, context: Context): Promise<void> {
  const { io, endWith } = context;
  const [name] = argv;
  if (name === undefined && flags.printLibrary !== true) {
    const hint = 'kangaroo run [options] [--] PROGRAM ARG...';
    throw new KangarooError('USAGE', 'no program', { hint });
  }
  const settings = settingsOf(flags);
  checkMountList(io.env['KANGAROO_MOUNTS']);
  const library = libraryOrEnd(context);
  if (library === null) return;
  if (name === undefined || flags.printLibrary === true) {
    print(io, library);
    return;
  }
  const file = fileOf(name, context);
  if (file === null) return;
  const directory = mkdtempSync(join(tmpdir(), 'kangaroo-run-'));
  try {
    const verdict = join(directory, 'verdict');
    const env = adaptedEnvironment(io.env, { library, verdict, ...settings });
    endWith(await startAndWait(name, file, argv, env, verdict, context));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Without the library no program of this kind can ever run here. */
function libraryOrEnd({ io, endWith }: Context): string | null {
  try {
    return libraryPath();
  } catch (error) {
    io.stderr.write(`kangaroo run: ${explain(asKangarooError(error))}\n`);
    endWith(NEVER_WILL);
    return null;
  }
}

/** @throws KangarooError USAGE */
function settingsOf(flags: RunFlags): Partial<Parameters<typeof adaptedEnvironment>[1]> {
  const { server, timeout, report } = flags;
  return {
    server: server === undefined || !server.startsWith('.') ? server : resolve(server),
    timeoutMs: timeout === undefined ? undefined : parseDuration(timeout, '--timeout'),
    mounts: flags.mount,
    // The program may be somewhere else when it ends.
    report: report === undefined || report === '-' ? report : resolve(report),
    fsync: flags.fsync,
  };
}

/** What to start for `name`, with the one line that it may be worth; null: it has been told. */
function fileOf(name: string, { io, endWith }: Context): string | null {
  // Only an adapted program sees it: a shell, which then becomes it.
  if (name.startsWith('/kangaroo/')) return name;
  const found = findProgram(name, io.env['PATH']);
  if ('status' in found) {
    const hint = found.status === 127 ? 'check the name and PATH' : 'check the file';
    complain(io, `${name}: ${found.why}`, hint);
    endWith(found.status);
    return null;
  }
  const why = whyNotReached(found.path, io.env['PATH']);
  if (why !== null) complain(io, why, 'it will not see /kangaroo');
  return found.path;
}

/** One line; not by `fail`, whose status would count. text.ts would load all of the library. */
function complain(io: Io, what: string, hint: string): void {
  io.stderr.write(`kangaroo run: ${explain(new KangarooError('LOCAL_FILE', what, { hint }))}\n`);
}

async function startAndWait(
  name: string,
  file: string,
  argv: readonly string[],
  env: Record<string, string>,
  verdict: string,
  { io }: Context,
): Promise<number> {
  const isRemote = file.startsWith('/kangaroo/');
  const [program, rest, argv0] = isRemote
    ? ['/bin/sh', ['-c', 'exec "$0" "$@"', ...argv], '/bin/sh']
    : [file, argv.slice(1), name];
  const child = spawn(program, rest, { env, stdio: 'inherit', argv0 });
  const endForwarding = forwardSignals((signal) => child.kill(signal));
  const endWatching = whenVerdict(verdict, () => killAllWith(verdict));
  try {
    return await new Promise<number>((done) => {
      child.once('error', (error: NodeJS.ErrnoException) => {
        complain(io, `${name}: ${error.code ?? error.message}`, 'check the file');
        done(error.code === 'ENOENT' ? 127 : 126);
      });
      child.once('exit', (status, signal) => {
        const own = status ?? 128 + (signal === null ? 0 : constants.signals[signal]);
        const judged = statusOfVerdict(verdict);
        if (judged === TRY_AGAIN) killAllWith(verdict);
        done(judged ?? own);
      });
    });
  } finally {
    endWatching();
    endForwarding();
  }
}

/**
 * A signal that is sent to this command is meant for the program. It ends this command in no other
 * way than through the program's end.
 */
function forwardSignals(send: (signal: NodeJS.Signals) => void): () => void {
  const listeners: [NodeJS.Signals, () => void][] = [
    ...PASSED_ON.map((name): [NodeJS.Signals, () => void] => [name, () => send(name)]),
    ...OF_KEYS.map((name): [NodeJS.Signals, () => void] => [
      name,
      () => {
        if (!isForeground()) send(name);
      },
    ]),
  ];
  // Those of main.ts would end this command at the second one.
  for (const name of ['SIGINT', 'SIGTERM']) process.removeAllListeners(name);
  for (const [name, listener] of listeners) process.on(name, listener);
  return () => {
    for (const [name, listener] of listeners) process.off(name, listener);
  };
}

/**
 * Is this process group the one of the terminal's keys? Then the program has had the signal too.
 * proc(5): the group is the fifth field of /proc/self/stat, the terminal's the eighth.
 */
function isForeground(): boolean {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[2] === fields[5];
}

/** Calls `act` once, when the library has killed the program or a part of it. */
function whenVerdict(verdict: string, act: () => void): () => void {
  const watcher = watch(join(verdict, '..'), () => {
    if (statusOfVerdict(verdict) !== TRY_AGAIN) return;
    watcher.close();
    act();
  });
  // Without a watch the verdict is still read at the program's end.
  watcher.on('error', () => undefined);
  return () => watcher.close();
}

/**
 * Of lines '75 REASON' and '78 REASON': 75 when there is one, because then the program did not come
 * to its end; null while nobody has written.
 */
function statusOfVerdict(verdict: string): number | null {
  try {
    const text = readFileSync(verdict, 'latin1');
    if (/^75 /m.test(text)) return TRY_AGAIN;
    return /^78 /m.test(text) ? NEVER_WILL : null;
  } catch {
    return null;
  }
}

/** Kills what has this run's verdict in its environment: the program and all it has started. */
function killAllWith(verdict: string): void {
  const mark = `KANGAROO_VERDICT=${verdict}`;
  for (let round = 0; round < KILL_ROUNDS_MAX; round++) {
    const found = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && hasMark(name, mark));
    for (const pid of found) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It was quicker.
      }
    }
    if (found.length === 0) return;
  }
}

/** A process that has ended, or is somebody else's, has an environment that is empty or closed. */
function hasMark(pid: string, mark: string): boolean {
  if (Number(pid) === process.pid) return false;
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark);
  } catch {
    return false;
  }
}
