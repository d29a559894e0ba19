/**
 * Operations that a destination refuses: what waits behind what, what is told about it, and that
 * nothing overtakes, is stranded or is told wrongly while one of them is being tried.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { createLogger } from '../../../src/base/log.ts';
import { FLAGS, KIND, operation } from '../../../src/protocol/operation.ts';
import { Notices, type Notice } from '../../../src/server/notices.ts';
import { type Attempt, Stuck } from '../../../src/server/stuck.ts';
import type { Entry } from '../../../src/spool/entry.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { incoming, SpoolCase } from '../../support/spool-case.ts';

const DONE: Attempt = { done: true };
const refused = (errno: string, retriesItself = false): Attempt => {
  return {
    done: false,
    reason: { errno, text: `refused: ${errno}`, todo: 'mend it' },
    retriesItself,
  };
};

let scene: SpoolCase;
let spool: Spool;
let notices: Notices;
let stuck: Stuck;
/** What happens to each path; done when not named. */
let fate: Map<string, Attempt | (() => Promise<Attempt>)>;
let tried: string[];
let finished: string[];
let beforeFinish: () => Promise<void> | void;
beforeEach(async () => {
  scene = new SpoolCase();
  spool = await scene.open();
  notices = new Notices(spool.index, 'archive');
  fate = new Map();
  tried = [];
  finished = [];
  beforeFinish = () => {};
  stuck = new Stuck({
    notices,
    logger: createLogger('server', { level: 'silent' }),
    attempt: async ({ path, seq }) => {
      tried.push(path);
      const what = fate.get(`${path}#${seq}`) ?? fate.get(path) ?? DONE;
      return typeof what === 'function' ? await what() : what;
    },
    finish: async (entries) => {
      await beforeFinish();
      finished.push(...entries.map(({ path }) => path));
      spool.release(entries);
    },
  });
});
afterEach(async () => {
  vi.useRealTimers();
  await stuck.stop();
  await scene.end();
});

let seq = 0;
const add = (path: string, text = 'x'): Entry => {
  const [entry] = spool.append([incoming(++seq, path, Buffer.from(text))]) as [Entry];
  stuck.add(entry);
  return entry;
};
const told = (): [string, string, number][] => {
  return notices.since(0).messages.map(({ address, state, operations }: Notice) => {
    return [address.replace('kangaroo://dest/', ''), state, operations];
  });
};
const gate = (): { readonly wait: Promise<void>; readonly open: () => void } => {
  let open = (): void => {};
  const wait = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { wait, open };
};
const here = { name: 'dest', path: '' };
const isInTheWay = (path: string): boolean => {
  return stuck.inTheWay({ ...operation({ kind: KIND.write, name: 'dest', path }), seq: 1e9 });
};

describe('a refused operation', () => {
  test('holds up its own file and nothing else, and is told once', async () => {
    fate.set('a', refused('EACCES'));
    add('a');
    add('a');
    add('b');
    await stuck.work();
    expect(tried).toEqual(['a', 'b']);
    expect(finished).toEqual(['b']);
    expect(told()).toEqual([['a', 'held', 1]]);
    expect([isInTheWay('a'), isInTheWay('c')]).toEqual([true, false]);
    expect(notices.firstHeld((address) => address.includes('/a'))?.todo).toBe('mend it');
  });

  test('is tried again when asked, with what waits behind it, in order', async () => {
    fate.set('a', refused('EACCES'));
    const entries = [add('a', 'one'), add('a', 'two')];
    await stuck.work();
    fate.delete('a');
    expect(await stuck.retry({ name: 'other', path: '' })).toBe(0);
    expect(await stuck.retry(here)).toBe(1);
    expect(tried).toEqual(['a', 'a', 'a']);
    expect(finished).toEqual(['a', 'a']);
    expect(entries.every(({ released }) => released)).toBe(true);
    expect(told().map(([, state]) => state)).toEqual(['mended']);
    expect(stuck.count).toBe(0);
  });

  test('that is mended while the next of its file is refused stays told', async () => {
    fate.set('a', refused('EACCES'));
    add('a', 'one');
    const second = add('a', 'two');
    await stuck.work();
    fate.delete('a');
    fate.set(`a#${second.seq}`, refused('EACCES'));
    await stuck.retry(here);
    expect(finished).toEqual(['a']);
    expect(told()).toEqual([['a', 'held', 1]]);
    expect(notices.ofEntry(second)?.errno).toBe('EACCES');
    fate.clear();
    await stuck.retry(here);
    expect(told().map(([, state]) => state)).toEqual(['mended']);
  });

  test('for another reason than before is told anew', async () => {
    fate.set('a', refused('EACCES'));
    add('a');
    await stuck.work();
    fate.set('a', refused('EISDIR'));
    await stuck.retry(here);
    expect(notices.since(0).messages.map(({ errno }) => errno)).toEqual(['EISDIR']);
  });

  test('is given up when asked, and what waits behind another file is not', async () => {
    fate.set('a', refused('EACCES')).set('b', refused('EACCES'));
    const [a] = [add('a'), add('b')];
    await stuck.work();
    expect(await stuck.discard({ name: 'dest', path: 'a' })).toEqual([a]);
    expect(told()).toEqual([
      ['b', 'held', 1],
      ['a', 'discarded', 1],
    ]);
    expect(stuck.has(a as Entry)).toBe(false);
  });
});

describe('while one is being tried', () => {
  test('nothing that comes for its file overtakes it', async () => {
    const { wait, open } = gate();
    fate.set('a', async () => {
      await wait;
      return DONE;
    });
    add('a');
    const working = stuck.work();
    expect([isInTheWay('a'), stuck.count]).toEqual([true, 1]);
    open();
    await working;
    expect([isInTheWay('a'), stuck.count]).toEqual([false, 0]);
  });

  test('what is discarded is not told as held afterwards', async () => {
    const { wait, open } = gate();
    fate.set('a', async () => {
      await wait;
      return refused('EACCES');
    });
    add('a');
    const working = stuck.work();
    await stuck.discard(here);
    open();
    await working;
    expect(told().filter(([, state]) => state === 'held')).toEqual([]);
    expect(stuck.count).toBe(0);
  });

  test('what is added is tried, also while the others are being finished', async () => {
    let isFirst = true;
    beforeFinish = () => {
      if (!isFirst) return;
      isFirst = false;
      add('late');
      void stuck.work();
    };
    add('a');
    await stuck.work();
    expect(finished).toEqual(['a', 'late']);
  });
});

describe('what goes wrong here', () => {
  test('gives nothing up: it is tried again, in order', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    fate.set('b', async () => {
      await Promise.resolve();
      throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' });
    });
    stuck.start();
    add('a');
    add('b');
    await stuck.work();
    expect(finished).toEqual([]);
    expect(stuck.count).toBe(2);
    fate.clear();
    vi.advanceTimersByTime(limits.heldRetryEveryMs);
    await stuck.work();
    expect(finished).toEqual(['a', 'b']);
  });

  test('a finish that fails is no finish', async () => {
    let failures = 1;
    beforeFinish = () => {
      if (failures-- > 0) throw new Error('EIO');
    };
    const entry = add('a');
    await stuck.work();
    expect([entry.released, stuck.count]).toEqual([false, 1]);
    await stuck.work();
    expect([entry.released, stuck.count]).toEqual([true, 0]);
  });

  test('a reason that may pass alone is tried again by itself', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    fate.set('a', refused('ENOSPC', true)).set('b', refused('EACCES'));
    stuck.start();
    add('a');
    add('b');
    await stuck.work();
    fate.clear();
    vi.advanceTimersByTime(limits.heldRetryEveryMs);
    await vi.waitFor(() => expect(finished).toEqual(['a']));
    expect(told().map(([path, state]) => `${path} ${state}`)).toEqual(['b held', 'a mended']);
  });
});

test('what an operation would have done is said in a word or two', async () => {
  const cases = [
    [{ flags: FLAGS.CREATE }, '', 'create'],
    [{ flags: FLAGS.TRUNCATE }, '', 'truncate'],
    [{ flags: FLAGS.MODE }, '', 'set attributes'],
    [{ flags: 0 }, 'x', 'write'],
    [{ kind: KIND.mkdir }, '', 'make directory'],
    [{ kind: KIND.remove }, '', 'remove'],
    [{ kind: KIND.rename, path2: 'new' }, '', 'rename to kangaroo://dest/new'],
  ] as const;
  for (const [i, [parts, text]] of cases.entries()) {
    const path = `w${i}`;
    fate.set(path, refused('EACCES'));
    stuck.add(spool.append([incoming(++seq, path, Buffer.from(text), parts)])[0] as Entry);
  }
  await stuck.work();
  const words = notices.since(0).messages.map((notice) => notice.operation);
  expect(words).toEqual(cases.map(([, , word]) => word));
});
