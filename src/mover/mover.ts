/**
 * The mover: carries what is in the spool of its server to the next hops.
 *
 * The server tells it over their Unix socket what there is (WORK), it reads the segments itself and
 * tells the server what has been committed (RELEASE). It owns nothing durable: killed at any
 * moment,
 * the next mover is told everything that is still there and sends it again; the receivers drop
 * repeats. It promises to try for ever and to let no link hold up another.
 */
import PQueue from 'p-queue';
import type { Logger } from '../base/log.ts';
import { type Deadline, NEVER } from '../base/deadline.ts';
import { limits } from '../base/limits.ts';
import type { Connection } from '../protocol/connection.ts';
import type { Frame } from '../protocol/frame.ts';
import { greet } from '../protocol/hello.ts';
import { decodeMessage, MESSAGES } from '../protocol/messages.ts';
import { formatServerAddress } from '../protocol/server-address.ts';
import { NO_ID } from '../protocol/operation.ts';
import type { RouteTable } from '../route/table.ts';
import { SegmentFiles } from '../spool/files.ts';
import { Link, type LinkOwner } from './link.ts';
import { Work } from './work.ts';

/** How often the server hears of speeds. */
const REPORT_EVERY_MS = 500;

export class Mover implements LinkOwner {
  readonly files: SegmentFiles;
  readonly logger: Logger;
  spoolId = NO_ID;
  readonly #server: Connection;
  readonly #routes: RouteTable;
  /** By the address of the next hop. */
  /** What #linkFor answered last; routes do not change. */
  #last: { readonly name: string; readonly link: Link } | null = null;
  readonly #links = new Map<string, Link>();
  /** What is to be moved, by number. */
  readonly #work = new Map<number, Work>();
  /** Runs the links that have something to send beside each other, so many at a time. */
  readonly #queue = new PQueue({ concurrency: limits.linksMax });
  readonly #running: Promise<void>[] = [];
  #lowWater = 0;
  #report: NodeJS.Timeout | undefined;

  constructor(
    server: Connection,
    segmentsDirectory: string,
    isData: (segment: number) => boolean,
    routes: RouteTable,
    logger: Logger,
  ) {
    this.#server = server;
    this.#routes = routes;
    this.logger = logger;
    this.files = new SegmentFiles(segmentsDirectory, isData);
  }

  /** Greets the server and works until the connection to it ends or `signal` aborts. */
  async run(deadline: Deadline, signal: AbortSignal): Promise<void> {
    const server = this.#server;
    server.onFrame = (frame) => this.#onFrame(frame);
    const welcome = await greet(server, 'mover', NO_ID, deadline);
    this.spoolId = welcome.spoolId;
    const onAbort = (): void => server.close(null);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    this.#report = setInterval(() => {
      for (const link of this.#links.values()) if (link.state === 'sending') this.changed(link);
      // The server has removed what was delivered; an open descriptor would keep it on the disk.
      this.files.dropRemoved();
    }, REPORT_EVERY_MS);
    try {
      const error = await server.closed;
      if (error !== null && !signal.aborted) throw error;
    } finally {
      clearInterval(this.#report);
      signal.removeEventListener('abort', onAbort);
      for (const link of this.#links.values()) link.stop();
      await Promise.all(this.#running);
      this.files.closeAll();
    }
  }

  lowWater(): number {
    return this.#lowWater;
  }

  async inTurn(work: () => Promise<void>): Promise<void> {
    await this.#queue.add(work);
  }

  released(work: readonly Work[]): void {
    const seqs = work.map(({ seq }) => seq).sort((a, b) => a - b);
    const operations: { first: number; last: number }[] = [];
    for (const seq of seqs) {
      this.#work.delete(seq);
      const last = operations.at(-1);
      if (last?.last === seq - 1) last.last = seq;
      else operations.push({ first: seq, last: seq });
    }
    this.#server.send('RELEASE', { operations });
  }

  async bad({ seq }: Work, problem: string): Promise<void> {
    const what = `operation ${seq}: ${problem}`;
    const operations = [{ seq, problem }];
    await this.#server.ask('BAD', { operations }, 'DONE', { deadline: NEVER, what });
  }

  changed(link: Link): void {
    for (const name of link.names) {
      this.#server.send('LINK', {
        name,
        address: link.label,
        state: link.state,
        reason: link.reason,
        retryInMs: Math.round(link.retryInMs),
        bytesPerSecond: link.bytesPerSecond,
      });
    }
  }

  #onFrame(frame: Frame): void {
    switch (frame.type) {
      case MESSAGES.WORK.type:
        for (const row of decodeMessage('WORK', frame).operations) this.#take(new Work(row));
        return;
      case MESSAGES.LOW_WATER.type:
        this.#lowWater = decodeMessage('LOW_WATER', frame).seq;
        return;
      case MESSAGES.HURRY.type:
        this.#hurry(decodeMessage('HURRY', frame).operations);
        return;
      case MESSAGES.DROP.type:
        this.#drop(decodeMessage('DROP', frame).operations);
        return;
      case MESSAGES.MOVED.type:
        for (const { seq, segment, at } of decodeMessage('MOVED', frame).operations) {
          const work = this.#work.get(seq);
          if (work !== undefined) work.moveTo(segment, at);
        }
        return;
      default:
        this.logger.debug({ type: frame.type }, 'a frame that is not for a mover');
    }
  }

  #take(work: Work): void {
    if (this.#work.has(work.seq)) return;
    this.#work.set(work.seq, work);
    const link = this.#linkFor(work.name);
    if (!link.names.has(work.name)) {
      link.names.add(work.name);
      this.changed(link);
    }
    link.add(work);
  }

  #drop(ranges: readonly { readonly first: number; readonly last: number }[]): void {
    for (const { first, last } of ranges) {
      for (let seq = first; seq <= last; seq++) {
        const work = this.#work.get(seq);
        if (work === undefined) continue;
        this.#work.delete(seq);
        this.#linkFor(work.name).drop(work);
      }
    }
  }

  #hurry(ranges: readonly { readonly first: number; readonly last: number }[]): void {
    const byLink = new Map<Link, Work[]>();
    for (const { first, last } of ranges) {
      for (let seq = first; seq <= last; seq++) {
        const work = this.#work.get(seq);
        if (work === undefined) continue;
        const link = this.#linkFor(work.name);
        const known = byLink.get(link);
        if (known === undefined) byLink.set(link, [work]);
        else known.push(work);
      }
    }
    for (const [link, works] of byLink) link.hurry(works);
  }

  #linkFor(name: string): Link {
    // Operations for one server mostly follow each other.
    if (this.#last !== null && name === this.#last.name) return this.#last.link;
    const address = this.#routes.nextHop(name);
    const key = formatServerAddress(address);
    let link = this.#links.get(key);
    if (link === undefined) {
      const made = new Link(address, this);
      link = made;
      this.#links.set(key, made);
      const running = made.run().catch((error: unknown) => {
        this.logger.fatal({ err: error, hop: key }, 'a link stopped');
        this.#server.close(null);
      });
      this.#running.push(running);
    }
    this.#last = { name, link };
    return link;
  }
}
