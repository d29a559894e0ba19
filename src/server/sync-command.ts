/**
 * syncfs(2) without the addon: sync(1) with -f, as coreutils and busybox have it, on a descriptor
 * that the child inherits as its number 3.
 *
 * Slower than the call by a process, and the child's own descriptor is opened after the writes, so
 * that a write error which somebody else has already been told about stays unseen. The reason of a
 * failure comes as text only: ENOSPC and EDQUOT are recognised, everything else counts as EIO.
 */
import { spawn } from 'node:child_process';
import { errnoOf, KangarooError } from '../base/errors.ts';
import { errnoError } from './errno-error.ts';

const reasonCharactersMax = 4096;

/** @throws errno errors, and KangarooError NOT_SUPPORTED where there is no such command */
export function syncByCommand(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('sync', ['-f', '/dev/fd/3'], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let reason = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      reason = (reason + text).slice(0, reasonCharactersMax);
    });
    child.on('error', (error) => {
      reject(errnoOf(error) === 'ENOENT' ? notThere(error) : error);
    });
    child.on('close', (status) => {
      if (status === 0) resolve();
      else reject(errnoError(errnoIn(reason), 'sync', '/dev/fd/3'));
    });
  });
}

function errnoIn(reason: string): 'ENOSPC' | 'EDQUOT' | 'EIO' {
  if (reason.includes('No space left on device')) return 'ENOSPC';
  return reason.includes('quota exceeded') ? 'EDQUOT' : 'EIO';
}

function notThere(cause: unknown): KangarooError {
  return new KangarooError('NOT_SUPPORTED', 'neither the addon nor the command sync is there', {
    hint: 'run npm run build:native, or install coreutils',
    cause,
  });
}
