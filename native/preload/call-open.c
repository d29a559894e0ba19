/*
 * Opening: the open family, and descriptors that are opened again by a path that leads to them.
 *
 * The server decides in one exchange whether the file may be opened, made or cut; the descriptor is
 * a placeholder. /dev/stdin, /dev/fd/N and /proc/self/fd/N of a file of ours open that file anew,
 * as they do on Linux, with an offset of their own.
 */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

REAL(int, open, (const char *, int, ...))
REAL(int, openat, (int, const char *, int, ...))
REAL(int, creat, (const char *, mode_t))
REAL(int, __open_2, (const char *, int))
REAL(int, __openat_2, (int, const char *, int))

static bool wants_mode(int flags) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

static const char *after(const char *path, const char *start) {
  size_t bytes = strlen(start);
  return strncmp(path, start, bytes) == 0 ? path + bytes : 0;
}

/* The decimal number that is all of `text`, or -1. */
static int whole_number(const char *text) {
  int number = 0;
  if (*text < '0' || *text > '9') return -1;
  for (; *text >= '0' && *text <= '9' && number < 100000000; text++) {
    number = number * 10 + (*text - '0');
  }
  return *text == 0 ? number : -1;
}

static int number_in_proc(const char *rest) {
  const char *name = after(rest, "self/fd/");
  if (name == 0) name = after(rest, "thread-self/fd/");
  if (name != 0) return whole_number(name);
  int pid = 0;
  for (; *rest >= '0' && *rest <= '9' && pid < 100000000; rest++) pid = pid * 10 + (*rest - '0');
  name = pid > 0 ? after(rest, "/fd/") : 0;
  return name != 0 && pid == kg_pid() ? whole_number(name) : -1;
}

int kg_aliased(const char *path) {
  int fd = -1;
  if (kg_is_null(path) || path[0] != '/' || (path[1] != 'd' && path[1] != 'p')) return -1;
  const char *rest = after(path, "/dev/");
  if (rest != 0) {
    const char *name = after(rest, "fd/");
    if (name != 0)
      fd = whole_number(name);
    else if (strcmp(rest, "stdin") == 0)
      fd = 0;
    else if (strcmp(rest, "stdout") == 0)
      fd = 1;
    else if (strcmp(rest, "stderr") == 0)
      fd = 2;
  } else if ((rest = after(path, "/proc/")) != 0) {
    fd = number_in_proc(rest);
  }
  return fd >= 0 && ours(fd) != 0 ? fd : -1;
}

/* A placeholder of another process may be reached by /proc/PID/fd/N. */
static int noted(const char *path, int fd) {
  if (fd >= 0 && path != 0 && path[0] == '/' && path[1] == 'p') kg_note(fd);
  return fd;
}

static uint32_t flags_of(int flags) {
  uint32_t wanted = 0;
  if (flags & O_CREAT) wanted |= KG_OPEN_CREATE;
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) wanted |= KG_OPEN_EXCLUSIVE;
  if (flags & O_TRUNC) wanted |= KG_OPEN_TRUNCATE;
  if ((flags & O_ACCMODE) != O_RDONLY) wanted |= KG_OPEN_WRITE;
  if (flags & O_DIRECTORY) wanted |= KG_OPEN_DIRECTORY;
  return wanted;
}

static int open_here(const struct kg_place *place, int flags, mode_t mode) {
  struct kg_ref ref;
  struct kg_facts facts;
  if ((flags & O_TMPFILE) == O_TMPFILE) return kg_fail(EOPNOTSUPP);
  if ((flags & O_PATH) != 0) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if ((flags & O_ACCMODE) == O_ACCMODE) return kg_fail(EINVAL);
  if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY)) return kg_fail(EINVAL);
  if ((flags & O_CREAT) != 0) mode = mode & 07777 & ~kg_umask();
  for (uint32_t wanted = flags_of(flags);;) {
    int problem = kg_open(place, wanted, mode, &ref, &facts);
    if (problem != 0) return kg_fail(problem);
    if (facts.kind == KG_DIRECTORY && (flags & (O_ACCMODE | O_CREAT)) != 0) return kg_fail(EISDIR);
    if (facts.kind != KG_DIRECTORY && (flags & O_DIRECTORY) != 0) return kg_fail(ENOTDIR);
    int fd = kg_place_holder(ref, facts.kind, flags);
    if (fd < 0 || __builtin_expect(kg_is_current(ref), 1)) return fd;
    /* We were stopped for so long that the slot was given to somebody else. */
    kg_raw_close(fd);
    wanted &= ~(uint32_t)(KG_OPEN_EXCLUSIVE | KG_OPEN_TRUNCATE);
  }
}

static int open_top(int flags) {
  static const struct kg_ref top = {.slot = KG_TOP_SLOT, .generation = 0};
  if ((flags & O_TMPFILE) == O_TMPFILE) return kg_fail(EOPNOTSUPP);
  if ((flags & O_PATH) != 0) flags &= ~(O_ACCMODE | O_CREAT);
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) return kg_fail(EEXIST);
  if ((flags & (O_ACCMODE | O_CREAT)) != 0) return kg_fail(EISDIR);
  return kg_place_holder(top, KG_DIRECTORY, flags);
}

int kg_open_located(const struct kg_located *located, int flags, mode_t mode) {
  switch (located->where) {
  case KG_HERE:
    if (located->slash && (flags & O_CREAT) != 0) return kg_fail(EISDIR);
    if (located->slash) flags |= O_DIRECTORY;
    return open_here(&located->place, flags, mode);
  case KG_TOP:
    return open_top(flags);
  case KG_MAPPED:
    return CALL(openat)(AT_FDCWD, located->local, flags, mode);
  case KG_BAD:
    return kg_fail(located->problem);
  default:
    return kg_fail(ENOENT);
  }
}

__attribute__((noinline)) int kg_reopen(struct kg_file *file, int flags) {
  struct kg_place place;
  flags &= ~(O_CREAT | O_EXCL);
  if (KG_IS_TOP(file)) return open_top(flags);
  int problem = kg_place_of(file->ref, &place);
  return problem != 0 ? kg_fail(problem) : open_here(&place, flags, 0);
}

__attribute__((noinline)) static int open_slow(const char *call, int dirfd, const char *path,
                                               int flags, mode_t mode) {
  struct kg_located located;
  if (!kg_started) kg_start();
  int alias = (flags & (O_PATH | O_NOFOLLOW)) == 0 ? kg_aliased(path) : -1;
  if (alias < 0) {
    kg_locate_at(dirfd, path, &located);
    if (located.where == KG_ELSEWHERE) {
      return noted(path, PASS(openat)(dirfd, path, flags, mode));
    }
    if (located.where == KG_MAPPED) return kg_open_located(&located, flags, mode);
  }
  struct kg_scope scope = kg_enter();
  int fd = alias >= 0 ? kg_reopen(ours(alias), flags) : kg_open_located(&located, flags, mode);
  kg_leave(scope, call, fd >= 0 ? ours(fd) : 0, 0);
  return fd;
}

/* Nothing of ours, and no path that could lead to a placeholder. */
static inline bool is_plain(int dirfd, const char *path) {
  if (!kg_plainly_local(dirfd, path)) return false;
  return kg_is_null(path) || path[0] != '/' || (path[1] != 'p' && path[1] != 'd');
}

CAUGHT int open(const char *path, int flags, ...) {
  va_list rest;
  mode_t mode = 0;
  if (wants_mode(flags)) {
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(open)(path, flags, mode);
  return open_slow("open", AT_FDCWD, path, flags, mode);
}
ALIAS(open, open64);
ALIAS(open, __open);
ALIAS(open, __open64);

CAUGHT int openat(int dirfd, const char *path, int flags, ...) {
  va_list rest;
  mode_t mode = 0;
  if (wants_mode(flags)) {
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  if (__builtin_expect(is_plain(dirfd, path), 1)) return PASS(openat)(dirfd, path, flags, mode);
  return open_slow("openat", dirfd, path, flags, mode);
}
ALIAS(openat, openat64);

CAUGHT int creat(const char *path, mode_t mode) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(creat)(path, mode);
  return open_slow("creat", AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
ALIAS(creat, creat64);

/* The fortified forms have no mode; libc's own ends the program when one is needed. */
CAUGHT int __open_2(const char *path, int flags) {
  if (wants_mode(flags) || is_plain(AT_FDCWD, path)) return PASS(__open_2)(path, flags);
  return open_slow("open", AT_FDCWD, path, flags, 0);
}
ALIAS(__open_2, __open64_2);

CAUGHT int __openat_2(int dirfd, const char *path, int flags) {
  if (wants_mode(flags) || is_plain(dirfd, path)) return PASS(__openat_2)(dirfd, path, flags);
  return open_slow("openat", dirfd, path, flags, 0);
}
ALIAS(__openat_2, __openat64_2);
