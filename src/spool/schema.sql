-- The index over the segments. The segments are the truth about operations; the index is the truth
-- about what has left (released), what has come (taken) and what was refused (held).
-- Opened by one process, the server, with locking_mode=EXCLUSIVE: that is the lock on the spool.
-- synchronous=FULL is set on every open: better-sqlite3 is built with WAL_SYNCHRONOUS=1 and would
-- lose commits at a power cut.
CREATE TABLE IF NOT EXISTS meta (
  key   TEXT PRIMARY KEY,
  value NOT NULL
) WITHOUT ROWID;

-- One row a log segment. `records`: the heads of a sealed segment (see SPOOL.md), NULL while it is
-- still written or not yet on stable storage. `released`: the numbers of its operations that the
-- next hop has committed, an encoded RangeSet.
CREATE TABLE IF NOT EXISTS segment (
  number   INTEGER PRIMARY KEY,
  records  BLOB,
  released BLOB
);

-- The operations received from each sender (a hop's spool or a client's session).
CREATE TABLE IF NOT EXISTS taken (
  sender  BLOB PRIMARY KEY,
  ranges  BLOB NOT NULL,
  session INTEGER NOT NULL,            -- 1: a client's, forgotten when many newer ones have come
  touched INTEGER NOT NULL             -- a counter, not a time
) WITHOUT ROWID;

-- Messages for people: held, mended, discarded, quarantined.
CREATE TABLE IF NOT EXISTS message (
  id   INTEGER PRIMARY KEY AUTOINCREMENT,
  json TEXT NOT NULL
);

-- Renames at a destination, noted before they are done (SPOOL.md, "Renames").
CREATE TABLE IF NOT EXISTS intent (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  sender    BLOB NOT NULL,
  senderSeq INTEGER NOT NULL,
  dev       TEXT NOT NULL,
  ino       TEXT NOT NULL,
  UNIQUE (sender, senderSeq) ON CONFLICT REPLACE
);

-- Server names that operations were passed on for: a push of everything asks all of them.
CREATE TABLE IF NOT EXISTS destination (
  name TEXT PRIMARY KEY
) WITHOUT ROWID;
