/**
 * A link between a real spool and a next hop on a real socket: everything arrives, in order and
 * byte for byte, however often the connection breaks; nothing is released that the next hop has not
 * promised on that same connection; a damaged record is found and holds up nothing else.
 */
import fc from 'fast-check';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../../src/base/limits.ts';
import { createLogger } from '../../../src/base/log.ts';
import { Link, type LinkOwner } from '../../../src/mover/link.ts';
import { Work } from '../../../src/mover/work.ts';
import type { Entry } from '../../../src/spool/entry.ts';
import { SegmentFiles } from '../../../src/spool/files.ts';
import type { Spool } from '../../../src/spool/spool.ts';
import { NextHop } from '../../support/next-hop.ts';
import { incoming, incomingExternal, SpoolCase } from '../../support/spool-case.ts';

const LIMIT_BYTES = 256 * 1024 * 1024;
const INLINE_MAX = limits.inlinePayloadBytesMax;

class Owner implements LinkOwner {
  readonly spoolId: string;
  readonly files: SegmentFiles;
  readonly logger = createLogger('mover', { level: 'silent' });
  readonly releasedSeqs: number[] = [];
  readonly badSeqs: number[] = [];
  readonly states: string[] = [];
  /** Released although the next hop had not promised it. */
  readonly tooEarly: number[] = [];
  readonly works = new Map<number, Work>();
  readonly link: Link;
  /** Try again at once instead of backing off? */
  isImpatient = true;
  #wake = (): void => {};
  readonly #spool: Spool;
  readonly #hop: NextHop;

  constructor(spool: Spool, hop: NextHop) {
    this.#spool = spool;
    this.#hop = hop;
    this.spoolId = spool.spoolId;
    this.files = new SegmentFiles(spool.files.directory, (number) => spool.data.has(number));
    this.link = new Link(hop.address, this);
  }

  add(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const work = new Work(entry);
      this.works.set(entry.seq, work);
      this.link.add(work);
    }
  }

  lowWater(): number {
    return 0;
  }

  async inTurn(work: () => Promise<void>): Promise<void> {
    await work();
  }

  released(work: readonly Work[]): void {
    for (const { seq } of work) {
      if (!this.#hop.durable.has(seq)) this.tooEarly.push(seq);
      this.releasedSeqs.push(seq);
      this.works.delete(seq);
    }
    this.#wake();
  }

  async bad({ seq }: Work): Promise<void> {
    const entry = this.#spool.live.get(seq) as Entry;
    const problem = await this.#spool.problemOf(entry);
    if (problem === null) return;
    this.badSeqs.push(seq);
    this.link.drop(this.works.get(seq) as Work);
    this.works.delete(seq);
    this.#wake();
  }

  changed(link: Link): void {
    this.states.push(link.state);
    if (!this.isImpatient || link.state !== 'waiting') return;
    setImmediate(() => link.hurry([...this.works.values()].slice(0, 1)));
  }

  /** Resolves when nothing is left to be moved. */
  async empty(): Promise<void> {
    while (this.works.size > 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

let scene: SpoolCase;
let spool: Spool;
let hop: NextHop;
let owner: Owner;
let running: Promise<void>;
beforeEach(async () => {
  scene = new SpoolCase(LIMIT_BYTES);
  spool = await scene.open();
  hop = await new NextHop().listen();
  owner = new Owner(spool, hop);
  running = owner.link.run();
});
afterEach(async () => {
  owner.link.stop();
  await running;
  owner.files.closeAll();
  await hop.close();
  await scene.end();
});

let lastSeq = 0;
const append = (sizes: readonly number[], path = (i: number): string => `f${i % 5}`): Entry[] => {
  const batch = sizes.map((size, i) => {
    const payload = Buffer.alloc(Math.abs(size), `${lastSeq + 1},`);
    const offset = { offset: lastSeq * 10 };
    return size > INLINE_MAX || size < 0
      ? incomingExternal(spool, ++lastSeq, path(i), payload)
      : incoming(++lastSeq, path(i), payload, offset);
  });
  return spool.append(batch);
};
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
};
const dataFile = (entry: Entry): string => spool.files.path(entry.payloadSegment);

/**
 * Everything of `entries` is in effect at the next hop, once, in order on each path, byte for byte.
 */
async function expectDelivered(entries: readonly Entry[]): Promise<void> {
  expect(owner.tooEarly).toEqual([]);
  expect([...owner.releasedSeqs].sort((a, b) => a - b)).toEqual(entries.map(({ seq }) => seq));
  const byPath = new Map<string, number[]>();
  for (const [seq, { head, payload }] of hop.taken) {
    byPath.set(head.path, [...(byPath.get(head.path) ?? []), seq]);
    const entry = entries.find((one) => one.seq === seq) as Entry;
    expect(payload.equals(await spool.readPayload(entry))).toBe(true);
    expect(head.flags).toBe(entry.flags & ~64);
  }
  for (const seqs of byPath.values()) expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
}

describe('what is put', () => {
  test('arrives: small, large, empty, inline and beside the log', async () => {
    const entries = append([
      0,
      1,
      100,
      INLINE_MAX,
      INLINE_MAX + 1,
      -50,
      -1,
      900_000,
      3,
      1024 * 1024,
    ]);
    owner.add(entries);
    await owner.empty();
    await expectDelivered(entries);
    expect(hop.taken.size).toBe(entries.length);
    await until(() => owner.link.state === 'idle');
  });

  test('arrives: many small ones behind a large one, in frames that a receiver takes', async () => {
    const large = [1, 1, 1, 1].map(() => limits.payloadBytesMax);
    const small = Array.from({ length: 60 }, () => 48 * 1024);
    const entries = append([...large, ...small, limits.payloadBytesMax, ...small]);
    owner.add(entries);
    await owner.empty();
    await expectDelivered(entries);
  });

  test('later goes over the same connection', async () => {
    owner.add(append([10]));
    await owner.empty();
    owner.add(append([10, 20]));
    await owner.empty();
    expect(hop.greetings).toBe(1);
    expect(hop.durable.size).toBe(3);
  });
});

describe('a connection that breaks', () => {
  test('is made again, and what was sent is sent again, marked', async () => {
    const entries = append([100, 200, 300, 400]);
    hop.breakAfter = [500];
    owner.add(entries);
    await owner.empty();
    await expectDelivered(entries);
    expect(hop.greetings).toBe(2);
    const again = hop.arrived.filter(({ head }, i) => {
      return hop.arrived.findIndex((one) => one.head.seq === head.seq) < i;
    });
    expect(again.length).toBeGreaterThan(0);
    expect(again.every(({ repeated }) => repeated)).toBe(true);
    expect(hop.arrived[0]?.repeated).toBe(false);
  });

  test('while a commit is on its way releases nothing', async () => {
    const entries = append([100, 200]);
    let breaks = 0;
    hop.beforeCommitted = () => {
      if (++breaks < 3) hop.breakOff();
    };
    owner.add(entries);
    await owner.empty();
    await expectDelivered(entries);
    expect(breaks).toBeGreaterThanOrEqual(3);
  });

  test('at random points loses nothing, repeats nothing in effect, keeps the order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.nat(3_000),
            fc.integer({ min: INLINE_MAX + 1, max: 200_000 }),
            fc.integer({ min: -3_000, max: -1 }),
          ),
          {
            minLength: 1,
            maxLength: 25,
          },
        ),
        fc.array(fc.integer({ min: 1, max: 400_000 }), { maxLength: 4 }),
        fc.boolean(),
        async (sizes, breaks, inCommit) => {
          hop.taken.clear();
          hop.durable.clear();
          owner.releasedSeqs.length = 0;
          hop.breakAfter = [...breaks];
          let once = inCommit;
          hop.beforeCommitted = () => {
            if (once) hop.breakOff();
            once = false;
          };
          const entries = append(sizes);
          owner.add(entries);
          await owner.empty();
          await expectDelivered(entries);
          spool.release(entries);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('again and again is waited for ever longer, whoever greets', async () => {
    owner.isImpatient = false;
    hop.beforeCommitted = () => hop.breakOff();
    owner.add(append([10]));
    await until(() => hop.greetings >= 2);
    const beforeMs = performance.now();
    await until(() => hop.greetings >= 3);
    // The second pause is 400 ms, give or take a quarter.
    expect(performance.now() - beforeMs).toBeGreaterThan(280);
    expect(owner.link.state).not.toBe('idle');
  });
});

test('a commit makes good for the failures before it', async () => {
  let breaks = 4;
  hop.beforeCommitted = () => {
    if (breaks-- > 0) hop.breakOff();
  };
  owner.add(append([10]));
  await owner.empty();
  breaks = 1;
  owner.isImpatient = false;
  owner.add(append([10]));
  await until(() => owner.link.state === 'waiting');
  expect(owner.link.retryInMs).toBeLessThanOrEqual(limits.backoffFirstMs * 1.25);
});

describe('the window', () => {
  test('bounds what is sent and not committed', async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    hop.beforeCommitted = async () => await gate;
    const count = limits.linkWindowOperationsMax + 3_000;
    const entries = append(Array.from({ length: count }, () => 0));
    owner.add(entries);
    // The next hop reads nothing while it works on the first COMMIT; the rest is asked of the link.
    await until(() => hop.arrived.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const unsent = [...owner.works.values()].filter(({ sent }) => !sent).length;
    expect(unsent).toBeGreaterThanOrEqual(1_000);
    open();
    await owner.empty();
    expect(hop.durable.size).toBe(count);
  });
});

describe('a damaged record', () => {
  const damage = (file: string, at: number): void => {
    const bytes = readFileSync(file);
    bytes[at] = (bytes[at] as number) ^ 1;
    writeFileSync(file, bytes);
  };

  test('is found when the next hop complains, and the rest arrives', async () => {
    const entries = append([200_000, 200_000, 200_000, 10], (i) => `p${i}`);
    const bad = entries[1] as Entry;
    damage(dataFile(bad), bad.payloadOffset + 7);
    owner.add(entries);
    await owner.empty();
    expect(owner.badSeqs).toEqual([bad.seq]);
    await expectDelivered(entries.filter((entry) => entry !== bad));
  });

  test('is found at once when what the next hop says is heard', async () => {
    const entries = append([3_000, 3_000, 10], (i) => `p${i}`);
    const bad = entries[1] as Entry;
    damage(spool.files.path(bad.segment), bad.at + bad.bytes - 1);
    owner.add(entries);
    await owner.empty();
    expect([owner.badSeqs, hop.greetings]).toEqual([[bad.seq], 2]);
    await expectDelivered(entries.filter((entry) => entry !== bad));
  });

  test('is found when the next hop just hangs up', async () => {
    hop.isTalkative = false;
    const entries = append([INLINE_MAX, INLINE_MAX], (i) => `p${i}`);
    const bad = entries[0] as Entry;
    damage(spool.files.path(bad.segment), bad.at + bad.bytes - 1);
    owner.add(entries);
    await owner.empty();
    expect(owner.badSeqs).toEqual([bad.seq]);
    await expectDelivered(entries.slice(1));
  });

  test('in its head is found before it is sent', async () => {
    const entries = append([-3_000, -3_000], (i) => `p${i}`);
    const bad = entries[0] as Entry;
    damage(spool.files.path(bad.segment), bad.at + 50);
    owner.add(entries);
    await owner.empty();
    expect(owner.badSeqs).toEqual([bad.seq]);
    await expectDelivered(entries.slice(1));
  });

  test('whose payload is gone is found, though it could never be sent', async () => {
    const [gone] = append([300_000], () => 'gone');
    const rest = append([10, 20], (i) => `p${i}`);
    spool.data.closeAll();
    rmSync(spool.files.path((gone as Entry).payloadSegment).replace(/log$/, 'data'));
    // The owner asks this spool, whose own descriptor is closed too.
    owner.add([gone as Entry, ...rest]);
    await owner.empty();
    expect(owner.badSeqs).toEqual([(gone as Entry).seq]);
    expect([...hop.durable]).toEqual(rest.map(({ seq }) => seq));
  });
});

describe('an error that says nothing about a record', () => {
  test('gives nothing up: it is sent when it has passed', async () => {
    const entries = append([300_000, 10], (i) => `p${i}`);
    const file = dataFile(entries[0] as Entry);
    const bytes = readFileSync(file);
    rmSync(file);
    // ELOOP stands for EMFILE and EIO.
    symlinkSync(file, file);
    owner.isImpatient = false;
    owner.add(entries);
    await until(() => owner.states.filter((state) => state === 'waiting').length >= 2);
    expect(owner.badSeqs).toEqual([]);
    rmSync(file);
    writeFileSync(file, bytes);
    owner.link.hurry([...owner.works.values()]);
    await owner.empty();
    expect(hop.durable.size).toBe(2);
  });
});

describe('a push', () => {
  test('goes first, with what it depends on, and is committed at once', async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    hop.isGreeting = false;
    const entries = append(
      Array.from({ length: 40 }, () => 60_000),
      (i) => `p${i}`,
    );
    owner.isImpatient = false;
    owner.add(entries);
    await until(() => owner.link.state === 'waiting');
    hop.isGreeting = true;
    hop.beforeCommitted = async () => await gate;
    const wanted = entries[33] as Entry;
    owner.link.hurry([owner.works.get(wanted.seq) as Work]);
    await until(() => hop.arrived.length > 0);
    expect(hop.arrived[0]?.head.seq).toBe(wanted.seq);
    open();
    await owner.empty();
    expect(hop.durable.size).toBe(40);
  });
});

test('a hop that does not let it in is waited for, and the reason is told', async () => {
  hop.isGreeting = false;
  owner.isImpatient = false;
  owner.add(append([10]));
  await until(() => owner.link.state === 'waiting');
  expect(owner.link.reason).toContain('not you');
  hop.isGreeting = true;
  owner.link.hurry([...owner.works.values()]);
  await owner.empty();
  expect(hop.durable.size).toBe(1);
});

test('a link that is stopped ends, connected or not', async () => {
  owner.add(append([10]));
  await owner.empty();
  owner.link.stop();
  await running;
  const other = new Owner(spool, hop);
  await hop.close();
  other.isImpatient = false;
  const ended = other.link.run();
  other.add(append([10]));
  await until(() => other.link.state === 'waiting');
  expect(other.link.reason).toContain('ECONNREFUSED');
  expect(other.link.retryInMs).toBeGreaterThan(0);
  other.link.stop();
  await ended;
  hop = await new NextHop().listen();
});
