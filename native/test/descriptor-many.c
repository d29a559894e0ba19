/* A thousand files are open at once. */
#include "check.h"
#include <sys/resource.h>

static void test(void) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = limit.rlim_max < 1200 ? limit.rlim_max : 1200;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  enum { FILES = 1000 };
  static int fds[FILES];
  char name[16], byte;
  for (int i = 0; i < FILES; i++) {
    snprintf(name, sizeof name, "f%d", i);
    CHECK((fds[i] = open(in(name), O_RDWR | O_CREAT, 0644)) >= 0);
    CHECK(write(fds[i], &(char){(char)i}, 1) == 1);
  }
  for (int i = 0; i < FILES; i++) {
    CHECK(pread(fds[i], &byte, 1, 0) == 1 && byte == (char)i);
    CHECK(close(fds[i]) == 0);
  }
}
