/*
 * Room in data segments, for payload that does not cross the socket. Private to native/core.
 *
 * A process has one grant that it takes pieces of, and a few before it whose pieces may still be
 * filled. Pieces are taken by compare-and-swap, in ascending order; signals are blocked from taking
 * a piece until it is published or given up, so that nobody leaves it half done.
 */
#ifndef KANGAROO_GRANT_H
#define KANGAROO_GRANT_H

#include "process.h"

struct kg_piece {
  struct kg_grant *grant; /* NULL: nothing to give back */
  int fd;
  uint32_t bytes;
  uint64_t segment, offset;
  uint64_t incarnation;
};

/* Up to `bytes` of room in the grant in use; false: there is none with room. */
bool kg_piece_try(struct kg_process *process, uint32_t bytes, struct kg_piece *piece);
/* The same, asking for a grant if need be. `signals` were blocked before ours. */
int kg_piece_take(struct kg_process *process, uint32_t bytes, uint64_t signals,
                  struct kg_piece *piece);
/* It was published, or will never be. */
void kg_piece_done(struct kg_piece *piece);
/* No more pieces of the grant in use: its server is gone, or its disk refuses. */
void kg_grant_drop(struct kg_process *process);

#endif
