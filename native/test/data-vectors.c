/* Vectors: scattered, gathered, at offsets, appended; and their errors. */
#include "check.h"
#include <limits.h>
#include <sys/uio.h>

static void test(void) {
  char a[4], b[8], c[8];
  struct iovec out[] = {{"one", 3}, {"", 0}, {"twotwo", 6}, {"3", 1}};
  struct iovec back[] = {{a, 4}, {b, 0}, {c, 8}};
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(fd >= 0);
  CHECK(writev(fd, out, 4) == 10);
  CHECK(lseek(fd, 0, SEEK_CUR) == 10);
  CHECK(pwritev(fd, out, 4, 20) == 10);
  CHECK(lseek(fd, 2, SEEK_SET) == 2);
  CHECK(readv(fd, back, 3) == 12 && memcmp(a, "etwo", 4) == 0 && memcmp(c, "two3\0\0\0\0", 8) == 0);
  CHECK(lseek(fd, 0, SEEK_CUR) == 14);
  CHECK(preadv(fd, back, 3, 25) == 5 && memcmp(a, "otwo", 4) == 0 && c[0] == '3');
  CHECK(preadv2(fd, back, 1, -1, 0) == 4 && lseek(fd, 0, SEEK_CUR) == 18);
  CHECK(pwritev2(fd, out, 1, -1, RWF_APPEND) == 3 && lseek(fd, 0, SEEK_CUR) == 33);
  CHECK(pwritev2(fd, out, 1, 0, RWF_DSYNC) == 3);
  FAILS(writev(fd, out, -1), EINVAL);
  static struct iovec many[IOV_MAX + 1];
  FAILS(writev(fd, many, IOV_MAX + 1), EINVAL);
  FAILS(preadv(fd, back, 1, -5), EINVAL);
  CHECK(writev(fd, out, 0) == 0);
  int appender = open(in("f"), O_WRONLY | O_APPEND);
  CHECK(writev(appender, out, 4) == 10 && lseek(appender, 0, SEEK_CUR) == 43);
  size_t size;
  char *all = content("f", &size);
  CHECK(size == 43 && memcmp(all + 30, "oneonetwotwo3", 13) == 0);
}
