/*
 * The board as this process has it mapped: see board.h for what lies in it. Private to native/core.
 *
 * A process that is told of another board than it had goes on with the new one when it has nothing
 * uncommitted; the old one stays mapped, because it says which files the old refs stand for.
 */
#ifndef KANGAROO_BOARDS_H
#define KANGAROO_BOARDS_H

#include "board.h"
#include "core.h"

struct kg_board {
  struct kg_board_header *header;
  struct kg_board *before; /* the one that was used before this */
  uint64_t dev, ino, bytes;
  char hex[33]; /* its id */
};

/* The one in use; NULL: none yet. */
struct kg_board *kg_board(void);
/* The same, asking the server where it is if need be. 0 or an errno value. */
int kg_board_need(struct kg_board **board);
/* The server says that its board is this file. 0 or an errno value; may not return at all. */
int kg_board_meet(const char *path, size_t path_bytes);

static inline struct kg_slot *kg_slot_at(const struct kg_board *board, uint32_t slot) {
  return (struct kg_slot *)((char *)board->header + board->header->slots_at +
                            (uint64_t)slot * KG_SLOT_BYTES);
}
/* The slot of a ref if it is of that board, else NULL. */
static inline struct kg_slot *kg_slot_of(const struct kg_board *board, struct kg_ref ref) {
  if (ref.slot >= board->header->slot_count) return NULL;
  struct kg_slot *slot = kg_slot_at(board, ref.slot);
  return atomic_load_explicit(&slot->generation, memory_order_acquire) == ref.generation ? slot
                                                                                         : NULL;
}
/*
 * The slot that a ref stands for now; of a ref of an earlier board the file is opened again, by its
 * name, and *ref is the new one. ESTALE when it cannot be found any more.
 */
int kg_slot_find(struct kg_ref *ref, struct kg_board **board, struct kg_slot **slot);

/* The lock, for who has blocked the signals. Mends what a writer left that died with it. */
int kg_board_lock(struct kg_board *board);
void kg_board_unlock(struct kg_board *board);

/* ring.c: a write or a change of a file, as it goes into the ring. The lock is held. */
struct kg_put {
  uint16_t kind, flags;
  uint32_t mode;
  struct kg_ref ref;
  uint64_t offset;   /* in the file; the size of a truncation */
  const void *bytes; /* an inline payload; NULL otherwise */
  uint32_t count;
  uint32_t crc;                     /* of a payload in a segment, or longer than KG_INLINE_MAX */
  uint64_t segment, segment_offset; /* or mtime_ns, atime_ns */
};
/* Puts it in and brings the slot up to date. False: there is no room now. */
bool kg_ring_put(struct kg_board *board, const struct kg_put *put, int64_t now_ns);
/* Waits for room; without the lock. `signals` were blocked before ours. 0 or an errno value. */
int kg_ring_wait(struct kg_board *board, uint64_t signals);
/* Tells a server that sleeps. Without the lock. */
void kg_ring_nudge(struct kg_board *board);
/* After the death of a writer with the lock: slots agree with the last entries again. */
void kg_ring_mend(struct kg_board *board);

#endif
