/**
 * Records of this spool that were found damaged and put aside, and that nobody has given up yet.
 *
 * What they stand for was promised to somebody and will not arrive, so a push that means one of
 * them fails until it is discarded: also a push that comes after the damage was found, and after a
 * restart. A record whose head cannot be read has no address; it may be anybody's, and counts for
 * every target, of a push as of a discard. Each place of the spool is told once, though recovery
 * meets it again at every start while its segment lives. Bounded: beyond
 * `limits.quarantineReportsMax` at a time, the others share one entry that counts for every target.
 */
import { limits } from '../base/limits.ts';
import { formatAddress, parseTarget } from '../route/address.ts';
import type { Entry } from '../spool/entry.ts';
import type { SpoolIndex } from '../spool/index.ts';
import type { Notice } from './notices.ts';

/** What a record was about. */
export type DamagedRecord = Pick<Entry, 'name' | 'path' | 'path2' | 'originId'>;

/** As it stands in the index: the notice, and what a push has to know. */
interface Row extends Omit<Notice, 'id'> {
  /** Where it lay. */
  readonly place?: string;
  readonly record?: DamagedRecord | null;
  readonly isUncertain?: true;
}

interface Damaged {
  notice: Notice;
  readonly place: string;
  readonly record: DamagedRecord | null;
}

/** Stands for the place of all those that are not told one by one. */
const FURTHER = 'further places';

export class Damage {
  readonly #index: SpoolIndex;
  readonly #server: string;
  readonly #open = new Map<string, Damaged>();
  /** Told, and over. */
  readonly #told = new Set<string>();

  constructor(index: SpoolIndex, server: string) {
    this.#index = index;
    this.#server = server;
    for (const { id, json } of index.messagesAfter(0, -1)) {
      const row = JSON.parse(json) as Row;
      if (row.state === 'quarantined' && row.isUncertain !== true) this.#adopt(id, row);
      else if (row.place !== undefined) this.#told.add(row.place);
    }
  }

  /** `record`: null when its head cannot be read. `place`: its segment, and where in it. */
  add(record: DamagedRecord | null, problem: string, place: string, bytes: number): void {
    if (this.#open.has(place) || this.#told.has(place)) return;
    if (this.#open.size < limits.quarantineReportsMax) {
      this.#write(record, `${problem} in ${place}`, place, bytes);
      return;
    }
    const further = this.#open.get(FURTHER);
    if (further === undefined) {
      this.#write(null, 'further records are damaged', FURTHER, bytes);
      return;
    }
    const { notice } = further;
    further.notice = {
      ...notice,
      operations: notice.operations + 1,
      bytes: notice.bytes + bytes,
    };
  }

  /** Damage that costs no record: told, and nobody has to do anything about it. */
  tell(problem: string, place: string, bytes: number): void {
    if (this.#told.has(place)) return;
    this.#told.add(place);
    const body = this.#body(`${problem} in ${place}; nothing is lost by it`, bytes);
    this.#index.addMessage({ ...body, state: 'mended', place } satisfies Row);
  }

  /**
   * What a power cut left of the last writes, most likely before anybody was promised anything: it
   * is told, and no push waits for somebody to give it up.
   */
  suspect(record: DamagedRecord | null, problem: string, place: string, bytes: number): void {
    if (this.#told.has(place)) return;
    this.#told.add(place);
    const body = this.#body(`${problem} in ${place}`, bytes, record);
    const todo = 'if its put had ended with 0, put it again; quarantine/ has its bytes';
    this.#index.addMessage({ ...body, todo, place, isUncertain: true } satisfies Row);
  }

  /** Those that nobody has given up. */
  get notices(): readonly Notice[] {
    return [...this.#open.values()].map(({ notice }) => notice);
  }

  /** Notices of those that `isMeant`, and of those that may be. */
  meantBy(isMeant: (record: DamagedRecord) => boolean): readonly Notice[] {
    const meant: Notice[] = [];
    for (const { record, notice } of this.#open.values()) {
      if (record === null || isMeant(record)) meant.push(notice);
    }
    return meant;
  }

  /** Nobody waits for these any more; durable when it returns. Returns how many they were. */
  discard(isMeant: (record: DamagedRecord) => boolean): number {
    let count = 0;
    for (const { record, notice, place } of [...this.#open.values()]) {
      if (record !== null && !isMeant(record)) continue;
      const { id, ...rest } = notice;
      const at = new Date().toISOString();
      this.#index.replaceMessage(id, { ...rest, at, state: 'discarded', place });
      this.#open.delete(place);
      if (place !== FURTHER) this.#told.add(place);
      count += notice.operations;
    }
    return count;
  }

  #write(record: DamagedRecord | null, reason: string, place: string, bytes: number): void {
    const body = this.#body(reason, bytes, record);
    const kept = record === null ? null : copyOf(record);
    const id = this.#index.addMessage({ ...body, place, record: kept } satisfies Row);
    this.#open.set(place, { notice: { ...body, id }, place, record: kept });
  }

  #body(reason: string, bytes: number, record?: DamagedRecord | null): Omit<Notice, 'id'> {
    const at = new Date().toISOString();
    return {
      at,
      server: this.#server,
      address: record ? formatAddress(record.name, record.path) : '',
      operation: 'record',
      reason,
      errno: 'CORRUPT',
      since: at,
      todo: todoFor(record),
      operations: 1,
      bytes,
      state: 'quarantined',
    };
  }

  #adopt(id: number, row: Row): void {
    const { record, place = `message ${id}`, ...body } = row;
    this.#open.set(place, {
      notice: { ...body, id },
      place,
      record: record === undefined ? recordOf(row.address) : record,
    });
  }
}

/** What somebody has to do; nothing for what was no record. */
function todoFor(record: DamagedRecord | null | undefined): string {
  if (record === undefined) return 'check the disk of the spool';
  const kept = 'quarantine/ of the spool has its bytes';
  if (record === null) {
    return `kangaroo discard any target, then put again what is missing there; ${kept}`;
  }
  const address = formatAddress(record.name, record.path);
  return `kangaroo discard ${address}, then put it again; ${kept}`;
}

/** Without the rest of an entry or head, which may have much more to it. */
function copyOf({ name, path, path2, originId }: DamagedRecord): DamagedRecord {
  return { name, path, path2, originId };
}

/** Of a message that an earlier release wrote. */
function recordOf(address: string): DamagedRecord | null {
  if (address === '') return null;
  return { ...parseTarget(address), path2: '', originId: '' };
}
