/*
 * Times by name or descriptor: utime, utimes, lutimes, futimes, futimesat, futimens, utimensat,
 * with UTIME_NOW and UTIME_OMIT, and the forms of utimensat without a path. All become one pair of
 * timespecs here. There are no links, so following them or not is the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "preload.h"

REAL(int, utime, (const char *path, const struct utimbuf *times));
REAL(int, utimes, (const char *path, const struct timeval times[2]));
REAL(int, lutimes, (const char *path, const struct timeval times[2]));
REAL(int, futimes, (int fd, const struct timeval times[2]));
REAL(int, futimesat, (int at, const char *path, const struct timeval times[2]));
REAL(int, futimens, (int fd, const struct timespec times[2]));
REAL(int, utimensat, (int at, const char *path, const struct timespec times[2], int flags));

/* What is to be set: flags KG_SET_ATIME and KG_SET_MTIME, and nanoseconds since 1970. */
struct wish {
  uint32_t flags;
  int64_t atime_ns, mtime_ns;
};

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int wish_of(const struct timespec *times, struct wish *wish) {
  static const uint32_t flags[2] = {KG_SET_ATIME, KG_SET_MTIME};
  int64_t *const out[2] = {&wish->atime_ns, &wish->mtime_ns};
  int64_t now = now_ns();
  wish->flags = 0;
  for (int i = 0; i < 2; i++) {
    *out[i] = now;
    if (times && times[i].tv_nsec == UTIME_OMIT) continue;
    wish->flags |= flags[i];
    if (!times || times[i].tv_nsec == UTIME_NOW) continue;
    if (times[i].tv_nsec < 0 || times[i].tv_nsec > 999999999) return EINVAL;
    *out[i] = (int64_t)times[i].tv_sec * 1000000000 + times[i].tv_nsec;
  }
  return 0;
}

/* timevals as timespecs; NULL (now) stays NULL, and a bad one becomes a bad one. */
static const struct timespec *finer(const struct timeval *times, struct timespec out[2]) {
  if (!times) return NULL;
  for (int i = 0; i < 2; i++) {
    bool good = times[i].tv_usec >= 0 && times[i].tv_usec < 1000000;
    out[i].tv_sec = times[i].tv_sec;
    out[i].tv_nsec = good ? times[i].tv_usec * 1000 : -1;
  }
  return out;
}

static int set_times(const struct kg_place *place, const struct timespec *times) {
  struct wish wish;
  struct kg_facts facts = {0};
  int problem = wish_of(times, &wish);
  if (problem) return problem;
  if (wish.flags == 0) {
    problem = kg_stat(place, &facts);
    return !problem && facts.kind == KG_ABSENT ? ENOENT : problem;
  }
  struct kg_change change = {
      .kind = KG_SET, .flags = wish.flags, .atime_ns = wish.atime_ns, .mtime_ns = wish.mtime_ns};
  return kg_change(place, NULL, &change);
}

__attribute__((noinline)) static int change_times(int at, const char *path,
                                                  const struct timespec *times, int flags) {
  struct kg_located to;
  int64_t start = kg_begun();
  kg_locate_at(at, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_TOP) return kg_fail(EPERM);
  if (to.where == KG_ELSEWHERE) return CALL(utimensat)(at, path, times, flags);
  if (to.where == KG_MAPPED) return CALL(utimensat)(at, to.local, times, flags);
  struct kg_facts facts;
  int problem = to.slash ? kg_facts_at(&to, &facts) : 0;
  if (!problem) problem = set_times(&to.place, times);
  kg_done_place("utimensat", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

__attribute__((noinline)) static int change_times_of(struct kg_file *file,
                                                     const struct timespec *times) {
  struct kg_place place;
  struct wish wish;
  int64_t start = kg_begun();
  int problem = wish_of(times, &wish);
  if (!problem && wish.flags != 0) {
    if (file->kind == KG_DIRECTORY) {
      problem = kg_place_open(file, &place);
      if (!problem) problem = place.name[0] ? set_times(&place, times) : EPERM;
    } else {
      problem = kg_set(file->ref, wish.flags, 0, wish.mtime_ns, wish.atime_ns);
    }
  }
  kg_done("futimens", file, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int futimens(int fd, const struct timespec times[2]) {
  struct kg_file *file = ours(fd);
  if (file) return change_times_of(file, times);
  return PASS(futimens)(fd, times);
}

CAUGHT int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
  if (at >= 0 && (kg_is_null(path) || (flags & AT_EMPTY_PATH && !path[0]))) {
    struct kg_file *file = ours(at);
    if (file) return change_times_of(file, times);
  }
  if (!kg_plainly_local(at, path)) return change_times(at, path, times, flags);
  return PASS(utimensat)(at, path, times, flags);
}

CAUGHT int utime(const char *path, const struct utimbuf *times) {
  if (kg_plainly_local(AT_FDCWD, path)) return CALL(utime)(path, times);
  struct timespec both[2] = {{0}, {0}};
  if (times) {
    both[0].tv_sec = times->actime;
    both[1].tv_sec = times->modtime;
  }
  return change_times(AT_FDCWD, path, times ? both : NULL, 0);
}

CAUGHT int utimes(const char *path, const struct timeval times[2]) {
  struct timespec both[2];
  if (kg_plainly_local(AT_FDCWD, path)) return CALL(utimes)(path, times);
  return change_times(AT_FDCWD, path, finer(times, both), 0);
}

CAUGHT int lutimes(const char *path, const struct timeval times[2]) {
  struct timespec both[2];
  if (kg_plainly_local(AT_FDCWD, path)) return CALL(lutimes)(path, times);
  return change_times(AT_FDCWD, path, finer(times, both), AT_SYMLINK_NOFOLLOW);
}

CAUGHT int futimes(int fd, const struct timeval times[2]) {
  struct timespec both[2];
  struct kg_file *file = ours(fd);
  return file ? change_times_of(file, finer(times, both)) : CALL(futimes)(fd, times);
}

CAUGHT int futimesat(int at, const char *path, const struct timeval times[2]) {
  struct timespec both[2];
  struct kg_file *file = kg_is_null(path) && at >= 0 ? ours(at) : NULL;
  if (file) return change_times_of(file, finer(times, both));
  if (kg_plainly_local(at, path)) return CALL(futimesat)(at, path, times);
  return change_times(at, path, finer(times, both), 0);
}
