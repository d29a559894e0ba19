/**
 * Frames of write records for tests of the bulk receiver, built byte by byte from the layout that
 * native/addon/record.h draws. Independent of the codec in src/protocol on purpose: two who agree
 * on the bytes must not share the code that makes them.
 */

import { crc32cByTables } from '../../src/base/crc32c.ts';

export const putsType = 7;
export const writeKind = 1;
export const prefixBytes = 16;
export const headerBytes = 136;

export interface FrameParts {
  readonly payload: Uint8Array;
  readonly offset?: number;
  readonly name?: string;
  readonly path?: string;
  readonly path2?: string;
  readonly ext?: string;
  readonly kind?: number;
  readonly flags?: number;
  readonly version?: number;
  readonly type?: number;
  readonly callId?: number;
  readonly seq?: number;
  /** Added to the true checksums, to make them wrong. */
  readonly headerCrcError?: number;
  readonly payloadCrcError?: number;
  /** Added to the true length of the body. */
  readonly bodyBytesError?: number;
}

function headerOf(parts: FrameParts, names: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(headerBytes);
  const { payload } = parts;
  header.write('KOP1', 'latin1');
  header.writeUInt32LE((crc32cByTables(payload) + (parts.payloadCrcError ?? 0)) >>> 0, 8);
  header.writeUInt32LE(payload.length, 12);
  header.writeUInt16LE(names[1]?.length ?? 0, 16);
  header.writeUInt16LE(names[2]?.length ?? 0, 18);
  header.writeUInt16LE(names[3]?.length ?? 0, 20);
  header.writeUInt8(names[0]?.length ?? 0, 22);
  header.writeUInt8(parts.kind ?? writeKind, 23);
  header.writeUInt16LE(parts.flags ?? 0, 24);
  header.writeUInt8(parts.version ?? 1, 27);
  header.writeBigUInt64LE(BigInt(parts.seq ?? 1), 32);
  header.writeBigUInt64LE(BigInt(parts.offset ?? 0), 40);
  const crc = crc32cByTables(Buffer.concat([header.subarray(8), ...names]));
  header.writeUInt32LE((crc + (parts.headerCrcError ?? 0)) >>> 0, 4);
  return header;
}

/** Header and names as they stand on the wire, without the payload. */
export function recordOf(parts: FrameParts): Buffer {
  const texts = [parts.name ?? 'server', parts.path ?? '/out/file', parts.path2, parts.ext];
  const names = texts.map((text) => Buffer.from(text ?? ''));
  return Buffer.concat([headerOf(parts, names), ...names]);
}

/** A whole frame: prefix, header, names, payload. */
export function frameOf(parts: FrameParts): Buffer {
  const record = recordOf(parts);
  const prefix = Buffer.alloc(prefixBytes);
  const bodyBytes = record.length + parts.payload.length + (parts.bodyBytesError ?? 0);
  prefix.writeUInt32LE(bodyBytes, 0);
  prefix.writeUInt8(parts.type ?? putsType, 4);
  prefix.writeUInt32LE(parts.callId ?? 0, 8);
  return Buffer.concat([prefix, record, parts.payload]);
}

/** Bytes that differ from block to block and from place to place. */
export function payloadOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i += 1) bytes[i] = (i * 31 + (i >> 8) * 7 + seed * 131) & 0xff;
  return bytes;
}
