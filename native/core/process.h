/*
 * What one process knows, in memory that the kernel empties in the child of a fork: connections,
 * grants and what was read are the parent's there. So no handler of fork is needed to be right, and
 * a raw clone is as good as fork(3).
 *
 * A vfork child shares the memory of its parent and must not use its connections; those carry the
 * number of the process that opened them. Private to native/core.
 */
#ifndef KANGAROO_PROCESS_H
#define KANGAROO_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KG_LINKS 20     /* connections at most */
#define KG_LINK_PUSH 12 /* from here on they are for pushes, which may take hours */
#define KG_LINK_GRANT 0 /* this one holds the grants: it stays open while one is in use */
#define KG_LINK_BYTES (128u << 10)

struct kg_link {
  _Atomic int user; /* the process that uses it now; 0: nobody */
  int owner;        /* the process that opened it */
  int fd;           /* -1: closed */
  uint64_t socket;  /* inode of the socket, to notice that the number is somebody else's now */
  uint8_t sender[16];
  uint64_t seq;      /* of the last numbered request */
  uint64_t answered; /* all up to there have their answers */
  uint64_t incarnation;
  uint32_t call_id;
  uint32_t begin, end; /* what was received and not used yet, in the buffer */
  uint8_t *buffer;     /* KG_LINK_BYTES */
};

#define KG_GRANTS 16
/* Room in a data segment. */
struct kg_grant {
  _Atomic uint32_t users; /* writers between taking a piece and publishing it */
  uint32_t bytes;
  int fd; /* of the segment; -1: nothing here */
  uint64_t segment;
  uint64_t offset;
  uint64_t incarnation;
};

#define KG_STAGES 8
#define KG_STAGE_BYTES (128u << 10)

#define KG_CHUNKS 32
#define KG_CHUNK_BYTES (256u << 10)
/* A part of a file that was read: bytes from..to of the chunk are good at that version. */
struct kg_chunk {
  _Atomic uint32_t turn; /* odd: being filled */
  uint32_t slot, generation;
  uint32_t from, to;
  uint64_t number; /* offset / KG_CHUNK_BYTES */
  uint64_t version;
  uint64_t board;
  _Atomic uint64_t used;
};

#define KG_READERS 32
/* Where a file was read last, to tell reading in order from leaping about. */
struct kg_reader {
  _Atomic uint64_t next;
  _Atomic uint32_t slot, window;
};

#define KG_PLACES_FILES 8
#define KG_PLACES_PIECES 512
#define KG_PLACES_SEGMENTS 24
/* Where bytes of a file lie in the spool; places.c. */
struct kg_place_piece {
  uint64_t offset, at;
  uint64_t segment; /* 0: zeros */
  uint64_t bytes;
};
/* What a server said of one open file. */
struct kg_places {
  uint32_t slot, generation;
  uint64_t board, version;
  uint64_t incarnation;     /* of the server who said it */
  int64_t until_ms;         /* not to be used any more */
  _Atomic int64_t quiet_ms; /* nothing could be said: not to be asked again before */
  uint64_t end;             /* behind the last piece */
  uint64_t ask_bytes;       /* how far the last question went */
  uint32_t quiet_for_ms, count;
  struct kg_place_piece pieces[KG_PLACES_PIECES];
};
struct kg_segment_file {
  uint64_t number; /* 0: nothing here */
  uint64_t ino;    /* lower 52 bits */
  char path[4096 + 1];
};

struct kg_process {
  _Atomic uint32_t alive;    /* 0: just wiped, 1: being made, 2: in use */
  int pid;                   /* of the process whose memory this is */
  _Atomic uint32_t freed;    /* futex: a connection became free */
  _Atomic uint32_t granting; /* lock of the one who asks for a grant: 0, or the process */
  /* version of the grant in use << 32 | bytes of it that are taken; the version names its place */
  _Atomic uint64_t granted;
  _Atomic uint32_t next_grant_bytes;
  _Atomic uint64_t changes;    /* made here so far */
  _Atomic uint64_t committed;  /* of them */
  _Atomic uint64_t clock;      /* of the chunks' use */
  _Atomic uint64_t slots_read; /* bit set: chunks of a slot with that hash may be here */
  _Atomic uint32_t stages;     /* bits of those in use */
  _Atomic uint32_t interrupts; /* interrupts.h; 0: not looked at */
  struct kg_link links[KG_LINKS];
  struct kg_grant grants[KG_GRANTS];
  struct kg_chunk chunks[KG_CHUNKS];
  struct kg_reader readers[KG_READERS];
  _Atomic uint32_t placing; /* lock of what follows: 0, or the process */
  uint32_t next_segment;    /* its place is taken for the next one */
  struct kg_places places[KG_PLACES_FILES];
  struct kg_segment_file segments[KG_PLACES_SEGMENTS];
};

/* Never NULL. After a fork it comes back as new. */
struct kg_process *kg_process(void);
/* Something is written or changed here, and not committed. */
void kg_note_change(struct kg_process *process);
/* Is this process not the one whose memory it uses? */
bool kg_is_guest(const struct kg_process *process);

/* Takes over a new descriptor: moves it out of the program's way. Returns its number. */
int kg_make_private(int fd);
/* `fd` is out of the way already. */
void kg_keep_private(int fd);
void kg_close_private(int fd);

/* Memory that outlives a wipe; NULL when there is none. */
uint8_t *kg_link_memory(unsigned link);
uint8_t *kg_chunk_memory(void);
uint8_t *kg_stage_memory(void);

#endif
