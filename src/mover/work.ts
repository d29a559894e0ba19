/**
 * One operation that this mover has to move: what the server said of it in a WORK frame.
 */
import type { Message } from '../protocol/messages.ts';
import { FLAGS, type Kind } from '../protocol/operation.ts';

export class Work {
  readonly seq: number;
  readonly kind: Kind;
  readonly flags: number;
  readonly name: string;
  readonly path: string;
  readonly path2: string;
  readonly payloadBytes: number;
  /** Of the record in the log. */
  readonly bytes: number;
  /** Where the record lies; changes when the server compacts. */
  segment: number;
  at: number;
  payloadSegment: number;
  payloadOffset: number;
  /** On the current connection, and not committed yet. */
  sent = false;

  constructor(row: Message<'WORK'>['operations'][number]) {
    this.seq = row.seq;
    this.kind = row.kind as Kind;
    this.flags = row.flags;
    this.name = row.name;
    this.path = row.path;
    this.path2 = row.path2;
    this.payloadBytes = row.payloadBytes;
    this.bytes = row.bytes;
    this.segment = row.segment;
    this.at = row.at;
    this.payloadSegment = row.payloadSegment;
    this.payloadOffset = row.payloadOffset;
  }

  /** The server has moved the record; an inline payload went with it. */
  moveTo(segment: number, at: number): void {
    if (!this.isExternal) {
      this.payloadSegment = segment;
      this.payloadOffset += at - this.at;
    }
    this.segment = segment;
    this.at = at;
  }

  get isExternal(): boolean {
    return (this.flags & FLAGS.EXTERNAL) !== 0;
  }
}
