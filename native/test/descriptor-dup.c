/* Copies of a descriptor are the same open file, wherever they stand. */
#include "check.h"

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(dup2(fd, 100) == 100 && dup3(fd, 101, O_CLOEXEC) == 101);
  int high = fcntl(fd, F_DUPFD, 200), closed = fcntl(fd, F_DUPFD_CLOEXEC, 200);
  CHECK(high == 200 && closed == 201);
  CHECK(fcntl(100, F_GETFD) == 0 && fcntl(101, F_GETFD) == FD_CLOEXEC);
  CHECK(fcntl(high, F_GETFD) == 0 && fcntl(closed, F_GETFD) == FD_CLOEXEC);
  CHECK(close(fd) == 0);
  int all[] = {100, 101, 200, 201};
  for (int i = 0; i < 4; i++) CHECK(write(all[i], "x", 1) == 1);
  CHECK(lseek(201, 0, SEEK_CUR) == 4);
  CHECK(open(in("g"), O_WRONLY | O_CREAT, 0644) == fd); /* the lowest number */
  FAILS(dup3(100, 100, 0), EINVAL);
  CHECK(dup2(100, 100) == 100);
  FAILS(dup2(fd + 50, 7), EBADF);
  /* A local file covers one of ours, and the other way round. */
  int null = open("/dev/null", O_WRONLY);
  CHECK(dup2(null, 100) == 100 && write(100, "lost", 4) == 4);
  CHECK(dup2(200, null) == null && write(null, "kept", 4) == 4);
  HOLDS("f", "xxxxkept");
}
