/**
 * The list of commands: name, one line, and how to load it. A command's module is loaded when it is
 * called and not before, so that `kangaroo put` does not pay for the parser of configuration files.
 *
 * To add a command: a row here, and a module that exports `define`.
 */
import type { Command } from 'commander';
import type { Io } from './io.ts';

export interface CommandModule {
  /** Adds its commands, with their actions, to `program`. */
  readonly define: (program: Command, context: Context) => void;
}

/** What an action has at hand besides its arguments. */
export interface Context {
  readonly io: Io;
  /** Tells of a failure that does not end the command; its exit status will. */
  readonly fail: (error: unknown) => void;
  /** Ends the command with a status that is not an error's: that of a program it started. */
  readonly endWith: (status: number) => void;
}

interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

const barriers = (): Promise<CommandModule> => import('./cmd-barriers.ts');
const names = (): Promise<CommandModule> => import('./cmd-names.ts');
const messages = (): Promise<CommandModule> => import('./cmd-messages.ts');

export const COMMANDS: readonly CommandRow[] = [
  {
    name: 'put',
    summary: 'put files, trees or standard input',
    load: () => import('./cmd-put.ts'),
  },
  {
    name: 'get',
    summary: 'read a file or a tree back',
    load: () => import('./cmd-get.ts'),
  },
  {
    name: 'run',
    summary: 'start a program that sees /kangaroo as files',
    load: () => import('./cmd-run.ts'),
  },
  { name: 'commit', summary: 'wait until all is safe at the first hop', load: barriers },
  { name: 'push', summary: 'wait until it has arrived', load: barriers },
  { name: 'ls', summary: 'list a directory', load: names },
  { name: 'stat', summary: 'show what is known of a file', load: names },
  { name: 'mkdir', summary: 'make directories', load: names },
  { name: 'mv', summary: 'rename a file or directory', load: names },
  { name: 'rm', summary: 'remove files, or trees with -r', load: names },
  {
    name: 'status',
    summary: 'show what is in transit, and why it waits',
    load: () => import('./cmd-status.ts'),
  },
  { name: 'messages', summary: 'show what was held or failed', load: messages },
  { name: 'retry', summary: 'try again what is held', load: messages },
  { name: 'discard', summary: 'give up what is held', load: messages },
  {
    name: 'check',
    summary: 'verify every checksum in a spool',
    load: () => import('./cmd-check.ts'),
  },
  {
    name: 'server',
    summary: 'run a server and its mover',
    load: () => import('./cmd-server.ts'),
  },
  {
    name: 'mover',
    summary: 'run the mover of a spool alone',
    load: () => import('./cmd-mover.ts'),
  },
  {
    name: 'demo',
    summary: 'see an outage and its recovery',
    load: () => import('./cmd-demo.ts'),
  },
];
