/*
 * The shelf: what programs of one board have fetched from another hop, kept for all of them.
 * Private to native/core.
 *
 * A file in /dev/shm beside the board, of chunks that each say which bytes of which slot they have
 * and at which version of it; they are good while the slot has that version. Whoever fills a chunk
 * makes its turn odd. One that is killed with it leaves a chunk that nobody uses any more, which
 * costs that chunk and nothing else: no guess about who is alive can be wrong then.
 */
#ifndef KANGAROO_SHELF_H
#define KANGAROO_SHELF_H

#include "cache.h"

/* Copies what is there and good of `count` bytes from `offset`; 0: nothing. */
size_t kg_shelf_copy(const struct kg_range *range, uint64_t offset, void *bytes, size_t count);
/* What was fetched at that version of the slot. Nobody may change `bytes` meanwhile. */
void kg_shelf_keep(const struct kg_range *range, uint64_t version, uint64_t offset,
                   const void *bytes, size_t count);

#endif
