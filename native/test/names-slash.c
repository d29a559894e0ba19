/* A name with a slash behind it is a directory's, also for calls that change it. */
#include "check.h"
#include <sys/time.h>
#include <utime.h>

static void test(void) {
  struct stat facts;
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0640);
  CHECK(fd >= 0 && write(fd, "abc", 3) == 3 && close(fd) == 0);
  CHECK(mkdir(in("d/"), 0755) == 0);
  FAILS(chmod(in("f/"), 0600), ENOTDIR);
  FAILS(truncate(in("f/"), 1), ENOTDIR);
  FAILS(utime(in("f/"), NULL), ENOTDIR);
  FAILS(utimensat(AT_FDCWD, in("f/"), NULL, 0), ENOTDIR);
  FAILS(stat(in("f/"), &facts), ENOTDIR);
  FAILS(unlink(in("f/")), ENOTDIR);
  FAILS(rename(in("f/"), in("g")), ENOTDIR);
  FAILS(chmod(in("none/"), 0600), ENOENT);
  CHECK(chmod(in("d/"), 0700) == 0 && utime(in("d/"), NULL) == 0);
  CHECK(stat(in("f"), &facts) == 0 && facts.st_size == 3 && (facts.st_mode & 0777) == 0640);
  CHECK(stat(in("d"), &facts) == 0 && (facts.st_mode & 0777) == 0700);
}
