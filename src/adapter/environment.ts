/**
 * The environment of an adapted program: LD_PRELOAD with the library in it, and what the library
 * reads when it starts. native/core/settings.c is the reader. Pure.
 *
 * Foreign entries of LD_PRELOAD stay, in their order and before the library: a profiler or a
 * sanitizer in front of it sees the program's calls first, as it does without us. Variables that
 * are not asked for stay as they were, so that what an adapted program starts keeps the adapter.
 */
import { KangarooError } from '../base/errors.ts';

/** A path that the program uses, and where it leads. */
export interface Mount {
  readonly logical: string;
  /** /kangaroo/NAME/path, or a local path. */
  readonly target: string;
}

export interface AdapterSettings {
  /** Absolute path of the library. */
  readonly library: string;
  /** unix:/path, a path, host:port; undefined: as the library finds it. */
  readonly server?: string | undefined;
  /** How long a call may wait for a server that is gone. */
  readonly timeoutMs?: number | undefined;
  /** They come before the mounts that the environment has: of equal ones the first counts. */
  readonly mounts?: readonly Mount[] | undefined;
  /** A file, or `-` for standard error. */
  readonly report?: string | undefined;
  readonly fsync?: 'commit' | 'push' | undefined;
  /** Where the library says why it killed the program. */
  readonly verdict?: string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const LIBRARY_NAME = 'libkangaroo.so';

/** `environment` with the adapter in it. */
export function adaptedEnvironment(
  environment: Environment,
  settings: AdapterSettings,
): Record<string, string> {
  const made: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined) made[name] = value;
  }
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined) made[name] = value;
  };
  set('LD_PRELOAD', preloadList(environment['LD_PRELOAD'], settings.library));
  set('KANGAROO_SERVER', settings.server);
  set('KANGAROO_TIMEOUT', settings.timeoutMs === undefined ? undefined : `${settings.timeoutMs}ms`);
  set('KANGAROO_MOUNTS', mountList(environment['KANGAROO_MOUNTS'], settings.mounts ?? []));
  set('KANGAROO_REPORT', settings.report);
  set('KANGAROO_FSYNC', settings.fsync);
  set('KANGAROO_VERDICT', settings.verdict);
  return made;
}

/** The list that ld.so(8) splits at colons and spaces, with `library` in it once, at its end. */
export function preloadList(before: string | undefined, library: string): string {
  const foreign = (before ?? '')
    .split(/[: ]+/)
    .filter((entry) => entry !== '' && entry.split('/').at(-1) !== LIBRARY_NAME);
  return [...foreign, library].join(':');
}

/**
 * A mount as it is typed: LOGICAL=TARGET, where TARGET may be a kangaroo:// address.
 * @throws KangarooError USAGE
 */
export function parseMount(text: string): Mount {
  const at = text.indexOf('=');
  const logical = text.slice(0, Math.max(at, 0));
  const target = text.slice(at + 1).replace(/^kangaroo:\/\//, '/kangaroo/');
  const hint = 'write LOGICAL=/kangaroo/NAME/path or LOGICAL=/local/path';
  if (at < 0 || logical === '' || target === '') {
    throw new KangarooError('USAGE', `--mount '${text}' is not a pair of paths`, { hint });
  }
  // The variable separates mounts by colons and has no way to quote one.
  if (text.slice(at).replace('=kangaroo://', '=').includes(':') || logical.includes(':')) {
    throw new KangarooError('USAGE', `--mount '${text}': a path in it has a colon`, { hint });
  }
  if (!target.startsWith('/')) {
    throw new KangarooError('USAGE', `--mount '${text}': the target is not absolute`, { hint });
  }
  return { logical, target };
}

/**
 * Looks at KANGAROO_MOUNTS as the library is going to read it; '' is as good as none.
 * @throws KangarooError USAGE
 */
export function checkMountList(text: string | undefined): void {
  const isMount = (pair: string): boolean => /^[^=]+=\//.test(pair);
  const bad = (text ?? '').split(':').find((pair) => pair !== '' && !isMount(pair));
  if (bad === undefined) return;
  const hint = 'write LOGICAL=/kangaroo/NAME/path or LOGICAL=/local/path, with : between pairs';
  throw new KangarooError('USAGE', `KANGAROO_MOUNTS: '${bad}' is not LOGICAL=/TARGET`, { hint });
}

function mountList(before: string | undefined, mounts: readonly Mount[]): string | undefined {
  if (mounts.length === 0) return undefined;
  const ours = mounts.map(({ logical, target }) => `${logical}=${target}`);
  return [...ours, ...(before === undefined || before === '' ? [] : [before])].join(':');
}
