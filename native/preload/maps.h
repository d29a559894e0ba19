/*
 * Which memory is a map of a file of ours. Functions return 0 or an errno value; they lock, with
 * signals blocked.
 */
#ifndef KANGAROO_MAPS_H
#define KANGAROO_MAPS_H

#include "preload.h"

struct kg_map {
  uintptr_t start; /* 0: no map */
  size_t length;   /* a multiple of the page */
  uint64_t offset; /* in the file */
  struct kg_ref ref;
  int fd;     /* a descriptor of our own that keeps the file's slot, of writable maps; or -1 */
  int memory; /* the memfd that the map is of, which other processes may have too; or -1 */
  bool shared;
  bool writable; /* shared, and the file is open for writing */
  int prot;
  char *pristine; /* what the file has; NULL until the map may be written to */
};

/* 0 means that no call on memory has anything to do with us. */
extern _Atomic int kg_maps_count;
/* Those that read and write must agree with. */
extern _Atomic int kg_maps_shared;

size_t kg_page_bytes(void);
size_t kg_page_round(size_t length);
/*
 * A writable shared map of the memory that all programs have for the file: maps it at `at` and puts
 * into it what the file has and nobody has changed.
 */
int kg_maps_join(struct kg_map *map, void *at, int flags);
/*
 * Memory at `at` (or anywhere) that is the same as that of a map which has all of `map` already; in
 * map->start, with its pristine copy. False: there is none.
 */
bool kg_maps_alias(struct kg_map *map, void *at, int flags);
/* Reads the file into the map from byte `from` of it on. */
int kg_map_fill(const struct kg_map *map, size_t from);
/* Of a writable map: makes its pristine copy from what it holds, once. */
int kg_map_make_pristine(struct kg_map *map);
/* Writes what was changed in [from, to) of it. */
int kg_map_flush(struct kg_map *map, size_t from, size_t to);
/* Pages that nobody has changed become what the file has now. */
int kg_map_refresh(const struct kg_map *map);
/* Enters a map; `fd` is the descriptor it was made of. */
int kg_maps_add(const struct kg_map *map, int fd);
/* What overlaps is written, and is no map any longer. */
int kg_maps_remove(uintptr_t start, size_t length);
/* What was changed is written; `barrier`: and has arrived. */
int kg_maps_flush(uintptr_t start, size_t length, bool barrier);
/* Before the protection changes. */
int kg_maps_protect(uintptr_t start, size_t length, int prot);
bool kg_maps_touch(uintptr_t start, size_t length);
/* The map that has the byte at `start`. */
bool kg_maps_find(uintptr_t start, struct kg_map *map);

/* Of a file: what was changed in its maps is written; what was written is put into its maps. */
int kg_maps_settle(struct kg_ref ref);
void kg_maps_written(struct kg_ref ref, const void *bytes, size_t count, uint64_t offset);

/* kg_read and kg_write for descriptors, which agree with the maps of this process. */
static inline int kg_read_seen(struct kg_ref ref, void *bytes, size_t count, uint64_t offset,
                               size_t *got) {
  int problem = kg_maps_shared > 0 ? kg_maps_settle(ref) : 0;
  return problem ? problem : kg_read(ref, bytes, count, offset, got);
}
static inline int kg_write_seen(struct kg_ref ref, const void *bytes, size_t count, uint64_t offset,
                                bool append, uint64_t *end) {
  int problem = kg_maps_shared > 0 ? kg_maps_settle(ref) : 0;
  if (!problem) problem = kg_write(ref, bytes, count, offset, append, end);
  if (!problem && kg_maps_shared > 0)
    kg_maps_written(ref, bytes, count, append ? *end - count : offset);
  return problem;
}

#endif
