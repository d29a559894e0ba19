/**
 * strace(1) for fault tests: is it here and may it trace, and what it wrote, call by call.
 *
 * Lines of several threads are put together again: `fsync(3 <unfinished ...>` and `<... fsync
 * resumed>) = 0` become one call, with the time order of their ends.
 */
import { spawnSync } from 'node:child_process';

/** Why nothing can be traced here; null when it can. */
export function straceComplaint(): string | null {
  const { status, error, stderr } = spawnSync('strace', ['-f', '-o', '/dev/null', 'true'], {
    encoding: 'utf8',
  });
  if (status === 0) return null;
  return error === undefined ? `strace: ${stderr.trim()}` : 'it needs strace';
}

/** One system call that has ended. */
export interface Call {
  readonly pid: number;
  readonly name: string;
  /** As strace writes them, without the parentheses. */
  readonly args: string;
  /** What it returned, with the errno's name behind it when it failed. */
  readonly result: string;
  readonly injected: boolean;
}

/** Calls in the order of their ends. */
export function parseStrace(text: string): Call[] {
  const open = new Map<string, string>();
  const calls: Call[] = [];
  for (const line of text.split('\n')) {
    const found = /^(?:\[pid +)?(\d+)\]? +(.*)$/.exec(line);
    if (found === null) continue;
    const pid = found[1] as string;
    const rest = found[2] as string;
    const begun = /^(.*?) <unfinished \.\.\.>$/.exec(rest);
    if (begun !== null) {
      open.set(pid, begun[1] as string);
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const whole = resumed === null ? rest : `${open.get(pid) ?? ''}${resumed[1]}`;
    if (resumed !== null) open.delete(pid);
    const call = /^(\w+)\((.*)\) += (.*?)( \(INJECTED\)| \(DELAYED\))?$/.exec(whole);
    if (call === null) continue;
    calls.push({
      pid: Number(pid),
      name: call[1] as string,
      args: call[2] as string,
      result: call[3] as string,
      injected: call[4] === ' (INJECTED)',
    });
  }
  return calls;
}
