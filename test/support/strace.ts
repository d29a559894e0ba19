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
  /** Line numbers: what ended on a lower line than this one began on was over before it. */
  readonly began: number;
  readonly ended: number;
  /** Seconds, when strace was told to write them (-ttt); else 0. */
  readonly endedAt: number;
}

/** Calls in the order of their ends. */
export function parseStrace(text: string): Call[] {
  const open = new Map<string, { readonly text: string; readonly line: number }>();
  const calls: Call[] = [];
  for (const [line, raw] of text.split('\n').entries()) {
    const found = /^(?:\[pid +)?(\d+)\]? +(?:(\d+\.\d+) )?(.*)$/.exec(raw);
    if (found === null) continue;
    const [, pid = '', time, rest = ''] = found;
    const begun = /^(.*?) ?<unfinished \.\.\.>$/.exec(rest);
    if (begun !== null) {
      open.set(pid, { text: begun[1] ?? '', line });
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const start = resumed === null ? undefined : open.get(pid);
    const whole = resumed === null ? rest : `${start?.text ?? ''}${resumed[1]}`;
    if (resumed !== null) open.delete(pid);
    const call = /^(\w+)\((.*)\) += (.*?)( \(INJECTED\)| \(DELAYED\))?$/.exec(whole);
    if (call === null) continue;
    const [, name = '', args = '', result = '', note] = call;
    calls.push({
      pid: Number(pid),
      name,
      args,
      result,
      injected: note === ' (INJECTED)',
      began: start?.line ?? line,
      ended: line,
      endedAt: Number(time ?? 0),
    });
  }
  return calls;
}

/** The path that strace (-y) writes behind the first descriptor: `fsync(7</tmp/x>)`. */
export function pathOf(call: Call): string {
  return /^(?:AT_FDCWD|\d+)<([^>]*)>/.exec(call.args)?.[1] ?? '';
}

/** The path behind the descriptor that an open returned. */
export function openedPath(call: Call): string {
  return /^\d+<([^>]*)>/.exec(call.result)?.[1] ?? '';
}

/** The buffers of a call, as bytes, of each as much as strace was told to write (-s). */
export function buffersOf(call: Call): Buffer[] {
  return [...call.args.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => bytesOf(text));
}

const ESCAPES: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, v: 11, f: 12 };

/** strace's way to write bytes: \x41, \12, \n, and characters as they are. */
function bytesOf(text: string): Buffer {
  const bytes: number[] = [];
  for (const [all] of text.matchAll(/\\x[0-9a-f]{2}|\\[0-7]{1,3}|\\.|[^\\]/gs)) {
    if (all.startsWith('\\x')) bytes.push(parseInt(all.slice(2), 16));
    else if (/^\\[0-7]/.test(all)) bytes.push(parseInt(all.slice(1), 8));
    else if (all.startsWith('\\')) bytes.push(ESCAPES[all[1] as string] ?? all.charCodeAt(1));
    else bytes.push(all.charCodeAt(0));
  }
  return Buffer.from(bytes);
}
