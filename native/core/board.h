/*
 * The board: memory that a server shares with the adapted programs of its account.
 *
 * It has slots, one for each file that programs have open, a ring of entries, one for each write,
 * and rows of what is known of names (known.h). A writer takes the lock, puts its entry into the
 * ring and is done: the server need not be awake for it, and what stands in the ring outlives its
 * writer and the server (not the machine; that is what commit is for). The server takes entries in
 * the order of the ring, gives them to its spool and moves `head` on. src/server/board.ts is the
 * other side; the offsets below are the contract, a unit test compares them with its own.
 *
 * All numbers are in the machine's own order, the file is never looked at from another machine.
 */
#ifndef KANGAROO_BOARD_H
#define KANGAROO_BOARD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define KG_BOARD_MAGIC 0x314452414f42474bull /* "KGBOARD1" */
#define KG_BOARD_VERSION 3u
#define KG_HEADER_BYTES 4096u
#define KG_SLOT_BYTES 4608u
#define KG_SLOTS 32768u
#define KG_RING_BYTES (8u << 20)
/* One write is at most this much; longer ones are several entries. */
#define KG_PAYLOAD_MAX (1u << 20)
/* Payloads up to here go into the ring unless it is full of them, longer ones while little stands
   there (write.c); the room that a growing one is given. */
#define KG_INLINE_MAX 4096u
#define KG_INLINE_ROOM_MAX (64u << 10)
/* Rows of known names, a power of two; slots that programs may give themselves. */
#define KG_ROWS 32768u
#define KG_SPARES 1024u
/* So long a name is believed to be what the server said of it. */
#define KG_LEASE_MS 1000

struct kg_board_header {
  uint64_t magic;        /*   0 written last when a board is made */
  uint32_t version;      /*   8 */
  uint32_t header_bytes; /*  12 */
  uint8_t board_id[16];  /*  16 the sender id of its entries */
  uint8_t spool_id[16];  /*  32 */
  uint8_t boot_id[16];   /*  48 from /proc/sys/kernel/random: a board of another boot is void */
  uint32_t slot_count;   /*  64 */
  uint32_t slot_bytes;   /*  68 */
  uint64_t slots_at;     /*  72 */
  uint64_t ring_at;      /*  80 */
  uint64_t ring_bytes;   /*  88 a power of two */
  _Atomic uint64_t incarnation; /* 96 of who serves it; a grant of another one is void */
  uint8_t zero_a[24];           /* 104 */
  pthread_mutex_t lock;         /* 128 process-shared, robust, made by the addon */
  uint8_t zero_b[128 - sizeof(pthread_mutex_t)];
  _Atomic uint64_t tail;   /* 256 bytes published since the board was made (under the lock) */
  uint64_t next_seq;       /* 264 number of the next entry, from 1 (under the lock) */
  uint64_t last;           /* 272 where the last entry begins (under the lock; writers only) */
  uint64_t unsettled;      /* 280 1 + where entries are that slots may not know (likewise) */
  _Atomic uint32_t epoch;  /* 288 of the rows that count; another one voids all (under the lock) */
  uint32_t rows_used;      /* 292 in this epoch (under the lock) */
  uint32_t spares_taken;   /* 296 since the board was made (under the lock; programs only) */
  uint32_t spares_given;   /* 300 likewise (under the lock; the server only) */
  uint64_t rows_at;        /* 304 */
  uint64_t spares_at;      /* 312 slot numbers, KG_SPARES of them, in turn */
  _Atomic uint64_t head;   /* 320 bytes taken; only the server writes it */
  _Atomic uint32_t asleep; /* 328 1: the server looks again only when it is told (NUDGE) */
  _Atomic uint32_t room;   /* 332 futex: changes whenever head has moved */
  uint8_t zero_d[176];
  char spool[3584]; /* 512 its path; who finds a board whose spool has gone removes it */
};

enum { KG_SLOT_FREE = 0, KG_SLOT_FILE = 1, KG_SLOT_DIRECTORY = 2 };
enum {
  KG_SLOT_STALE = 1,   /* somebody else changed the file: open it again before its facts are used */
  KG_SLOT_REMOVED = 2, /* its name is gone: reads and writes are ESTALE */
};

struct kg_slot {
  _Atomic uint32_t generation; /*   0 another one each time the slot is given out */
  uint32_t kind;               /*   4 */
  _Atomic uint64_t size;       /*   8 (writers: under the lock) */
  _Atomic uint64_t version;    /*  16 moves with every change of the bytes: what a reader keeps is
                                      good while it stands still */
  uint64_t ino;                /*  24 lower 52 bits of FNV-1a (64 bit) of "name/path"; 1 for 0 */
  uint32_t mode;               /*  32 permission bits */
  _Atomic uint32_t flags;      /*  36 */
  int64_t mtime_ns;            /*  40 (writers: under the lock) */
  uint16_t name_bytes;         /*  48 */
  uint16_t path_bytes;         /*  50 */
  uint32_t zero;               /*  52 */
  _Atomic int64_t opened_ms;   /*  56 monotonic; when a program opened it last, by its row */
  char name[256];              /*  64 server name, a NUL behind it */
  char path[4160];             /* 320 below its export directory, a NUL behind it */
};

enum {
  KG_ENTRY_SKIP = 0,       /* nothing until the ring's end */
  KG_ENTRY_SEGMENT = 1,    /* a write; payload in a granted data segment */
  KG_ENTRY_INLINE = 2,     /* a write; payload behind this head */
  KG_ENTRY_TRUNCATE = 3,   /* offset is the new size */
  KG_ENTRY_ATTRIBUTES = 4, /* flags say which of mode, mtime_ns, atime_ns */
  KG_ENTRY_CREATE = 5,     /* a new file, in a spare slot that has its name; mode; KG_CUT_FIRST */
};
/* flag of KG_ENTRY_CREATE: nobody could look whether it was there; what was is to be emptied */
enum { KG_CUT_FIRST = 1 };
/* flags of KG_ENTRY_ATTRIBUTES, as in a record (PROTOCOL.md) */
enum { KG_SET_MODE = 4, KG_SET_MTIME = 8, KG_SET_ATIME = 16 };

/*
 * state of a write: CRC32C of the payload << 32 | its bytes << 1 | sealed. A writer makes the last
 * entry of the ring longer by compare-and-swap; once the server has set `sealed` it starts another.
 */
#define KG_SEALED 1ull
#define KG_STATE(crc, bytes) (((uint64_t)(crc) << 32) | ((uint64_t)(bytes) << 1))
#define KG_STATE_BYTES(state) ((uint32_t)(state) >> 1)
#define KG_STATE_CRC(state) ((uint32_t)((state) >> 32))

struct kg_entry {
  uint32_t bytes;          /*  0 head, room and padding; a multiple of 8 */
  uint16_t kind;           /*  4 */
  uint16_t flags;          /*  6 */
  uint64_t seq;            /*  8 */
  uint32_t slot;           /* 16 */
  uint32_t generation;     /* 20 */
  uint64_t offset;         /* 24 in the file */
  _Atomic uint64_t state;  /* 32 */
  uint64_t segment;        /* 40 or mtime_ns */
  uint64_t segment_offset; /* 48 or atime_ns */
  uint32_t room;           /* 56 bytes behind the head that an inline payload may fill */
  uint32_t mode;           /* 60 */
};

/*
 * What a name ("NAME/path") was found to be. Rows are hashed by `check`, with linear probing, and
 * never taken out but all at once, by another epoch. A row whose time is over still says that the
 * name has to be asked for: it is not absent merely because its directory is known.
 */
struct kg_row {
  _Atomic uint32_t turn;  /*  0 odd: being written */
  uint32_t epoch;         /*  4 another than the header's: free */
  uint64_t key;           /*  8 FNV-1a (64 bit) of the name */
  uint64_t check;         /* 16 another hash of it */
  int64_t until_ms;       /* 24 monotonic: believed until then; 0: the server has to be asked */
  int64_t names_until_ms; /* 32 of a directory: until then a name in it without a row is absent */
  uint64_t size;          /* 40 */
  int64_t mtime_ns;       /* 48 */
  uint32_t slot;          /* 56 whose facts count before these; generation 0: none */
  uint32_t generation;    /* 60 */
  uint32_t mode;          /* 64 permission bits */
  uint8_t kind;           /* 68 enum kg_kind */
  uint8_t flags;          /* 69 KG_ROW_UNSURE */
  uint8_t zero[10];       /* 70 */
};
/* A destination that could not be asked may have it all the same. */
enum { KG_ROW_UNSURE = 1 };

_Static_assert(sizeof(pthread_mutex_t) <= 128, "the lock fits its place");
_Static_assert(offsetof(struct kg_board_header, lock) == 128, "layout");
_Static_assert(offsetof(struct kg_board_header, tail) == 256, "layout");
_Static_assert(offsetof(struct kg_board_header, epoch) == 288, "layout");
_Static_assert(offsetof(struct kg_board_header, head) == 320, "layout");
_Static_assert(sizeof(struct kg_board_header) == KG_HEADER_BYTES, "layout");
_Static_assert(sizeof(struct kg_slot) <= KG_SLOT_BYTES, "layout");
_Static_assert(offsetof(struct kg_slot, name) == 64, "layout");
_Static_assert(offsetof(struct kg_slot, path) == 320, "layout");
_Static_assert(sizeof(struct kg_entry) == 64, "layout");
_Static_assert(sizeof(struct kg_row) == 80, "layout");

#endif
