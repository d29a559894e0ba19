/*
 * mmap of files of ours. The kernel cannot page them, so a map is anonymous memory that holds a
 * copy of the file, made when it is mapped.
 *
 * A shared map of a file that is open for writing is of a memory that all programs of one first
 * hop have for that file (map-memory.c), beside a second, pristine copy. What differs from it is
 * written by msync, munmap, exec and exit, and before a call of the same process reads or writes
 * the file, clamped to the size that the file has then; only bytes that were changed are written.
 *
 * Within a process maps agree with each other and with read and write. What another process writes
 * without a map is not seen in one, and what SIGKILL catches unwritten is lost unless another
 * program has the same map; the document of calls says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "maps.h"
#include "raw.h"

REAL(void *, mmap, (void *at, size_t length, int prot, int flags, int fd, off_t offset));
REAL(int, munmap, (void *at, size_t length));
REAL(int, msync, (void *at, size_t length, int flags));
REAL(int, mprotect, (void *at, size_t length, int prot));
REAL(int, madvise, (void *at, size_t length, int advice));
REAL(void *, mremap, (void *at, size_t length, size_t wanted, int flags, ...));

/* What a map's flags say of the memory, whatever it holds. */
#define KEPT_FLAGS (~(MAP_TYPE | MAP_SYNC))

static int refusal(const struct kg_file *file, size_t length, int prot, int flags, off_t offset) {
  bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
  if (length == 0 || offset < 0 || (size_t)offset % kg_page_bytes()) return EINVAL;
  if (file->path_only) return EBADF;
  if (file->kind != KG_FILE) return ENODEV;
  if (file->access == O_WRONLY) return EACCES;
  if (shared && prot & PROT_WRITE && file->access != O_RDWR) return EACCES;
  return 0;
}

/* The memory, what is in it, and its place in the table; MAP_FAILED with errno. */
static void *make_map(struct kg_map *map, void *at, int flags, int fd) {
  int problem = kg_maps_settle(map->ref);
  int fixed = flags & MAP_FIXED ? MREMAP_FIXED : 0;
  if (problem) {
    /* Nothing is mapped before what was changed is written. */
  } else if (map->writable && kg_maps_join(map, at, flags & KEPT_FLAGS & ~MAP_ANONYMOUS) == 0) {
    /* The memory that all programs share for this file. */
  } else if (map->shared && !(flags & MAP_FIXED_NOREPLACE) && kg_maps_alias(map, at, fixed)) {
    /* Another map of the same file here has it: one memory for both. */
    CALL(mprotect)((void *)map->start, map->length, PROT_READ | PROT_WRITE);
  } else {
    int kind = MAP_ANONYMOUS | (map->writable ? MAP_SHARED : MAP_PRIVATE);
    void *made =
        CALL(mmap)(at, map->length, PROT_READ | PROT_WRITE, (flags & KEPT_FLAGS) | kind, -1, 0);
    if (made == MAP_FAILED) return made;
    map->start = (uintptr_t)made;
    problem = kg_map_fill(map, 0);
  }
  if (!problem) problem = kg_maps_add(map, fd);
  if (!problem) return (void *)map->start;
  if (map->start) CALL(munmap)((void *)map->start, map->length);
  errno = problem;
  return MAP_FAILED;
}

__attribute__((noinline)) static void *map_ours(const struct kg_file *given, void *at,
                                                size_t length, int prot, int flags, int fd,
                                                off_t offset) {
  struct kg_file file = *given;
  int64_t start = kg_begun();
  int problem = refusal(&file, length, prot, flags, offset);
  if (!problem && flags & MAP_FIXED) problem = kg_maps_remove((uintptr_t)at, length);
  if (problem) {
    errno = problem;
    return MAP_FAILED;
  }
  bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
  struct kg_map map = {.length = kg_page_round(length),
                       .offset = (uint64_t)offset,
                       .ref = file.ref,
                       .fd = -1,
                       .memory = -1,
                       .shared = shared,
                       .writable = shared && file.access == O_RDWR,
                       .prot = prot};
  void *made = make_map(&map, at, flags, fd);
  if (made != MAP_FAILED && prot != (PROT_READ | PROT_WRITE)) CALL(mprotect)(made, length, prot);
  kg_done("mmap", (struct kg_file *)given, length, start);
  return made;
}

CAUGHT void *mmap(void *at, size_t length, int prot, int flags, int fd, off_t offset) {
  struct kg_file *file = flags & MAP_ANONYMOUS ? NULL : ours(fd);
  if (file) return map_ours(file, at, length, prot, flags, fd, offset);
  if (kg_maps_count > 0 && flags & MAP_FIXED) {
    int problem = kg_maps_remove((uintptr_t)at, length);
    if (problem) {
      errno = problem;
      return MAP_FAILED;
    }
  }
  return CALL(mmap)(at, length, prot, flags, fd, offset);
}
ALIAS(mmap, mmap64);

CAUGHT int munmap(void *at, size_t length) {
  if (kg_maps_count > 0) {
    int problem = kg_maps_remove((uintptr_t)at, length);
    if (problem) return kg_fail(problem);
  }
  return CALL(munmap)(at, length);
}

CAUGHT int msync(void *at, size_t length, int flags) {
  int result = CALL(msync)(at, length, flags);
  if (result != 0 || kg_maps_count == 0) return result;
  int problem = kg_maps_flush((uintptr_t)at, length, (flags & MS_SYNC) != 0);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int mprotect(void *at, size_t length, int prot) {
  if (kg_maps_count > 0) {
    int problem = kg_maps_protect((uintptr_t)at, length, prot);
    if (problem) return kg_fail(problem);
  }
  return CALL(mprotect)(at, length, prot);
}

/* To throw pages away means to read them again from a file: here they are all there is. */
CAUGHT int madvise(void *at, size_t length, int advice) {
  bool loses = advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_REMOVE;
  if (loses && kg_maps_count > 0 && kg_maps_touch((uintptr_t)at, length)) return 0;
  return CALL(madvise)(at, length, advice);
}

/* Of shared memory there can be two maps; then the old one goes. */
static void *grow_shared(const struct kg_map *old, struct kg_map *larger, void *to, int fixed) {
  void *made = make_map(larger, to, MAP_SHARED | fixed, old->fd);
  if (made == MAP_FAILED) return made;
  munmap((void *)old->start, old->length);
  if (old->prot != (PROT_READ | PROT_WRITE)) CALL(mprotect)(made, larger->length, old->prot);
  return made;
}

/* A larger map is another one: what the old one holds is copied, the rest is read from the file. */
static void *grow(const struct kg_map *old, size_t wanted, int flags, void *to) {
  if (!(flags & MREMAP_MAYMOVE)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  int fixed = flags & MREMAP_FIXED ? MAP_FIXED : 0;
  int problem = fixed ? kg_maps_remove((uintptr_t)to, wanted) : 0;
  struct kg_map larger = *old;
  larger.length = kg_page_round(wanted);
  larger.pristine = NULL;
  larger.fd = larger.memory = -1;
  if (!problem && old->memory >= 0) return grow_shared(old, &larger, to, fixed);
  int kind = fixed | MAP_ANONYMOUS | (old->writable ? MAP_SHARED : MAP_PRIVATE);
  void *made = problem ? MAP_FAILED : CALL(mmap)(to, wanted, PROT_READ | PROT_WRITE, kind, -1, 0);
  if (made == MAP_FAILED) return made;
  struct kg_map map = larger;
  map.start = (uintptr_t)made;
  size_t kept = old->length < map.length ? old->length : map.length;
  memcpy(made, (void *)old->start, kept);
  problem = kg_map_fill(&map, kept);
  if (!problem) problem = kg_maps_add(&map, old->fd);
  if (!problem) problem = kg_maps_remove(old->start, old->length);
  if (problem) {
    CALL(munmap)(made, wanted);
    errno = problem;
    return MAP_FAILED;
  }
  CALL(munmap)((void *)old->start, old->length);
  if (old->prot != (PROT_READ | PROT_WRITE)) CALL(mprotect)(made, wanted, old->prot);
  return made;
}

CAUGHT void *mremap(void *at, size_t length, size_t wanted, int flags, ...) {
  void *to = NULL;
  struct kg_map old;
  va_list list;
  va_start(list, flags);
  if (flags & MREMAP_FIXED) to = va_arg(list, void *);
  va_end(list);
  if (kg_maps_count == 0 || !kg_maps_find((uintptr_t)at, &old))
    return CALL(mremap)(at, length, wanted, flags, to);
  int problem = kg_maps_flush((uintptr_t)at, length, false);
  if (old.start != (uintptr_t)at || kg_page_round(length) != old.length || wanted == 0)
    problem = EINVAL;
  if (problem) {
    errno = problem;
    return MAP_FAILED;
  }
  if (kg_page_round(wanted) > old.length || flags & MREMAP_FIXED)
    return grow(&old, wanted, flags, to);
  size_t left = kg_page_round(wanted);
  if (left < old.length && munmap((char *)at + left, old.length - left) < 0) return MAP_FAILED;
  return at;
}

int kg_memory_flush(void) { return kg_maps_count > 0 ? kg_maps_flush(0, SIZE_MAX, false) : 0; }
