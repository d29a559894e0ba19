/*
 * What the files of the preload library share: the real calls beneath, and the descriptors.
 *
 * A wrapper has the name of the call in libc. It asks `ours` (or kg_locate) whether the call is
 * Kangaroo's and otherwise gives it to the real one, unchanged, within 0.2 us. Wrappers may be called
 * before this library was initialised, from signal handlers, between vfork and exec, and on any
 * thread: they take no memory from malloc on such ways and hold no lock over a call to the program.
 */
#ifndef KANGAROO_PRELOAD_H
#define KANGAROO_PRELOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "../core/core.h"

/* The library's own names are hidden; what it catches is visible. */
#define CAUGHT __attribute__((visibility("default")))

/*
 * real.c: the next definition of a libc function, looked up once. Usage:
 *   REAL(int, close, (int fd));
 *   ... real_close(fd) ...
 */
void *kg_next(const char *name);
#define REAL(type, name, parameters)                                        \
  static type(*next_##name) parameters;                                     \
  __attribute__((always_inline)) static inline type(*real_##name##_()) parameters { \
    if (__builtin_expect(next_##name == 0, 0))                              \
      next_##name = (type(*) parameters)kg_next(#name);                     \
    return next_##name;                                                     \
  }
#define CALL(name) real_##name##_()

/* An open file of ours, as one process knows it; found by the placeholder's device and inode. */
struct kg_file {
  uint64_t dev, ino; /* of the placeholder */
  struct kg_ref ref;
  enum kg_kind kind;
  int access;       /* O_RDONLY, O_WRONLY or O_RDWR: what the program asked for */
  bool append;      /* as F_SETFL was last seen to say */
};

/* descriptors.c */
extern _Atomic uint64_t kg_perhaps[]; /* a bit for each descriptor below KG_PERHAPS_MAX */
#define KG_PERHAPS_MAX 65536
/*
 * The file that `fd` stands for, or NULL: not ours. Fast when the bit is not set. Where a write has
 * escaped into the placeholder it is rescued first.
 */
struct kg_file *kg_file_slow(int fd);
static inline struct kg_file *ours(int fd) {
  if (__builtin_expect((unsigned)fd >= KG_PERHAPS_MAX, 0)) return kg_file_slow(fd);
  uint64_t word = __atomic_load_n((uint64_t *)&kg_perhaps[(unsigned)fd / 64], __ATOMIC_RELAXED);
  if (__builtin_expect((word >> ((unsigned)fd % 64) & 1) == 0, 1)) return 0;
  return kg_file_slow(fd);
}
/* Makes a placeholder; returns its descriptor, or -1 with errno. flags: O_CLOEXEC, O_APPEND, access. */
int kg_place_holder(struct kg_ref ref, enum kg_kind kind, int flags);
/* `fd` may be ours now (after dup, or because it came from elsewhere). */
void kg_note(int fd);
/* Looks at every descriptor of the process: at the start. */
void kg_adopt_all(void);
/* Before a descriptor goes away: what has escaped into it is rescued. */
void kg_before_close(int fd);

/* directory.c: the virtual working directory, "/kangaroo/NAME/dir", or NULL. */
const char *kg_working_directory(void);
/*
 * Where `path` leads, with `dirfd` as for openat(2): our own directories, the virtual working
 * directory, mounts and aliases (/dev/fd/N and its like are left alone) included.
 */
void kg_locate_at(int dirfd, const char *path, struct kg_located *out);

/* report.c: counts for KANGAROO_REPORT; free when there is none. */
void kg_count(const char *call, struct kg_file *file, uint64_t bytes, int64_t ns);

/* failing: sets errno and returns -1. */
static inline int kg_fail(int problem) {
  *__errno_location() = problem;
  return -1;
}

#endif
