/**
 * What a server reports about itself: the documents behind `status` and `messages`.
 *
 * The shapes are the contract of `kangaroo status --json`. A document comes from another program,
 * perhaps a newer one: fields may be added, so nothing here is exhaustive, and what this release
 * relies on is checked when a document arrives. Pure.
 */
import { KangarooError } from '../base/errors.ts';

export interface StatusReport {
  readonly server: {
    readonly name: string;
    readonly spoolId: string;
    readonly version: string;
    readonly uptimeSeconds: number;
  };
  readonly spool: {
    readonly operations: number;
    readonly bytes: number;
    readonly limitBytes: number;
    readonly oldestSeconds: number;
    readonly state: 'ok' | 'full' | 'failed';
    /** On its disk, with what has been delivered and not yet been cleared away. */
    readonly occupiedBytes: number;
    /** Why it is full. */
    readonly reason: string | null;
  };
  readonly destinations: readonly DestinationReport[];
}

export interface DestinationReport {
  readonly name: string;
  readonly nextHop: string;
  readonly state: 'idle' | 'sending' | 'waiting' | 'held';
  readonly reason: string | null;
  readonly retryInSeconds: number | null;
  readonly queuedOperations: number;
  readonly queuedBytes: number;
  readonly heldOperations: number;
  readonly bytesPerSecond: number;
  readonly etaSeconds: number | null;
  /** There when a target was given; the oldest first. */
  readonly files?: readonly FileReport[];
  readonly filesOmitted?: number;
}

export interface FileReport {
  readonly path: string;
  readonly queuedBytes: number;
  readonly heldOperations: number;
  readonly state: string;
  readonly reason: string | null;
}

/** Something that was held, mended, given up or found damaged. */
export interface ServerMessage {
  /** Ascending; `messages({after: id})` goes on behind it. */
  readonly id: number;
  /** When it was written, as the server tells it (ISO 8601). */
  readonly at: string;
  readonly server: string;
  /** `kangaroo://NAME/path` of the file. */
  readonly address: string;
  readonly operation: string;
  readonly reason: string;
  readonly errno: string;
  /** When it was first held (ISO 8601). */
  readonly since: string;
  /** What a person can do about it. */
  readonly todo: string;
  readonly operations: number;
  readonly bytes: number;
  readonly state: 'held' | 'mended' | 'discarded' | 'quarantined';
}

export interface MessagesReport {
  readonly messages: readonly ServerMessage[];
  /** The newest id there is: where the next call goes on. */
  readonly last: number;
}

/**
 * A document's text as an object that has the fields `required`.
 * @throws KangarooError PROTOCOL
 */
export function parseDocument(verb: string, json: string, required: readonly string[]): unknown {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (error) {
    throw new KangarooError('PROTOCOL', `${verb}: the answer is no JSON`, { cause: error });
  }
  const missing = required.find(
    (field) => typeof parsed !== 'object' || parsed === null || !(field in parsed),
  );
  if (missing !== undefined) {
    throw new KangarooError('PROTOCOL', `${verb}: the answer has no '${missing}'`);
  }
  return parsed;
}
