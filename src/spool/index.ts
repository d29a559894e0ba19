/**
 * The SQLite index of a spool: what was released, what was taken, what people must be told, and a
 * copy of the heads of sealed segments so that a start need not read the segments.
 *
 * One process opens it, exclusively; a second server on the same spool is refused by that lock.
 * Every commit is durable (synchronous=FULL). After any I/O error of SQLite the index refuses all
 * further work: SQLite itself would go on as if nothing had happened (reliability: fail-stop).
 */
import Database from 'better-sqlite3';
import { readFileSync } from 'node:fs';
import { KangarooError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { RangeSet } from '../base/ranges.ts';

/**
 * Node 24.19 and later abort when a Statement or Database of better-sqlite3 12 is collected as
 * garbage (the destructor of node::ObjectWrap asks for an environment that is not entered then). So
 * none ever is: all are kept, one index's worth in a server, and there are no passing ones.
 */
const kept: unknown[] = [];
function keep<T extends object>(one: T): T {
  kept.push(one);
  return one;
}

const FORMAT_VERSION = 1;
/** Older releases can corrupt a WAL database when a checkpoint races a commit (walresetbug). */
const SQLITE_VERSION_MIN = [3, 51, 3] as const;

export interface SegmentRow {
  readonly number: number;
  /** Read from the file each time: of a million operations they are more than 100 MB together. */
  readonly records: Buffer | null;
  readonly released: RangeSet;
}

export interface TakenRow {
  readonly sender: string;
  readonly ranges: RangeSet;
  readonly session: boolean;
}

/** Everything that one flush makes durable, together. */
export interface IndexChanges {
  readonly seqLimit?: number;
  readonly released?: ReadonlyMap<number, RangeSet>;
  readonly sealed?: ReadonlyMap<number, Buffer>;
  readonly removed?: readonly number[];
  readonly taken?: readonly TakenRow[];
  readonly forgottenSenders?: readonly string[];
  readonly destinations?: readonly string[];
  readonly forgottenDestinations?: readonly string[];
  /** Intents of operations that `taken` covers now. */
  readonly intentsDone?: readonly IntentKey[];
}

/** A rename that has been noted: its sender's id and number. */
export interface IntentKey {
  readonly sender: string;
  readonly seq: number;
}

export class SpoolIndex {
  readonly #db: Database.Database;
  readonly #statements;
  #failed: unknown = null;
  /** Orders the senders by how recently they were heard of; a counter, because clocks jump. */
  #touched = 0;

  constructor(file: string, options: { readonly readonly?: boolean } = {}) {
    let db: Database.Database | null = null;
    try {
      db = keep(new Database(file, { timeout: 500, readonly: options.readonly ?? false }));
      this.#db = db;
      this.#db.exec('PRAGMA locking_mode = EXCLUSIVE');
      this.#db.exec('PRAGMA journal_mode = WAL');
      this.#db.exec('PRAGMA synchronous = FULL');
      this.#db.exec('PRAGMA journal_size_limit = 16777216');
      assertSqliteVersion(this.#db);
      const schema = readFileSync(new URL('./schema.sql', import.meta.url), 'utf8');
      if (options.readonly !== true) {
        // The first write takes the exclusive lock, so that a second server fails here and now.
        this.#db.exec(`BEGIN EXCLUSIVE; ${schema} COMMIT;`);
        // A write turns FULL back to the compiled default when it is the first after WAL mode.
        this.#db.exec('PRAGMA synchronous = FULL');
      }
      this.#checkFormat(options.readonly ?? false);
      this.#statements = prepare(this.#db);
      this.#touched = (this.#statements.lastTouched.get() as { touched: number }).touched;
    } catch (error) {
      db?.close();
      throw openError(file, error);
    }
  }

  meta(key: string): string | number | null {
    const row = this.#statements.getMeta.get(key) as { value: string | number } | undefined;
    return row?.value ?? null;
  }

  setMeta(key: string, value: string | number): void {
    this.#run(() => this.#statements.setMeta.run(key, value));
  }

  segments(): SegmentRow[] {
    const { getSegments, getRecords } = this.#statements;
    const rows = getSegments.all() as { number: number; released: Buffer | null }[];
    return rows.map(({ number, released }) => ({
      number,
      get records(): Buffer | null {
        const row = getRecords.get(number) as { records: Buffer | null } | undefined;
        return row?.records ?? null;
      },
      released: released === null ? new RangeSet() : RangeSet.decode(released),
    }));
  }

  taken(): TakenRow[] {
    const rows = this.#statements.getTaken.all() as {
      sender: Buffer;
      ranges: Buffer;
      session: number;
    }[];
    return rows.map((row) => ({
      sender: row.sender.toString('hex'),
      ranges: RangeSet.decode(row.ranges),
      session: row.session === 1,
    }));
  }

  destinations(): string[] {
    const rows = this.#statements.getDestinations.all() as { name: string }[];
    return rows.map((row) => row.name);
  }

  /** All of `changes` or nothing, durable when it returns. */
  flush(changes: IndexChanges): void {
    const s = this.#statements;
    this.#transaction(() => {
      if (changes.seqLimit !== undefined) s.setMeta.run('seqLimit', changes.seqLimit);
      for (const [number, records] of changes.sealed ?? []) s.setRecords.run(number, records);
      for (const [number, set] of changes.released ?? []) s.setReleased.run(number, set.encode());
      for (const number of changes.removed ?? []) s.removeSegment.run(number);
      for (const row of changes.taken ?? []) {
        const sender = Buffer.from(row.sender, 'hex');
        s.setTaken.run(sender, row.ranges.encode(), row.session ? 1 : 0, ++this.#touched);
      }
      for (const sender of changes.forgottenSenders ?? []) {
        s.forgetTaken.run(Buffer.from(sender, 'hex'));
      }
      if (this.#touched % 1024 === 0) s.limitSessions.run(limits.sessionsRememberedMax);
      for (const name of changes.destinations ?? []) s.addDestination.run(name);
      for (const name of changes.forgottenDestinations ?? []) s.removeDestination.run(name);
      for (const { sender, seq } of changes.intentsDone ?? []) {
        s.removeIntent.run(Buffer.from(sender, 'hex'), seq);
      }
    });
  }

  addMessage(message: object): number {
    let id = 0;
    this.#transaction(() => {
      id = Number(this.#statements.addMessage.run(JSON.stringify(message)).lastInsertRowid);
      this.#statements.limitMessages.run(id - limits.messagesMax);
    });
    return id;
  }

  /** Writes a message in the place of an older one, which is then gone. Returns its id. */
  replaceMessage(old: number, message: object): number {
    let id = 0;
    this.#transaction(() => {
      this.#statements.removeMessage.run(old);
      id = Number(this.#statements.addMessage.run(JSON.stringify(message)).lastInsertRowid);
    });
    return id;
  }

  /** The oldest `max` behind `id`; -1: all of them. */
  messagesAfter(id: number, max: number): { readonly id: number; readonly json: string }[] {
    return this.#statements.getMessages.all(id, max) as { id: number; json: string }[];
  }

  noteIntent(sender: string, senderSeq: number, dev: bigint, ino: bigint): void {
    const key = Buffer.from(sender, 'hex');
    this.#run(() => this.#statements.setIntent.run(key, senderSeq, String(dev), String(ino)));
  }

  intent(sender: string, seq: number): { readonly dev: bigint; readonly ino: bigint } | null {
    const row = this.#statements.getIntent.get(Buffer.from(sender, 'hex'), seq) as
      { dev: string; ino: string } | undefined;
    return row === undefined ? null : { dev: BigInt(row.dev), ino: BigInt(row.ino) };
  }

  /** Did it fail in a way that no retry mends? */
  get isFailed(): boolean {
    return this.#failed !== null;
  }

  close(): void {
    this.#db.close();
  }

  #transaction(work: () => void): void {
    this.#run(() => this.#db.transaction(work).immediate());
  }

  #run(work: () => unknown): void {
    if (this.#failed !== null) {
      throw new KangarooError('SPOOL_FAILED', 'the index of the spool failed before');
    }
    try {
      work();
    } catch (error) {
      const code = String((error as { code?: unknown }).code);
      // A full disk changes nothing and mends itself; any other failure may have lied about a sync.
      if (code !== 'SQLITE_FULL') this.#failed = error;
      const text = error instanceof Error ? error.message : String(error);
      throw new KangarooError('SPOOL_FAILED', `the index of the spool: ${text}`, { cause: error });
    }
  }

  #checkFormat(readonly: boolean): void {
    const row = keep(this.#db.prepare("SELECT value FROM meta WHERE key = 'format'")).get() as
      { value: number } | undefined;
    if (row === undefined && !readonly) {
      keep(this.#db.prepare("INSERT INTO meta VALUES ('format', ?)")).run(FORMAT_VERSION);
    } else if (row !== undefined && row.value > FORMAT_VERSION) {
      throw new KangarooError(
        'VERSION',
        `this spool has format ${row.value}, this release knows ${FORMAT_VERSION}`,
      );
    }
  }
}

function prepare(db: Database.Database) {
  const made = {
    getMeta: db.prepare('SELECT value FROM meta WHERE key = ?'),
    setMeta: db.prepare('INSERT OR REPLACE INTO meta VALUES (?, ?)'),
    getSegments: db.prepare('SELECT number, released FROM segment ORDER BY number'),
    getRecords: db.prepare('SELECT records FROM segment WHERE number = ?'),
    setRecords: db.prepare(
      `INSERT INTO segment (number, records) VALUES (?, ?)
       ON CONFLICT (number) DO UPDATE SET records = excluded.records`,
    ),
    setReleased: db.prepare(
      `INSERT INTO segment (number, released) VALUES (?, ?)
       ON CONFLICT (number) DO UPDATE SET released = excluded.released`,
    ),
    removeSegment: db.prepare('DELETE FROM segment WHERE number = ?'),
    getTaken: db.prepare('SELECT sender, ranges, session FROM taken ORDER BY touched'),
    setTaken: db.prepare(
      `INSERT OR REPLACE INTO taken VALUES
       (?, ?, ?, ?)`,
    ),
    forgetTaken: db.prepare('DELETE FROM taken WHERE sender = ?'),
    limitSessions: db.prepare(
      `DELETE FROM taken WHERE session = 1 AND sender IN
       (SELECT sender FROM taken WHERE session = 1 ORDER BY touched DESC LIMIT -1 OFFSET ?)`,
    ),
    addMessage: db.prepare('INSERT INTO message (json) VALUES (?)'),
    removeMessage: db.prepare('DELETE FROM message WHERE id = ?'),
    // What is quarantined makes pushes fail until it is discarded: it must not be forgotten.
    limitMessages: db.prepare(
      `DELETE FROM message WHERE id <= ? AND json_extract(json, '$.state') <> 'quarantined'`,
    ),
    getMessages: db.prepare('SELECT id, json FROM message WHERE id > ? ORDER BY id LIMIT ?'),
    setIntent: db.prepare('INSERT INTO intent (sender, senderSeq, dev, ino) VALUES (?, ?, ?, ?)'),
    getIntent: db.prepare('SELECT dev, ino FROM intent WHERE sender = ? AND senderSeq = ?'),
    removeIntent: db.prepare('DELETE FROM intent WHERE sender = ? AND senderSeq = ?'),
    lastTouched: db.prepare('SELECT coalesce(max(touched), 0) AS touched FROM taken'),
    getDestinations: db.prepare('SELECT name FROM destination'),
    removeDestination: db.prepare('DELETE FROM destination WHERE name = ?'),
    addDestination: db.prepare('INSERT OR IGNORE INTO destination VALUES (?)'),
  };
  Object.values(made).forEach(keep);
  return made;
}

function assertSqliteVersion(db: Database.Database): void {
  const { version } = keep(db.prepare('SELECT sqlite_version() AS version')).get() as {
    version: string;
  };
  const parts = version.split('.').map(Number);
  for (const [i, wanted] of SQLITE_VERSION_MIN.entries()) {
    const part = parts[i] ?? 0;
    if (part > wanted) return;
    if (part < wanted) {
      throw new KangarooError('VERSION', `SQLite ${version} can lose commits`, {
        hint: `build better-sqlite3 with SQLite ${SQLITE_VERSION_MIN.join('.')} or later`,
      });
    }
  }
}

function openError(file: string, error: unknown): KangarooError {
  if (error instanceof KangarooError) return error;
  const code = String((error as { code?: unknown }).code);
  const text = error instanceof Error ? error.message : String(error);
  if (code.startsWith('SQLITE_BUSY')) {
    return new KangarooError('SPOOL_IN_USE', `${file}: another server has this spool`);
  }
  return new KangarooError('SPOOL_FAILED', `${file}: ${text}`, { cause: error });
}
