/* utimensat and its family, with now, omit and nanoseconds, by name and by descriptor. */
#include "check.h"
#include <sys/time.h>
#include <time.h>
#include <utime.h>

static struct timespec time_of(const char *name) {
  struct stat facts;
  CHECK(stat(in(name), &facts) == 0);
  return facts.st_mtim;
}

static bool is(struct timespec time, time_t seconds, long nanoseconds) {
  return time.tv_sec == seconds && time.tv_nsec == nanoseconds;
}

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  struct timespec both[2] = {{1000, 5}, {2000, 7}};
  CHECK(utimensat(AT_FDCWD, in("f"), both, 0) == 0 && is(time_of("f"), 2000, 7));
  both[1] = (struct timespec){0, UTIME_OMIT};
  CHECK(futimens(fd, both) == 0 && is(time_of("f"), 2000, 7));
  both[1] = (struct timespec){3000, 0};
  CHECK(futimens(fd, both) == 0 && is(time_of("f"), 3000, 0));
  struct timeval coarse[2] = {{1, 2}, {4000, 6}};
  CHECK(utimes(in("f"), coarse) == 0 && is(time_of("f"), 4000, 6000));
  CHECK(futimes(fd, coarse) == 0 && lutimes(in("f"), coarse) == 0);
  struct utimbuf old = {1, 5000};
  CHECK(utime(in("f"), &old) == 0 && is(time_of("f"), 5000, 0));
  both[0].tv_nsec = 1000000000;
  FAILS(utimensat(AT_FDCWD, in("f"), both, 0), EINVAL);
  FAILS(utimensat(AT_FDCWD, in("none"), NULL, 0), ENOENT);
  time_t before = time(NULL);
  CHECK(utimensat(AT_FDCWD, in("f"), NULL, 0) == 0 && time_of("f").tv_sec >= before - 1);
  both[0] = both[1] = (struct timespec){0, UTIME_NOW};
  CHECK(futimens(fd, both) == 0);
  CHECK(mkdir(in("d"), 0755) == 0);
  both[0] = both[1] = (struct timespec){7000, 1};
  CHECK(utimensat(AT_FDCWD, in("d"), both, 0) == 0 && is(time_of("d"), 7000, 1));
}
