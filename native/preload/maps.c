/*
 * The table of maps: which memory they are, and what happens to parts of them.
 *
 * The table is small and fixed; a program with more maps than it has room for gets ENOMEM, as the
 * kernel does at its own bound.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "map-memory.h"
#include "maps.h"
#include "processes.h"
#include "raw.h"

#define MAPS_MAX 4096

_Atomic int kg_maps_count;
_Atomic int kg_maps_shared;

static struct kg_map maps[MAPS_MAX];
static int maps_end; /* none is at or behind it */
static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t lock(void) {
  uint64_t all = ~0ull, before = 0;
  kg_raw(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&before, sizeof all, 0, 0);
  pthread_mutex_lock(&maps_lock);
  return before;
}

static void unlock(uint64_t before) {
  pthread_mutex_unlock(&maps_lock);
  kg_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0, 0);
}

void kg_memory_fork(bool before) {
  if (before)
    pthread_mutex_lock(&maps_lock);
  else
    pthread_mutex_unlock(&maps_lock);
}

size_t kg_page_bytes(void) {
  static size_t bytes;
  if (!bytes) bytes = (size_t)sysconf(_SC_PAGESIZE);
  return bytes;
}

size_t kg_page_round(size_t length) {
  size_t page = kg_page_bytes();
  return (length + page - 1) & ~(page - 1);
}

static void drop(struct kg_map *map) {
  if (map->pristine) kg_raw(SYS_munmap, (long)map->pristine, (long)map->length, 0, 0, 0, 0);
  if (map->fd >= 0) kg_raw_close(map->fd);
  if (map->memory >= 0) kg_raw_close(map->memory);
  map->start = 0;
  kg_maps_count--;
  if (map->shared) kg_maps_shared--;
  while (maps_end > 0 && maps[maps_end - 1].start == 0) maps_end--;
}

/* Under the lock: enters a map that has its pristine copy and descriptor. */
static bool enter(const struct kg_map *map) {
  int i = 0;
  while (i < maps_end && maps[i].start != 0) i++;
  if (i == MAPS_MAX) return false;
  maps[i] = *map;
  if (i == maps_end) maps_end++;
  kg_maps_count++;
  if (map->shared) kg_maps_shared++;
  return true;
}

int kg_maps_add(const struct kg_map *given, int fd) {
  struct kg_map map = *given;
  int problem = map.prot & PROT_WRITE ? kg_map_make_pristine(&map) : 0;
  if (problem) return problem;
  if (map.writable) map.fd = kg_raw_fcntl(fd, F_DUPFD_CLOEXEC, 600);
  uint64_t before = lock();
  bool room = enter(&map);
  unlock(before);
  if (room) return 0;
  if (map.pristine) kg_raw(SYS_munmap, (long)map.pristine, (long)map.length, 0, 0, 0, 0);
  if (map.fd >= 0) kg_raw_close(map.fd);
  if (map.memory >= 0) kg_raw_close(map.memory);
  return ENOMEM;
}

/* The part of a map that [start, start + length) covers, as offsets in it; false: none. */
static bool overlap(const struct kg_map *map, uintptr_t start, size_t length, size_t *from,
                    size_t *to) {
  uintptr_t end = length > UINTPTR_MAX - start ? UINTPTR_MAX : start + length;
  if (map->start == 0 || map->start + map->length <= start || map->start >= end) return false;
  *from = start > map->start ? start - map->start : 0;
  *to = end < map->start + map->length ? end - map->start : map->length;
  *to = kg_page_round(*to);
  return true;
}

static int copy_of(int fd) { return fd < 0 ? -1 : kg_raw_fcntl(fd, F_DUPFD_CLOEXEC, 600); }

/* [from, to) of a map as one of its own, with a pristine copy of its own. */
static int part_of(const struct kg_map *map, size_t from, size_t to, struct kg_map *part) {
  *part = *map;
  part->start += from;
  part->offset += from;
  part->length = to - from;
  part->pristine = NULL;
  if (part->length == 0) return 0;
  if (map->memory >= 0) {
    long made = kg_raw(SYS_mmap, 0, (long)part->length, PROT_READ | PROT_WRITE, MAP_SHARED,
                       map->memory, (long)(KG_PRISTINE + part->offset));
    if (made < 0 && made > -4096) return ENOMEM;
    part->pristine = (char *)made;
  } else if (map->prot & PROT_WRITE) {
    int problem = kg_map_make_pristine(part);
    if (problem) return problem;
  }
  part->fd = copy_of(map->fd);
  part->memory = copy_of(map->memory);
  return 0;
}

/* Cuts [from, to) out of a map; what is left of it are two maps at most. */
static int cut(struct kg_map *map, size_t from, size_t to) {
  struct kg_map head, tail;
  if (from > 0 && to < map->length && maps_end == MAPS_MAX) return ENOMEM;
  int problem = part_of(map, 0, from, &head);
  if (!problem) problem = part_of(map, to, map->length, &tail);
  if (problem) return problem;
  drop(map);
  if (head.length > 0) enter(&head);
  if (tail.length > 0) enter(&tail);
  return 0;
}

int kg_maps_remove(uintptr_t start, size_t length) {
  size_t from, to;
  int problem = 0;
  uint64_t before = lock();
  for (int i = 0; i < maps_end && !problem; i++) {
    if (!overlap(&maps[i], start, length, &from, &to)) continue;
    /* All of it is written: what stays gets a pristine copy of what is there now. */
    problem = kg_map_flush(&maps[i], 0, maps[i].length);
    if (problem == ESTALE) problem = 0;
    if (!problem) problem = cut(&maps[i], from, to);
  }
  unlock(before);
  return problem;
}

static int barrier_of(struct kg_ref ref) {
  struct kg_file file = {.ref = ref, .kind = KG_FILE, .access = O_RDWR};
  return kg_barrier(&file);
}

int kg_maps_flush(uintptr_t start, size_t length, bool barrier) {
  size_t from, to;
  int problem = 0;
  for (int i = 0; i < maps_end && !problem; i++) {
    uint64_t before = lock();
    bool hit = overlap(&maps[i], start, length, &from, &to) && maps[i].writable;
    struct kg_ref ref = maps[i].ref;
    if (hit) problem = kg_map_flush(&maps[i], from, to);
    unlock(before);
    if (hit && barrier && !problem) problem = barrier_of(ref);
  }
  return problem;
}

int kg_maps_protect(uintptr_t start, size_t length, int prot) {
  size_t from, to;
  int problem = 0;
  uint64_t before = lock();
  for (int i = 0; i < maps_end && !problem; i++) {
    struct kg_map *map = &maps[i];
    if (!overlap(map, start, length, &from, &to)) continue;
    if (!(prot & PROT_READ))
      problem = kg_map_flush(map, 0, map->length);
    else if (prot & PROT_WRITE)
      problem = kg_map_make_pristine(map);
    if (!problem) map->prot = prot & PROT_WRITE ? prot : prot | (map->prot & PROT_WRITE);
  }
  unlock(before);
  return problem;
}

static bool same_file(struct kg_ref a, struct kg_ref b) {
  return a.slot == b.slot && a.generation == b.generation;
}

int kg_maps_settle(struct kg_ref ref) {
  int problem = 0;
  uint64_t before = lock();
  for (int i = 0; i < maps_end && !problem; i++)
    if (maps[i].start != 0 && maps[i].pristine && same_file(maps[i].ref, ref))
      problem = kg_map_flush(&maps[i], 0, maps[i].length);
  unlock(before);
  return problem;
}

/* Into the memory of one map, which may be protected. */
static void put_into(const struct kg_map *map, size_t at, const char *bytes, size_t count) {
  size_t page = kg_page_bytes(), first = at & ~(page - 1), size = kg_page_round(at + count) - first;
  bool open = (map->prot & (PROT_READ | PROT_WRITE)) == (PROT_READ | PROT_WRITE);
  if (!open)
    kg_raw(SYS_mprotect, (long)(map->start + first), (long)size, PROT_READ | PROT_WRITE, 0, 0, 0);
  memcpy((char *)map->start + at, bytes, count);
  if (!open) kg_raw(SYS_mprotect, (long)(map->start + first), (long)size, map->prot, 0, 0, 0);
  if (map->pristine) memcpy(map->pristine + at, bytes, count);
}

void kg_maps_written(struct kg_ref ref, const void *bytes, size_t count, uint64_t offset) {
  uint64_t before = lock();
  for (int i = 0; i < maps_end; i++) {
    const struct kg_map *map = &maps[i];
    if (map->start == 0 || !map->shared || !same_file(map->ref, ref)) continue;
    uint64_t from = offset > map->offset ? offset : map->offset;
    uint64_t to = offset + count;
    if (to > map->offset + map->length) to = map->offset + map->length;
    if (from >= to) continue;
    put_into(map, (size_t)(from - map->offset), (const char *)bytes + (from - offset),
             (size_t)(to - from));
  }
  unlock(before);
}

/* A second address of shared memory: what mremap makes of a length of 0. */
static long second_address(uintptr_t of, size_t length, void *at, int flags) {
  return kg_raw(SYS_mremap, (long)of, 0, (long)length, MREMAP_MAYMOVE | flags, (long)at, 0);
}

/* The memory of a file that is mapped here already; another number for it. */
static int memory_here(struct kg_ref ref) {
  for (int i = 0; i < maps_end; i++)
    if (maps[i].start != 0 && maps[i].memory >= 0 && same_file(maps[i].ref, ref))
      return copy_of(maps[i].memory);
  return -1;
}

int kg_maps_join(struct kg_map *map, void *at, int flags) {
  uint64_t before = lock(), end = map->offset + map->length;
  int mine = kg_map_memory(map->ref, end, memory_here(map->ref));
  int problem = mine < 0 ? -mine : 0;
  long made = problem ? 0
                      : kg_raw(SYS_mmap, (long)at, (long)map->length, PROT_READ | PROT_WRITE,
                               flags | MAP_SHARED, mine, (long)map->offset);
  long was = problem ? 0
                     : kg_raw(SYS_mmap, 0, (long)map->length, PROT_READ | PROT_WRITE, MAP_SHARED,
                              mine, (long)(KG_PRISTINE + map->offset));
  if (made < 0 && made > -4096)
    problem = (int)-made;
  else if (was < 0 && was > -4096)
    problem = (int)-was;
  if (!problem) {
    map->start = (uintptr_t)made;
    map->pristine = (char *)was;
    map->memory = mine;
    kg_map_memory_lock(mine, true);
    problem = kg_map_refresh(map);
    kg_map_memory_lock(mine, false);
  }
  if (problem) {
    if (made > 0) kg_raw(SYS_munmap, made, (long)map->length, 0, 0, 0, 0);
    if (was > 0) kg_raw(SYS_munmap, was, (long)map->length, 0, 0, 0, 0);
    if (mine >= 0) kg_raw_close(mine);
    map->start = 0;
    map->pristine = NULL;
    map->memory = -1;
  }
  unlock(before);
  return problem;
}

bool kg_maps_alias(struct kg_map *map, void *at, int flags) {
  bool found = false;
  uint64_t before = lock();
  for (int i = 0; i < maps_end && !found; i++) {
    const struct kg_map *other = &maps[i];
    if (other->start == 0 || !other->writable || !same_file(other->ref, map->ref)) continue;
    if (other->offset > map->offset) continue;
    size_t skip = (size_t)(map->offset - other->offset);
    if (skip > other->length || other->length - skip < map->length) continue;
    long made = second_address(other->start + skip, map->length, at, flags);
    if (made < 0 && made > -4096) break;
    map->start = (uintptr_t)made;
    map->pristine = NULL;
    found = true;
    if (!other->pristine || !map->writable) continue;
    made = second_address((uintptr_t)other->pristine + skip, map->length, NULL, 0);
    if (made > 0 || made < -4095) map->pristine = (char *)made;
  }
  unlock(before);
  return found;
}

bool kg_maps_touch(uintptr_t start, size_t length) {
  size_t from, to;
  bool found = false;
  uint64_t before = lock();
  for (int i = 0; i < maps_end && !found; i++) found = overlap(&maps[i], start, length, &from, &to);
  unlock(before);
  return found;
}

bool kg_maps_find(uintptr_t start, struct kg_map *out) {
  size_t from, to;
  bool found = false;
  uint64_t before = lock();
  for (int i = 0; i < maps_end && !found; i++) {
    found = overlap(&maps[i], start, 1, &from, &to);
    if (found) *out = maps[i];
  }
  unlock(before);
  return found;
}
