/**
 * One round of everything: small and large puts, a rename, a directory, a commit, a push. Used
 * where
 * a fault is to hit each system call of that round once.
 *
 * It journals what was acknowledged, as oracle.ts wants it, and never waits beyond its deadlines.
 */
import { connect, KangarooError } from '../../src/index.ts';
import type { Hop } from './cluster.ts';
import { compare, type Line, Model, readTree, type Step } from './oracle.ts';

export interface CycleOptions {
  readonly first: Hop;
  readonly last: Hop;
  readonly seed: number;
  readonly generation: number;
  readonly commitMs: number;
  readonly pushMs: number;
}

export interface CycleResult {
  readonly lines: readonly Line[];
  /** Codes of the calls that failed. */
  readonly failures: readonly string[];
  /** What must not be: a wait beyond its deadline, a push that was not true. */
  readonly problems: readonly string[];
}

/** What a call may say beyond its deadline's word, before it counts as a hang. */
const GRACE_MS = 4_000;

const STEPS: readonly Step[] = [
  { do: 'mkdir', path: 'dir' },
  { do: 'write', path: 'small', file: 1, offset: 0, length: 1_000 },
  { do: 'write', path: 'dir/new.tmp', file: 2, offset: 0, length: 20_000 },
  { do: 'write', path: 'large', file: 3, offset: 0, length: 150_000 },
  { do: 'rename', path: 'dir/new.tmp', to: 'dir/final' },
  { do: 'write', path: 'small', file: 1, offset: 500, length: 3_000 },
];

/** Works in the directory `g<generation>` of `last`. */
export async function cycle(options: CycleOptions): Promise<CycleResult> {
  const { first, last, seed, generation, commitMs, pushMs } = options;
  const lines: Line[] = [];
  const failures: string[] = [];
  const problems: string[] = [];
  const base = `kangaroo://${last.name}/g${generation}`;
  const model = new Model(seed, generation);
  const watched = async (what: string, ms: number, work: Promise<unknown>): Promise<boolean> => {
    const startMs = performance.now();
    try {
      await work;
      return true;
    } catch (error) {
      const { code, message } = error as KangarooError;
      failures.push(`${what}: ${error instanceof KangarooError ? code : 'none'}: ${message}`);
      return false;
    } finally {
      const tookMs = Math.round(performance.now() - startMs);
      if (tookMs > ms + GRACE_MS)
        problems.push(`${what} took ${tookMs} ms, its deadline was ${ms}`);
    }
  };
  let client: Awaited<ReturnType<typeof connect>> | null = null;
  const connecting = connect({ server: first.socket, timeoutMs: 5_000, reconnectMs: 5_000 });
  if (
    !(await watched(
      'connect',
      5_000,
      connecting.then((made) => (client = made)),
    ))
  ) {
    return { lines, failures, problems };
  }
  const kangaroo = client as unknown as Awaited<ReturnType<typeof connect>>;
  try {
    const put = async (): Promise<void> => {
      await kangaroo.mkdir(base, { parents: true });
      for (const [i, step] of STEPS.entries()) {
        lines.push({ n: i + 1, step });
        model.apply(i + 1, step);
        if (step.do === 'mkdir') await kangaroo.mkdir(`${base}/${step.path}`);
        if (step.do === 'rename') {
          await kangaroo.rename(`${base}/${step.path}`, `${base}/${step.to}`);
        }
        if (step.do === 'write') {
          const bytes = model.content(i + 1, step);
          await kangaroo.write(`${base}/${step.path}`, step.offset, bytes);
        }
      }
    };
    if (!(await watched('put', commitMs, put()))) return { lines, failures, problems };
    const n = STEPS.length;
    if (!(await watched('commit', commitMs, kangaroo.commit({ timeoutMs: commitMs })))) {
      return { lines, failures, problems };
    }
    lines.push({ acked: 'commit', n });
    if (await watched('push', pushMs, kangaroo.push(base, { timeoutMs: pushMs }))) {
      lines.push({ acked: 'push', n });
      const there = readTree(`${last.exportDirectory}/g${generation}`);
      const { lost, wrong, invented } = compare(model.files, there);
      problems.push(...[...lost, ...wrong, ...invented].map((text) => `after push: ${text}`));
    }
    return { lines, failures, problems };
  } finally {
    await kangaroo.close().catch(() => {});
  }
}
