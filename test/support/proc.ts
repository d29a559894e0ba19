/**
 * What /proc says of other processes: children, groups, descriptors, memory. Linux only, as all of
 * the integration tests are.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

interface Stat {
  readonly state: string;
  readonly parent: number;
  readonly group: number;
}

/** What is needed of /proc/PID/stat, see proc(5); null when there is no such process. */
function statOf(pid: number): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name in parentheses may hold anything, so the fields are counted from its end.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', parent: Number(fields[1]), group: Number(fields[2]) };
  } catch {
    return null;
  }
}

function pidsWhere(wanted: (stat: Stat) => boolean): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const stat = statOf(pid);
      return stat !== null && stat.state !== 'Z' && wanted(stat);
    });
}

/** Does it run, or sleep, or stand stopped? A zombie does not. */
export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== null && stat.state !== 'Z';
}

export function childrenOf(pid: number): number[] {
  return pidsWhere((stat) => stat.parent === pid);
}

export function membersOfGroup(group: number): number[] {
  return pidsWhere((stat) => stat.group === group);
}

export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** What the descriptors of this process mean that lead to or below `directory`, one each. */
export function openBelow(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const file = readlinkSync(`/proc/self/fd/${fd}`);
      return file.startsWith(directory) ? [file] : [];
    } catch {
      // Another thread has closed it since.
      return [];
    }
  });
}

/** Resident memory in MiB. */
export function residentMiB(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  return Number(line?.[1] ?? 0) / 1024;
}

/** Sends a signal to a process or, with a negative number, a group. False: there is none. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
