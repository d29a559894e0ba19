/*
 * What is in a map: filling it from the file, and writing what was changed.
 *
 * A run of changed pages is copied to the pristine copy first and written from there, so what is
 * compared next time is what was written, whatever the program does meanwhile.
 */
#include <string.h>
#include <sys/mman.h>

#include "map-memory.h"
#include "maps.h"
#include "raw.h"

#define FILL_CHUNK (1u << 20)
#define WRITE_MAX (1u << 20)

/* Bytes of the map that the file has. */
static int size_in(const struct kg_map *map, size_t *size) {
  struct kg_facts facts;
  int problem = kg_facts_of(map->ref, &facts);
  if (problem) return problem;
  uint64_t left = facts.size > map->offset ? facts.size - map->offset : 0;
  *size = left < map->length ? (size_t)left : map->length;
  return 0;
}

int kg_map_fill(const struct kg_map *map, size_t from) {
  size_t size = 0;
  int problem = size_in(map, &size);
  while (!problem && from < size) {
    size_t got = 0, wanted = size - from < FILL_CHUNK ? size - from : FILL_CHUNK;
    problem = kg_read(map->ref, (char *)map->start + from, wanted, map->offset + from, &got);
    if (got == 0) break;
    from += got;
  }
  return problem;
}

int kg_map_make_pristine(struct kg_map *map) {
  if (!map->writable || map->pristine) return 0;
  long made = kg_raw(SYS_mmap, 0, (long)map->length, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (made < 0 && made > -4096) return ENOMEM;
  map->pristine = (char *)made;
  memcpy(map->pristine, (void *)map->start, map->length);
  return 0;
}

/* Writes the changed bytes of [from, to), which all lie in pages that differ. */
static int write_bytes(struct kg_map *map, size_t from, size_t to) {
  const char *now = (const char *)map->start;
  uint64_t end;
  while (from < to && now[from] == map->pristine[from]) from++;
  while (to > from && now[to - 1] == map->pristine[to - 1]) to--;
  while (from < to) {
    size_t count = to - from < WRITE_MAX ? to - from : WRITE_MAX;
    memcpy(map->pristine + from, now + from, count);
    int problem = kg_write(map->ref, map->pristine + from, count, map->offset + from, false, &end);
    if (problem) return problem;
    from += count;
  }
  return 0;
}

/* Two processes that write the same bytes must not do it in different orders. */
static int write_run(struct kg_map *map, size_t from, size_t to) {
  kg_map_memory_lock(map->memory, true);
  int problem = write_bytes(map, from, to);
  kg_map_memory_lock(map->memory, false);
  return problem;
}

/* The changed pages in [from, to) of the map, neighbours together. */
int kg_map_flush(struct kg_map *map, size_t from, size_t to) {
  size_t page = kg_page_bytes(), size = 0;
  if (!map->pristine || !(map->prot & PROT_READ)) return 0;
  int problem = size_in(map, &size);
  if (problem) return problem;
  if (to > size) to = size;
  size_t run = from;
  bool in_run = false;
  for (size_t at = from; at < to && !problem; at += page) {
    size_t length = to - at < page ? to - at : page;
    bool differs = memcmp((char *)map->start + at, map->pristine + at, length) != 0;
    if (differs && !in_run) run = at;
    if (!differs && in_run) problem = write_run(map, run, at);
    in_run = differs;
  }
  if (in_run && !problem) problem = write_run(map, run, to);
  return problem;
}

/* Pages that nobody has changed become what the file has now. */
int kg_map_refresh(const struct kg_map *map) {
  size_t size = 0, page = kg_page_bytes();
  int problem = size_in(map, &size);
  long made =
      kg_raw(SYS_mmap, 0, FILL_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made < 0 && made > -4096) return ENOMEM;
  char *bytes = (char *)made, *now = (char *)map->start;
  for (size_t at = 0; at < size && !problem; at += FILL_CHUNK) {
    size_t got = 0, wanted = size - at < FILL_CHUNK ? size - at : FILL_CHUNK;
    problem = kg_read(map->ref, bytes, wanted, map->offset + at, &got);
    for (size_t i = 0; i < got && !problem; i += page) {
      size_t part = got - i < page ? got - i : page;
      if (memcmp(now + at + i, map->pristine + at + i, part) != 0) continue;
      if (memcmp(now + at + i, bytes + i, part) == 0) continue;
      memcpy(map->pristine + at + i, bytes + i, part);
      memcpy(now + at + i, bytes + i, part);
    }
  }
  kg_raw(SYS_munmap, made, FILL_CHUNK, 0, 0, 0, 0);
  return problem;
}
