/* /dev/fd/N and /proc/self/fd/N open the file anew. */
#include "check.h"

static void test(void) {
  char path[64], bytes[16];
  struct stat a, b;
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(write(fd, "abc", 3) == 3);
  const char *forms[] = {"/dev/fd/%d", "/proc/self/fd/%d", "/proc/thread-self/fd/%d"};
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, forms[i], fd);
    int other = open(path, O_RDONLY);
    CHECK(other >= 0 && read(other, bytes, sizeof bytes) == 3);
    CHECK(fstat(other, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && b.st_size == 3);
    FAILS(write(other, "x", 1), EBADF);
    CHECK(close(other) == 0 && access(path, R_OK) == 0);
  }
  CHECK(lseek(fd, 0, SEEK_CUR) == 3);
  CHECK(dup2(fd, 0) == 0);
  int in_again = open("/dev/stdin", O_RDONLY);
  CHECK(in_again >= 0 && read(in_again, bytes, sizeof bytes) == 3);
  int cut = open("/dev/stdin", O_WRONLY | O_TRUNC);
  CHECK(cut >= 0 && fstat(fd, &a) == 0 && a.st_size == 0);
}
