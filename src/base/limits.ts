/**
 * Every bound of the system, in one place: sizes in bytes, times in milliseconds, counts.
 *
 * A queue, frame, table or wait that has no row here is a bug. The relations between the bounds
 * that the code relies on are asserted when this file is loaded. What a user may want to change is
 * a setting in config.ts instead; these are not.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

export const limits = {
  // Records and frames.
  payloadBytesMax: MiB,
  /**
   * Larger payloads go to a data segment as they are; smaller ones lie in the log beside their
   * header.
   */
  inlinePayloadBytesMax: 64 * KiB,
  nameBytesMax: 255,
  pathBytesMax: 4096,
  extensionBytesMax: 4096,
  /** One frame: a full record with its names, or many small ones. */
  frameBytesMax: MiB + 64 * KiB,
  /** Before a peer has said who it is, it gets this much and no more. */
  greetingBytesMax: 4 * KiB,
  /** A PUTS frame of small records is filled up to about this. */
  batchBytes: 256 * KiB,
  hopsMax: 16,

  // Connections.
  connectionsMax: 1024,
  /** Peers from addresses that are not allowed that are being told so, and for how long. */
  refusalsAtOnceMax: 16,
  refusalMs: 1_000,
  greetingTimeoutMs: 10_000,
  connectTimeoutMs: 10_000,
  /** A link on which nothing moves for this long although something should is given up. */
  linkSilenceMs: 30_000,
  pingEveryMs: 10_000,
  /** Calls that one connection may have open at once; more are refused as BUSY. */
  callsPerConnectionMax: 256,
  /** Bytes that wait in a connection to be sent before its producers have to wait. */
  sendQueueBytesMax: 4 * MiB,
  /** A client's blocks sent and not yet committed, kept for a resend. */
  clientWindowBytesMax: 32 * MiB,

  // The spool.
  logSegmentBytes: 64 * MiB,
  dataSegmentBytes: 64 * MiB,
  recordsPerSegmentMax: 65_536,
  grantBytesMax: 256 * MiB,
  grantsPerConnectionMax: 4,
  /** What a client has copied into a grant is named this much later at the latest. */
  unnamedMs: 1_000,
  spoolBytesDefault: 16 * 1024 * MiB,
  /** Room kept back on the spool's disk so that a full disk can still be emptied. */
  headroomBytes: 4 * MiB,
  indexFlushEveryMs: 1_000,
  /** Sessions of clients whose taken numbers are remembered after they left. */
  sessionsRememberedMax: 10_000,
  quarantineReportsMax: 1_000,

  // The mover.
  /** New operations are told to it together, after this time or with so much payload. */
  workGatheredMs: 50,
  workGatheredBytes: MiB,
  /**
   * While clients wait for commits, or programs make small files, it is told nothing new, for so
   * long at the most; of small files not even so long when there is so much.
   */
  workHeldMs: 1_000,
  workHeldBytes: 64 * MiB,
  /** Next hops that one mover serves at the same time. */
  linksMax: 64,
  /** Sent to one next hop and not yet committed there. */
  linkWindowBytesMax: 256 * MiB,
  linkWindowOperationsMax: 20_000,
  /** A commit is asked for after this much, or when there is nothing more to send. */
  commitEveryBytes: 64 * MiB,
  commitEveryMs: 1_000,
  backoffFirstMs: 200,
  backoffMaxMs: 30_000,
  /**
   * Files take turns on a link; a turn is this long, so that a small file never waits for a big
   * one.
   */
  turnBytes: 4 * MiB,

  // The destination.
  openFilesMax: 256,
  /** With more files than this to sync, one syncfs(2) is cheaper than the single fsyncs. */
  fsyncFilesMax: 32,
  /** Of them so many at once: the thread pool serves the bulk path too. */
  fsyncsAtOnceMax: 4,
  /** Changed paths remembered until the next sync, to be named if it fails. */
  unsyncedNamesMax: 20_000,
  /** Written to one file, after which its write-back is started: sync then has little left. */
  writebackEveryBytes: 8 * MiB,
  heldRetryEveryMs: 5_000,

  // Adapted programs.
  /** A slot of the board that was given out is not taken back before. */
  slotKeptMs: 1_000,
  /** Processes are looked through for open files at most this often while slots are short. */
  slotRoundEveryMs: 250,
  /** How far one LOCATE looks, and what its answer may have: it must fit a program's buffer. */
  locateBytesMax: 64 * MiB,
  placesMax: 512,
  placesBytesMax: 64 * KiB,
  /** Bytes that a program was told the place of are not punched out for so long. */
  placesLeaseMs: 10_000,

  // Reads and reports.
  getBytesMax: 4 * MiB,
  listEntriesMax: 4_096,
  statusFilesMax: 1_000,
  messagesMax: 10_000,
  jsonBytesMax: MiB,
  /** How long a lookup waits for a destination that is known to be away (decision 4). */
  awayLookupMs: 1_000,
  defaultCallTimeoutMs: 60_000,
  /** Bytes of answers that a server works out at a time for one connection. */
  getsUnderWayBytesMax: 64 * MiB,
  /** GETs that one stream has open ahead of its reader. */
  getsAheadMax: 4,
  /** Small files that a get of a tree has open at once. */
  treeGetsMax: 16,
  /** A client waits this much longer than it told the server, for the server's own words. */
  answerGraceMs: 500,
  /** One copy into a granted segment; the heads of the one before are sent meanwhile. */
  copyInBytes: 8 * MiB,
  /** Local failures and skipped files that the result of a tree names; beyond, they are counted. */
  namedFailuresMax: 10_000,
  progressEveryMs: 250,
} as const;

function assertLimit(condition: boolean, rule: string): void {
  if (!condition) throw new Error(`limits.ts: ${rule}`);
}

assertLimit(
  limits.frameBytesMax >=
    limits.payloadBytesMax + 136 + limits.nameBytesMax + 2 * limits.pathBytesMax,
  'a frame must hold a full record with its names',
);
assertLimit(limits.batchBytes < limits.frameBytesMax, 'a batch must fit a frame');
assertLimit(limits.inlinePayloadBytesMax <= limits.batchBytes, 'a batch holds an inline record');
assertLimit(limits.jsonBytesMax < limits.frameBytesMax, 'a document must fit a frame');
assertLimit(
  limits.openFilesMax >= 4 * limits.fsyncFilesMax,
  'what waits to be synced must leave room for what is being written',
);
assertLimit(limits.commitEveryBytes < limits.linkWindowBytesMax, 'commits must open the window');
