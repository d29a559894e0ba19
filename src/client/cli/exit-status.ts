/**
 * Exit statuses of the command, with the words that --help shows. The number of each error stands
 * in base/errors.ts; what several failures amount to is decided here. Pure.
 */

/** The contract of scripts that call the command; follows sysexits(3) where that has one. */
export const EXIT_STATUSES: Readonly<Record<number, string>> = {
  0: 'done',
  1: 'refused for good: no such file, not supported, corrupt',
  2: 'wrong usage',
  69: 'the server cannot be reached',
  73: 'held: the destination refuses some of it; see kangaroo messages',
  75: 'not yet: the time ran out or the outcome is unknown; safe to try again',
  77: 'not allowed: authentication or permission',
  78: 'this will never work: no server of this account, no library',
  130: 'interrupted',
};

/** The later, the worse: what a repetition alone may mend comes before what needs a person. */
const BY_GRAVITY = [0, 75, 69, 73, 1, 77, 78, 2, 130];

/** The status of a command of which some parts failed. */
export function worstOf(statuses: readonly number[]): number {
  const gravity = statuses.map((status) => BY_GRAVITY.indexOf(status));
  return BY_GRAVITY[Math.max(0, ...gravity)] ?? 0;
}

/** The lines that end a command's --help. `done` says what 0 promises there. */
export function exitStatusHelp(statuses: readonly number[], done: string): string {
  const lines = statuses.map((status) => {
    const meaning = status === 0 ? done : (EXIT_STATUSES[status] ?? '');
    return `  ${String(status).padEnd(4)} ${meaning}`;
  });
  return ['Exit status:', ...lines].join('\n');
}
