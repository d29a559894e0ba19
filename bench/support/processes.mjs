/**
 * What processes cost, from /proc: processor seconds and resident memory. Linux only, as the
 * benches are. The clock behind it ticks 100 times a second.
 */

import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;

/** User and system time of a process and of its children that have ended, in seconds. */
export function processorSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name in brackets may hold anything; the fields are counted behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user, system, childUser, childSystem] = fields.slice(11, 15).map(Number);
  return (user + system + childUser + childSystem) / TICKS_PER_SECOND;
}

/** Of all of them together, and of what this process has run to its end meanwhile. */
export function processorMeter(pids) {
  const sum = () => {
    const own = readFileSync('/proc/self/stat', 'latin1');
    const fields = own.slice(own.lastIndexOf(')') + 2).split(' ');
    const ended = (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
    return pids.reduce((seconds, pid) => seconds + processorSeconds(pid), ended);
  };
  const before = sum();
  return () => sum() - before;
}

/** Resident memory in bytes: now, and at its highest. */
export function residentBytes(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const read = (key) => Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
  return { now: read('VmRSS'), highest: read('VmHWM') };
}

/** Is it there, and more than an entry that nobody has collected yet? */
export function isRunning(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
