/**
 * kangaroo ls, stat, mkdir, mv and rm: names at a destination, as they are and as operations still
 * on their way will leave them.
 *
 * What changes a name is committed before the command returns: it is safe at the first hop, and
 * arrives in its order. Lookups come first, so that what cannot work is refused here and does not
 * end up held at the destination. Several addresses: each failure has its line, the others go on.
 */
import type { Command } from 'commander';
import { asKangarooError, KangarooError } from '../../base/errors.ts';
import {
  type Address,
  formatAddress,
  joinPath,
  parseAddress,
  splitPath,
} from '../../route/address.ts';
import type { Entry, FileFacts, Kangaroo } from '../client.ts';
import type { Context } from './commands.ts';
import { exitStatusHelp } from './exit-status.ts';
import { print, printJson } from './io.ts';
import { entryJson, entryLine, factsLines, shownName } from './names-view.ts';
import { bounds, clientCommand, type ServerFlag, withClient } from './with-client.ts';

interface NameFlags extends ServerFlag {
  readonly json?: boolean;
  readonly long?: boolean;
  readonly parents?: boolean;
  readonly recursive?: boolean;
}

const READ_STATUSES = exitStatusHelp([0, 1, 2, 69, 75, 77, 130], 'all of it was found');
const CHANGE_STATUSES = exitStatusHelp(
  [0, 1, 2, 69, 75, 77, 130],
  'durable at the first hop; kangaroo push waits for its arrival',
);

export function define(program: Command, context: Context): void {
  clientCommand(program, 'ls', 'List directories; a file is listed as itself.')
    .usage('[options] ADDRESS...')
    .argument('<address...>')
    .option('-l, --long', 'with mode, size and time of change')
    .option('--json', 'one JSON document')
    .addHelpText('after', example('kangaroo ls -l kangaroo://archive/run7', READ_STATUSES))
    .action((texts: string[], flags: NameFlags) => ls(texts, flags, context));
  clientCommand(program, 'stat', 'Show kind, size, mode, time, and what is still on its way.')
    .usage('[options] ADDRESS...')
    .argument('<address...>')
    .option('--json', 'one JSON document')
    .addHelpText('after', example('kangaroo stat kangaroo://archive/run7/a.dat', READ_STATUSES))
    .action((texts: string[], flags: NameFlags) => stat(texts, flags, context));
  clientCommand(program, 'mkdir', 'Make directories.')
    .usage('[options] ADDRESS...')
    .argument('<address...>')
    .option('-p, --parents', 'with the missing ones above; one that exists is no error')
    .addHelpText(
      'after',
      example('kangaroo mkdir -p kangaroo://archive/run7/logs', CHANGE_STATUSES),
    )
    .action((texts: string[], flags: NameFlags) => mkdir(texts, flags, context));
  clientCommand(program, 'mv', 'Rename a file or directory within its server.')
    .usage('[options] SRC DEST')
    .argument('<src>')
    .argument('<dest>', 'the new name, or a directory to move it into')
    .addHelpText(
      'after',
      example('kangaroo mv kangaroo://archive/run7 kangaroo://archive/run7.old', CHANGE_STATUSES),
    )
    .action((from: string, to: string, flags: NameFlags) => mv(from, to, flags, context));
  clientCommand(program, 'rm', 'Remove files; with -r directories with what is in them.')
    .usage('[options] ADDRESS...')
    .argument('<address...>')
    .option('-r, --recursive', 'directories too')
    .addHelpText('after', example('kangaroo rm -r kangaroo://archive/run6', CHANGE_STATUSES))
    .action((texts: string[], flags: NameFlags) => rm(texts, flags, context));
}

function example(line: string, statuses: string): string {
  return `\nExample:\n  ${line}\n\n${statuses}`;
}

/** Does `work` for each address; parse errors come before anything is done. */
async function forEach(
  texts: readonly string[],
  flags: NameFlags,
  { io, fail }: Context,
  changes: boolean,
  work: (client: Kangaroo, address: Address) => Promise<void>,
): Promise<void> {
  const addresses = texts.map(parseAddress);
  await withClient(io, flags, async (client) => {
    for (const address of addresses) {
      try {
        await work(client, address);
      } catch (error) {
        const { code } = asKangarooError(error);
        if (code === 'INTERRUPTED' || code === 'UNREACHABLE') throw error;
        fail(error);
      }
    }
    if (changes) await client.commit(bounds(io));
  });
}

async function ls(texts: readonly string[], flags: NameFlags, context: Context): Promise<void> {
  const { io } = context;
  const documents: unknown[] = [];
  let first = true;
  await forEach(texts, flags, context, false, async (client, address) => {
    const shown = formatAddress(address.name, address.path);
    const entries = entriesOf(client, address, context);
    if (flags.json === true) {
      const list: unknown[] = [];
      for await (const entry of entries) list.push(entryJson(entry));
      documents.push({ address: shown, entries: list });
      return;
    }
    if (texts.length > 1) print(io, `${first ? '' : '\n'}${shownName(shown)}:`);
    first = false;
    for await (const entry of entries) {
      print(io, flags.long === true ? entryLine(entry) : shownName(entry.name, entry.kind));
    }
  });
  if (flags.json === true) printJson(io, texts.length === 1 ? (documents[0] ?? null) : documents);
}

/** What is in a directory; a file is itself. */
async function* entriesOf(
  client: Kangaroo,
  address: Address,
  { io }: Context,
): AsyncGenerator<Entry, void, undefined> {
  try {
    yield* client.list(address, { signal: io.signal });
  } catch (error) {
    if (asKangarooError(error).code !== 'NOT_DIRECTORY') throw error;
    const facts = await client.stat(address, { signal: io.signal });
    yield { ...facts, name: splitPath(address.path)[1], address };
  }
}

async function stat(texts: readonly string[], flags: NameFlags, context: Context): Promise<void> {
  const { io } = context;
  const documents: unknown[] = [];
  await forEach(texts, flags, context, false, async (client, address) => {
    const facts = await client.stat(address, { signal: io.signal });
    const shown = formatAddress(address.name, address.path);
    if (flags.json === true) {
      documents.push({ ...entryJson({ ...facts, name: shown, address }), ...pending(facts) });
    } else {
      for (const line of factsLines(shown, facts)) print(io, line);
    }
  });
  if (flags.json === true) printJson(io, texts.length === 1 ? (documents[0] ?? null) : documents);
}

function pending({ pendingBytes }: FileFacts): { pendingBytes: number } {
  return { pendingBytes };
}

async function mkdir(texts: readonly string[], flags: NameFlags, context: Context): Promise<void> {
  const { signal } = context.io;
  const parents = flags.parents === true;
  await forEach(texts, flags, context, true, async (client, address) => {
    const found = await statOrNull(client, address, context);
    if (found !== null && !(parents && found.kind === 'directory')) {
      throw refused('EXISTS', address, `there is a ${found.kind} of that name`);
    }
    if (found === null) await client.mkdir(address, { parents, signal });
  });
}

async function mv(from: string, to: string, flags: NameFlags, context: Context): Promise<void> {
  const { signal } = context.io;
  const target = parseAddress(to);
  if (parseAddress(from).name !== target.name) {
    throw new KangarooError('USAGE', `${from} and ${to} are on different servers`, {
      hint: 'get it and put it there',
    });
  }
  await forEach([from], flags, context, true, async (client, source) => {
    refuseRoot(source);
    await assertNotAbsent(client, source, context);
    const found = await statOrNull(client, target, context);
    if (target.directory && found?.kind !== 'directory') {
      throw refused('NOT_DIRECTORY', target, found === null ? 'no such directory' : 'a file');
    }
    const into = found?.kind === 'directory';
    const path = into ? joinPath(target.path, splitPath(source.path)[1]) : target.path;
    if (path === source.path || path.startsWith(`${source.path}/`)) {
      throw refused('EXISTS', source, 'cannot be moved into itself');
    }
    await client.rename(source, { name: target.name, path, directory: false }, { signal });
  });
}

async function rm(texts: readonly string[], flags: NameFlags, context: Context): Promise<void> {
  const { signal } = context.io;
  await forEach(texts, flags, context, true, async (client, address) => {
    refuseRoot(address);
    const { kind } = await client.stat(address, { signal });
    if (kind !== 'directory') await client.remove(address, { signal });
    else if (flags.recursive === true) await removeTree(client, address, context);
    else throw refused('IS_DIRECTORY', address, 'is a directory', 'use rm -r');
  });
}

/** Depth first, page by page: a listing goes on behind a name, whether that still exists or not. */
async function removeTree(client: Kangaroo, address: Address, context: Context): Promise<void> {
  const { signal } = context.io;
  for await (const entry of client.list(address, { signal })) {
    if (entry.kind === 'directory') await removeTree(client, entry.address, context);
    else await client.remove(entry.address, { signal });
  }
  await client.remove(address, { directory: true, signal });
}

function refuseRoot({ name, path }: Address): void {
  if (path !== '') return;
  throw new KangarooError('USAGE', `${formatAddress(name, path)} is the export directory itself`, {
    hint: 'name what is in it',
  });
}

/** A source that nobody can see now may be there: the rename is spooled, and held if it is not. */
async function assertNotAbsent(client: Kangaroo, address: Address, { io }: Context): Promise<void> {
  try {
    await client.stat(address, { signal: io.signal });
  } catch (error) {
    if (asKangarooError(error).code !== 'NOT_YET') throw error;
  }
}

async function statOrNull(
  client: Kangaroo,
  address: Address,
  { io }: Context,
): Promise<FileFacts | null> {
  try {
    return await client.stat(address, { signal: io.signal });
  } catch (error) {
    // While its server is away a name that is not known here counts as absent, so that work goes
    // on.
    const { code } = asKangarooError(error);
    if (code === 'NOT_FOUND' || code === 'NOT_YET') return null;
    throw error;
  }
}

function refused(
  code: 'EXISTS' | 'IS_DIRECTORY' | 'NOT_DIRECTORY',
  { name, path }: Address,
  why: string,
  hint?: string,
): KangarooError {
  return new KangarooError(code, `${formatAddress(name, path)}: ${why}`, { hint });
}
