/*
 * The memory behind writable shared maps of a file; see map-memory.c.
 */
#ifndef KANGAROO_MAP_MEMORY_H
#define KANGAROO_MAP_MEMORY_H

#include "preload.h"

#define KG_PRISTINE ((uint64_t)1 << 50)

/*
 * A descriptor of the memory of that file, with room up to `end`, or an errno negated.
 * `known`: a descriptor of it that becomes the result, or -1.
 */
int kg_map_memory(struct kg_ref ref, uint64_t end, int known);
/* Among processes; threads have the lock of the table. */
void kg_map_memory_lock(int fd, bool on);

#endif
