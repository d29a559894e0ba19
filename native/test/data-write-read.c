/* What was written is read, at the shared offset and at others. */
#include "check.h"

static void test(void) {
  char bytes[64];
  int fd = open(in("f"), O_RDWR | O_CREAT | O_EXCL, 0644);
  CHECK(fd >= 0);
  CHECK(write(fd, "hello world", 11) == 11);
  CHECK(lseek(fd, 0, SEEK_CUR) == 11);
  CHECK(read(fd, bytes, 10) == 0);
  CHECK(lseek(fd, 6, SEEK_SET) == 6);
  CHECK(read(fd, bytes, sizeof bytes) == 5 && memcmp(bytes, "world", 5) == 0);
  CHECK(lseek(fd, 0, SEEK_CUR) == 11);
  CHECK(pwrite(fd, "W", 1, 6) == 1);
  CHECK(pread(fd, bytes, 3, 5) == 3 && memcmp(bytes, " Wo", 3) == 0);
  CHECK(lseek(fd, 0, SEEK_CUR) == 11);
  CHECK(pwrite(fd, "far", 3, 100) == 3);
  CHECK(pread(fd, bytes, 4, 98) == 4 && memcmp(bytes, "\0\0fa", 4) == 0);
  CHECK(pread(fd, bytes, 4, 103) == 0 && pread(fd, bytes, 4, 1000) == 0);
  CHECK(write(fd, "", 0) == 0 && read(fd, bytes, 0) == 0);
  CHECK(close(fd) == 0);
  size_t size;
  char *all = content("f", &size);
  CHECK(size == 103 && memcmp(all, "hello World\0", 12) == 0);
}
