/*
 * What a process has read is kept: a few chunks of files, each with the version its slot had before
 * they were fetched. While the slot still has that version nobody has changed the file, and a read
 * costs no exchange. Readers take no lock; whoever fills a chunk makes its turn odd, and a reader
 * who finds that it has moved has read nothing. Private to native/core.
 */
#ifndef KANGAROO_CACHE_H
#define KANGAROO_CACHE_H

#include "boards.h"
#include "process.h"

struct kg_range {
  struct kg_process *process;
  struct kg_board *board;
  struct kg_slot *slot;
  struct kg_ref ref;
};

/* Copies what is kept and good of `count` bytes from `offset`; 0: nothing. */
size_t kg_cache_copy(const struct kg_range *range, uint64_t offset, void *bytes, size_t count);

/* Chunks that are being filled with [from, to) of a file, `version` being the slot's before. */
#define KG_FILL_CHUNKS 16
struct kg_fill {
  const struct kg_range *range;
  uint64_t from, to;
  uint64_t version;
  uint8_t *memory;
  int count;
  struct kg_chunk *chunks[KG_FILL_CHUNKS];
};
/* Takes chunks for as much of [from, to) as can be had; false: none. */
bool kg_fill_begin(struct kg_fill *fill, const struct kg_range *range, uint64_t from, uint64_t to);
/* Where the byte at `offset` goes; NULL: not of the range. *room shrinks to what fits there. */
uint8_t *kg_fill_at(const struct kg_fill *fill, uint64_t offset, uint32_t *room);
/* Bytes up to `end` have come; with end == from it was for nothing. */
void kg_fill_end(struct kg_fill *fill, uint64_t end);

/* This process has written `bytes` there, which moved the version from `before` by one. */
void kg_cache_patch(struct kg_process *process, const struct kg_board *board, struct kg_ref ref,
                    uint64_t offset, const void *bytes, size_t count, uint64_t before);
/* The same of a write whose bytes are not at hand: what it covers is void, the rest stays good. */
void kg_cache_keep(struct kg_process *process, const struct kg_board *board, struct kg_ref ref,
                   uint64_t offset, uint64_t count, uint64_t before, uint64_t after);

#endif
