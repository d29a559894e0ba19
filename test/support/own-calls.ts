/**
 * The system calls that this very process makes during a piece of work, by strace(1) attached to it
 * from outside: the only witness of what was asked of the disk, and in which order.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface OwnCall {
  readonly name: string;
  /** Its arguments as strace writes them, descriptors with their paths. */
  readonly args: string;
}

/** Calls named in `names`, in the order in which they began; null where strace may not attach. */
export async function ownCalls(
  names: string,
  work: () => Promise<void> | void,
): Promise<OwnCall[] | null> {
  const directory = mkdtempSync(join(tmpdir(), 'kangaroo-calls-'));
  const trace = join(directory, 'trace');
  closeSync(openSync(trace, 'w'));
  try {
    const options = ['-f', '-y', '-s', '0', '-p', `${process.pid}`, '-e', `trace=${names}`];
    const strace = spawn('strace', [...options, '-o', trace]);
    const attached = await new Promise<boolean>((resolve) => {
      strace.on('error', () => resolve(false));
      strace.on('exit', () => resolve(false));
      strace.stderr.on('data', (text: Buffer) => {
        if (text.toString().includes('attached')) resolve(true);
      });
    });
    if (!attached) {
      console.log('skipped: strace is missing or may not attach to this process');
      return null;
    }
    const ended = new Promise((resolve) => strace.once('exit', resolve));
    try {
      await work();
    } finally {
      strace.kill('SIGINT');
      await ended;
    }
    return [...readFileSync(trace, 'utf8').matchAll(/^\d+ +(\w+)\((.*)$/gm)].map((found) => ({
      name: found[1] as string,
      args: found[2] as string,
    }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
