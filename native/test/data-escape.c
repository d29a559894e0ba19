/* Writes by bare instructions, which nobody catches, are not lost. */
#include "check.h"
#include <sys/syscall.h>

static long bare(long number, long a, long b, long c) {
#if defined(__x86_64__)
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c)
                   : "rcx", "r11", "memory");
  return result;
#else
  return syscall(number, a, b, c);
#endif
}

static void test(void) {
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "seen ", 5) == 5);
  CHECK(bare(SYS_write, fd, (long)"hidden ", 7) == 7);
  CHECK(write(fd, "seen\n", 5) == 5);
  CHECK(close(fd) == 0);
  HOLDS("f", "seen hidden seen\n");
  fd = open(in("f"), O_WRONLY | O_APPEND);
  CHECK(write(fd, "more ", 5) == 5);
  CHECK(bare(SYS_write, fd, (long)"end\n", 4) == 4);
  CHECK(lseek(fd, 0, SEEK_CUR) == 26);
  CHECK(close(fd) == 0);
  HOLDS("f", "seen hidden seen\nmore end\n");
  fd = open(in("f"), O_RDONLY);
  long result = bare(SYS_write, fd, (long)"x", 1);
  CHECK(result == -EBADF || result == -EPERM);
  CHECK(close(fd) == 0);
}
