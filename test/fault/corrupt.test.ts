/**
 * A spool that was damaged at rest (invariants I7, I8): flipped bits in headers, payloads and
 * marks,
 * a tail cut anywhere, pieces of zeros, data segments and indexes that are gone, old or damaged, a
 * segment of another spool.
 *
 * Whatever the damage, each acknowledged operation is afterwards in the spool with the bytes it was
 * given, or recovery or the first reader says that it is not; none is there with other bytes. Only
 * the end of the newest log may go without a word, because a torn write looks like that. Mostly in
 * this process on src/spool; a few cases go through real servers to the destination and look at
 * what
 * people are told. 90 images; KANGAROO_LONG=1 makes them 6,000. KANGAROO_SEED repeats a run.
 */
import {
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/index.ts';
import { deadlineIn } from '../../src/base/deadline.ts';
import { KangarooError } from '../../src/base/errors.ts';
import { dial } from '../../src/protocol/connection.ts';
import { encodePrefix, PUTS_TYPE } from '../../src/protocol/frame.ts';
import { greet } from '../../src/protocol/hello.ts';
import { decodeHead, FLAGS, KIND } from '../../src/protocol/operation.ts';
import { parseServerAddress } from '../../src/protocol/server-address.ts';
import { checkSpool } from '../../src/spool/check.ts';
import { walkLog } from '../../src/spool/segment.ts';
import type { Spool } from '../../src/spool/spool.ts';
import { Cluster, type Hop } from '../support/cluster.ts';
import { compare, type Tree } from '../support/oracle.ts';
import { payload } from '../support/pattern.ts';
import { chooseSeed, Prng } from '../support/prng.ts';
import { copyInUse, incoming, incomingExternal, SpoolCase } from '../support/spool-case.ts';

const IMAGES = process.env['KANGAROO_LONG'] === '1' ? 6_000 : 90;
const LIMIT_BYTES = 2 * 1024 * 1024;
const PIECE_BYTES = 4_096;
const seed = chooseSeed();

/** What one operation was, by its number in the spool. */
interface Given {
  readonly path: string;
  readonly bytes: Buffer;
  /** Where its record lies, in which log, and its payload if that is elsewhere. */
  readonly log: string;
  readonly at: number;
  readonly recordBytes: number;
  readonly headBytes: number;
  readonly data: { readonly file: string; readonly offset: number } | null;
}

const scene = new SpoolCase(LIMIT_BYTES);
const given = new Map<number, Given>();
const released = new Set<number>();
const clean = join(scene.root, 'clean');
const killed = join(scene.root, 'as-killed');
const older = join(scene.root, 'older');
let foreign = '';

/** Two logs and a few data segments, with marks, released operations and an index of some age. */
beforeAll(async () => {
  const spool = await scene.open();
  for (let seq = 1; seq <= 30; seq++) {
    const isLarge = seq % 6 === 0;
    const isRename = !isLarge && seq % 7 === 0;
    const small = ([0, 100, 5_000, 30_000, 17] as const)[seq % 5] as number;
    const length = isLarge ? 90_000 : isRename ? 0 : small;
    const bytes = payload({ seed, generation: 1, file: seq, put: seq }, 0, length);
    const path = `d/f${seq}`;
    const record = isLarge
      ? incomingExternal(spool, seq, path, bytes)
      : incoming(seq, path, bytes, isRename ? RENAME : {});
    const [entry] = spool.append([record]);
    if (entry === undefined) throw new Error('nothing was appended');
    const name = (number: number, kind: string): string =>
      `${String(number).padStart(8, '0')}.${kind}`;
    given.set(entry.seq, {
      path,
      bytes,
      log: name(entry.segment, 'log'),
      at: entry.at,
      recordBytes: entry.bytes,
      headBytes: entry.bytes - (entry.isExternal ? 0 : entry.payloadBytes),
      data: entry.isExternal
        ? { file: name(entry.payloadSegment, 'data'), offset: entry.payloadOffset }
        : null,
    });
    if (seq % 4 === 0) await spool.sync();
    if (seq === 12) {
      for (const one of [1, 6]) {
        const entryOne = [...spool.live.values()].find(({ path: p }) => p === `d/f${one}`);
        if (entryOne === undefined) continue;
        released.add(entryOne.seq);
        spool.release([entryOne]);
      }
    }
    if (seq === 16) copyInUse(scene.directory, older);
  }
  await spool.sync();
  copyInUse(scene.directory, killed);
  await scene.close(spool);
  cpSync(scene.directory, clean, { recursive: true });
  const other = new SpoolCase(LIMIT_BYTES);
  const otherSpool = await other.open();
  otherSpool.append([incoming(1, 'foreign', Buffer.from('foreign'))]);
  await other.close(otherSpool);
  foreign = join(scene.root, 'foreign.log');
  cpSync(join(other.directory, 'segments', '00000001.log'), foreign);
  await other.end();
}, 60_000);

const RENAME = { kind: KIND.rename, path2: 'd/renamed', flags: 0, payloadBytes: 0, payloadCrc: 0 };

afterAll(async () => {
  await scene.end();
});

class Image {
  readonly directory: string;
  readonly random: Prng;
  /** What was done to it. */
  what = '';
  /** May the end of the newest log be gone without a word? From there on. */
  cutFrom: { readonly log: string; readonly at: number } | null = null;
  /** Does `kangaroo check` have to say so? */
  isFound = true;
  /** May the spool refuse to open, with a clear error? */
  mayRefuse = false;

  constructor(number: number, from: string) {
    this.directory = join(scene.root, `image-${number}`);
    this.random = new Prng(seed + number);
    cpSync(from, this.directory, { recursive: true });
  }

  file(name: string): string {
    return join(this.directory, 'segments', name);
  }

  logs(): string[] {
    return readdirSync(join(this.directory, 'segments')).filter((name) => name.endsWith('.log'));
  }

  /** A record that has not been released. */
  record(wanted: (one: Given) => boolean = () => true): Given {
    const all = [...given].filter(([seq, one]) => !released.has(seq) && wanted(one));
    return this.random.pick(all)[1];
  }

  flip(file: string, at: number): void {
    const bytes = readFileSync(file);
    bytes[at] = (bytes[at] as number) ^ (1 << this.random.below(8));
    writeFileSync(file, bytes);
    this.what += ` bit of byte ${at} of ${file.slice(this.directory.length + 1)};`;
  }

  zero(file: string, at: number, length: number): void {
    const fd = openSync(file, 'r+');
    writeSync(fd, Buffer.alloc(length), 0, length, at);
    closeSync(fd);
    this.what += ` ${length} zeros at ${at} of ${file.slice(this.directory.length + 1)};`;
  }
}

const DAMAGES: Record<string, (image: Image) => void> = {
  header: (image) => {
    const { log, at, headBytes } = image.record();
    image.flip(image.file(log), at + image.random.below(headBytes));
    // A bad header near the end of the newest log looks like a write that was cut short.
    const left = readFileSync(image.file(log)).length - at;
    if (log === image.logs().at(-1) && left < 70_000) image.isFound = false;
  },
  inline: (image) => {
    const { log, at, headBytes, bytes } = image.record((one) => {
      return one.data === null && one.bytes.length > 0;
    });
    image.flip(image.file(log), at + headBytes + image.random.below(bytes.length));
  },
  external: (image) => {
    const { data, bytes } = image.record((one) => one.data !== null);
    if (data !== null) {
      image.flip(image.file(data.file), data.offset + image.random.below(bytes.length));
    }
  },
  tail: (image) => {
    const last = [...given.values()].at(-1) as Given;
    const size = statSync(image.file(last.log)).size;
    const at = last.at + image.random.below(size - last.at);
    truncateSync(image.file(last.log), at);
    image.what += ` ${last.log} cut at ${at} of ${size};`;
    image.cutFrom = { log: last.log, at };
    image.isFound = false;
  },
  zeros: (image) => {
    const { log, at } = image.record();
    const size = statSync(image.file(log)).size;
    const from = Math.min(at + image.random.below(500), size - 1);
    image.zero(image.file(log), from, Math.min(PIECE_BYTES, size - from));
    // Nothing sound behind it: it looks like the torn end of a log.
    image.isFound = false;
    if (from + PIECE_BYTES >= size) image.cutFrom = { log, at: from };
  },
  'zeros in data': (image) => {
    const { data } = image.record((one) => one.data !== null);
    if (data !== null) image.zero(image.file(data.file), data.offset + 512, PIECE_BYTES);
  },
  'data segment': (image) => {
    const { data } = image.record((one) => one.data !== null);
    if (data !== null) rmSync(image.file(data.file));
    image.what += ` ${data?.file} removed;`;
  },
  'data segment cut': (image) => {
    const { data } = image.record((one) => one.data !== null);
    if (data !== null) truncateSync(image.file(data.file), data.offset + 1_000);
    image.what += ` ${data?.file} cut;`;
  },
  index: (image) => {
    for (const name of ['index.db', 'index.db-wal', 'index.db-shm']) {
      rmSync(join(image.directory, name), { force: true });
    }
    image.what += ' index removed;';
    image.isFound = false;
  },
  'write-ahead log': (image) => {
    rmSync(join(image.directory, 'index.db-wal'), { force: true });
    image.what += ' -wal removed;';
    image.isFound = false;
  },
  'older index': (image) => {
    for (const name of ['index.db', 'index.db-wal']) {
      rmSync(join(image.directory, name), { force: true });
      if (existsSync(join(older, name))) cpSync(join(older, name), join(image.directory, name));
    }
    image.what += ' older index;';
    image.isFound = false;
  },
  'index page': (image) => {
    const name = image.random.pick(['index.db', 'index.db-wal']);
    const file = join(image.directory, name);
    const size = existsSync(file) ? statSync(file).size : 0;
    if (size > 0) for (let i = 0; i < 3; i++) image.flip(file, image.random.below(size));
    image.isFound = false;
    image.mayRefuse = true;
  },
  'log header': (image) => {
    const at = image.random.below(64);
    image.flip(image.file(image.random.pick(image.logs())), at);
    image.mayRefuse = true;
    // The checksum says what the magic has to be.
    if (at < 8) image.isFound = false;
  },
  'foreign segment': (image) => {
    cpSync(foreign, image.file('00000077.log'));
    image.what += ' a segment of another spool;';
    image.isFound = false;
    image.mayRefuse = true;
  },
  'two at once': (image) => {
    DAMAGES['header']?.(image);
    DAMAGES['inline']?.(image);
  },
};

/** Marks are damaged in no case on purpose; flips in what is left of a log hit them too. */
async function problemsOf(image: Image): Promise<string[]> {
  const problems: string[] = [];
  const told: string[] = [];
  const sum = await checkSpool(image.directory, ({ problem }) => told.push(problem));
  if (image.isFound && sum.problems === 0) problems.push('check finds nothing');
  let spool: Spool;
  try {
    spool = await scene.open(image.directory);
  } catch (error) {
    const isClear = error instanceof KangarooError && error.code !== 'INTERNAL';
    if (image.mayRefuse && isClear) return problems;
    return [...problems, `it does not open: ${(error as Error).stack}`];
  }
  try {
    problems.push(...(await compareWithGiven(image, spool)));
  } finally {
    await scene.close(spool);
  }
  return problems;
}

async function compareWithGiven(image: Image, spool: Spool): Promise<string[]> {
  const problems: string[] = [];
  const unreadable = new Set<number>();
  for (const entry of spool.live.values()) {
    const was = given.get(entry.seq);
    if (was === undefined) {
      problems.push(`operation ${entry.seq} of ${entry.path} was invented`);
      continue;
    }
    try {
      const head = decodeHead(await spool.readHead(entry));
      const bytes = entry.payloadBytes > 0 ? await spool.readPayload(entry) : Buffer.alloc(0);
      if (typeof head === 'string') throw new KangarooError('CORRUPT', head);
      if (head.path !== was.path || !bytes.equals(was.bytes)) {
        problems.push(`operation ${entry.seq} of ${was.path} has other bytes than it was given`);
      }
    } catch (error) {
      if (!(error instanceof KangarooError) || error.code !== 'CORRUPT') throw error;
      unreadable.add(entry.seq);
    }
  }
  for (const [seq, one] of given) {
    if (spool.live.has(seq) || released.has(seq)) continue;
    if (isReported(spool, one) || isCut(image, one)) continue;
    problems.push(`operation ${seq} of ${one.path} (${one.log} at ${one.at}) is gone silently`);
  }
  return problems;
}

/** Does a finding cover where its record lay? */
function isReported(spool: Spool, one: Given): boolean {
  return spool.findings.some(({ segment, offset, bytes }) => {
    return segment === one.log && offset < one.at + one.recordBytes && one.at < offset + bytes;
  });
}

function isCut({ cutFrom }: Image, one: Given): boolean {
  return cutFrom !== null && cutFrom.log === one.log && one.at + one.recordBytes > cutFrom.at;
}

test(`${IMAGES} damaged images`, async () => {
  process.stdout.write(`damaged spools: KANGAROO_SEED=${seed}\n`);
  const names = Object.keys(DAMAGES);
  const all: string[] = [];
  for (let number = 0; number < IMAGES; number++) {
    const name = names[number % names.length] as string;
    const image = new Image(number, number % 2 === 0 ? clean : killed);
    DAMAGES[name]?.(image);
    const problems = await problemsOf(image);
    all.push(...problems.map((text) => `image ${number} (${name}:${image.what}): ${text}`));
    rmSync(image.directory, { recursive: true, force: true });
  }
  expect(all).toEqual([]);
}, 3_600_000);

test('the images themselves are sound', async () => {
  for (const from of [clean, killed]) {
    const image = new Image(from === clean ? 900_000 : 900_001, from);
    image.isFound = false;
    expect(await problemsOf(image)).toEqual([]);
    expect(await checkSpool(image.directory, () => {})).toMatchObject({ problems: 0 });
  }
});

let cluster: Cluster | null = null;
afterEach(async () => {
  await cluster?.close();
  cluster = null;
});

interface Place {
  readonly file: string;
  readonly at: number;
  /** Bytes of the head. */
  readonly head: number;
  readonly data: string;
  readonly dataAt: number;
}

/** A log record of the first hop's spool, found by the path it is for. */
function placeOf(hop: Hop, path: string): Place {
  for (const name of hop.segments().filter((segment) => segment.endsWith('.log'))) {
    const file = join(hop.spool, 'segments', name);
    for (const found of walkLog(readFileSync(file))) {
      if (found.what !== 'record' || found.head.path !== path) continue;
      if (found.head.kind !== KIND.write || found.head.payloadBytes === 0) continue;
      const { flags, payloadBytes, payloadSegment, payloadOffset } = found.head;
      const isExternal = (flags & FLAGS.EXTERNAL) !== 0;
      const head = isExternal ? found.bytes : found.bytes - payloadBytes;
      const data = `${String(payloadSegment).padStart(8, '0')}.data`;
      const dataFile = join(hop.spool, 'segments', data);
      return { file, at: found.at, head, data: dataFile, dataAt: payloadOffset };
    }
  }
  throw new Error(`${path} is not in the spool`);
}

function flipAt(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at] = (bytes[at] as number) ^ 4;
  writeFileSync(file, bytes);
}

const THROUGH: Record<string, (hop: Hop) => void> = {
  'payload of a small file': (hop) => {
    const { file, at, head } = placeOf(hop, 'bad-small');
    flipAt(file, at + head + 100);
  },
  'header of a small file': (hop) => {
    const { file, at } = placeOf(hop, 'bad-small');
    flipAt(file, at + 41);
  },
  'payload of a large file': (hop) => {
    const { data, dataAt } = placeOf(hop, 'bad-large');
    flipAt(data, dataAt + 5_000);
  },
  'data segment of a large file': (hop) => {
    rmSync(placeOf(hop, 'bad-large').data);
  },
};

for (const [name, damage] of Object.entries(THROUGH)) {
  test(`through real servers: ${name}`, async () => {
    const made = (cluster = new Cluster());
    const [first, last] = (await made.chain(['first', 'last'])) as [Hop, Hop];
    await last.kill();
    const expected: Tree = new Map();
    const source = made.scratch('source');
    for (const [file, length] of [
      ['good-1', 3_000],
      ['bad-small', 2_000],
      ['good-2', 60_000],
      ['bad-large', 200_000],
      ['good-3', 10],
    ] as const) {
      const bytes = payload({ seed, generation: 1, file: length, put: 1 }, 0, length);
      writeFileSync(join(source, file), bytes);
      const put = await first.run(['put', join(source, file), `kangaroo://last/${file}`]);
      expect(put, put.stderr).toMatchObject({ status: 0 });
      if (file.startsWith('good')) expected.set(file, bytes);
    }
    await first.stop();
    damage(first);
    const check = await first.run(['check', '--spool', first.spool]);
    expect(check).toMatchObject({ status: 1 });
    await first.start();
    const push = await pushThen(first, () => last.start());
    // What is found damaged while the push waits for it has not arrived; nor has what recovery
    // found, before that push came.
    expect(push).toBe(name.endsWith('large file') ? 'CORRUPT' : 'HELD');
    const messages = await first.run(['messages', '--json']);
    expect(messages.stdout.toString()).toContain('"quarantined"');
    await failsUntilDiscarded(first, name);
    const { lost, wrong } = compare(expected, treeOf(last.exportDirectory));
    expect([...lost, ...wrong]).toEqual([]);
    // What is damaged never arrives with other bytes: not at all, or (made, not written) empty.
    for (const [path, bytes] of treeOf(last.exportDirectory)) {
      if (path.startsWith('bad'))
        expect([0, undefined]).toContain(sizeIfWrong(source, path, bytes));
    }
    expect(readdirSync(first.spool)).toContain('quarantine');
  });
}

/**
 * After it was found, also after a restart: a push that means what is damaged ends with 73, and one
 * that surely does not mean it with 0. When it was discarded all of them end with 0.
 */
async function failsUntilDiscarded(first: Hop, name: string): Promise<void> {
  const bad = `kangaroo://last/bad-${name.endsWith('large file') ? 'large' : 'small'}`;
  const push = async (target: string): Promise<number | null> => {
    const { status, stderr } = await first.run(['push', target, '--timeout', '30s']);
    if (status === 73) expect(stderr).toContain('kangaroo messages');
    else expect(stderr).toBe('');
    return status;
  };
  for (let i = 0; i < 2; i++) {
    expect(await push(bad)).toBe(73);
    expect(await push('kangaroo://last')).toBe(73);
    // Nobody can say what a record was whose head is damaged.
    expect(await push('kangaroo://last/good-1')).toBe(name.startsWith('header') ? 73 : 0);
    await first.stop();
    await first.start();
  }
  const discard = await first.run(['discard', bad]);
  expect(discard.stdout.toString()).toContain('1 operation');
  for (let i = 0; i < 2; i++) {
    expect(await push(bad)).toBe(0);
    expect(await push('kangaroo://last')).toBe(0);
    await first.stop();
    await first.start();
  }
  const { stdout } = await first.run(['messages', '--json']);
  expect(stdout.toString()).toContain('"discarded"');
  expect(stdout.toString()).not.toContain('"quarantined"');
}

/** Does `work` when a push of everything waits; how the push ended: null, or its error's code. */
async function pushThen(hop: Hop, work: () => Promise<void>): Promise<string | null> {
  const client = await connect({ server: hop.socket });
  let waits = (): void => {};
  const waiting = new Promise<void>((resolve) => (waits = resolve));
  try {
    const push = client.push('', { timeoutMs: 40_000, onProgress: () => waits() });
    const ended = push.then(
      () => null,
      (error: unknown) => (error as KangarooError).code,
    );
    await Promise.race([waiting, ended]);
    await work();
    return await ended;
  } finally {
    await client.close();
  }
}

test('a block that changed on the way is refused, and nothing of it is kept', async () => {
  const made = (cluster = new Cluster());
  const [last] = (await made.chain(['last'])) as [Hop];
  for (const length of [1_000, 200_000]) {
    const bytes = payload({ seed, generation: 1, file: 1, put: 1 }, 0, length);
    const { bytes: record } = incoming(1, `changed-${length}`, bytes, { name: 'last' });
    record[record.length - 5] = (record[record.length - 5] as number) ^ 1;
    const address = parseServerAddress(last.address);
    const connection = await dial(address, deadlineIn(10_000));
    await greet(connection, 'client', 'cd'.repeat(16), deadlineIn(10_000));
    connection.sendBytes(Buffer.concat([encodePrefix(PUTS_TYPE, 0, record.length, 0), record]));
    const commit = connection.ask('COMMIT', { lowWater: 0 }, 'COMMITTED', {
      deadline: deadlineIn(10_000),
    });
    await expect(commit).rejects.toMatchObject({ code: 'DISCONNECTED' });
    connection.close(null);
  }
  const there = treeOf(last.exportDirectory);
  for (const bytes of there.values()) expect(bytes?.length).toBe(0);
});

/** undefined: as it was put; else the size of what is there instead. */
function sizeIfWrong(source: string, path: string, bytes: Buffer | null): number | undefined {
  const was = readFileSync(join(source, path));
  return bytes !== null && bytes.equals(was) ? undefined : (bytes?.length ?? -1);
}

function treeOf(directory: string): Tree {
  const tree: Tree = new Map();
  for (const name of readdirSync(directory)) tree.set(name, readFileSync(join(directory, name)));
  return tree;
}
