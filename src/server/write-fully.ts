/**
 * pwrite(2) until all is written: the kernel may take a part, on a signal or a nearly full disk.
 *
 * Synchronous, for payloads of a record (at most 1 MiB) into the page cache.
 */
import { writeSync } from 'node:fs';
import { errnoError } from './errno-error.ts';

/** @throws errno errors; what was written before stays */
export function writeFully(fd: number, data: Uint8Array, offset: number): void {
  let done = 0;
  while (done < data.length) {
    const written = writeSync(fd, data, done, data.length - done, offset + done);
    // A file system that takes nothing and names no reason is full as far as we can tell.
    if (written === 0) throw errnoError('ENOSPC', 'pwrite', `/proc/self/fd/${fd}`);
    done += written;
  }
}
