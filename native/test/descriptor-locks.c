/* Locks keep other processes out, and end with a close. */
#include "check.h"
#include <sys/file.h>

/* Does another process get it? 0, or its errno. */
static int elsewhere(int kind, short type, off_t start) {
  int status;
  pid_t child = fork();
  if (child == 0) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};
    int fd = open(in("f"), O_RDWR);
    int result = kind == 0 ? fcntl(fd, F_SETLK, &lock) : flock(fd, type | LOCK_NB);
    _exit(result == 0 ? 0 : errno == EACCES ? EAGAIN : errno);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644), reader = open(in("f"), O_RDONLY);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
  CHECK(fcntl(fd, F_SETLK, &lock) == 0 && fcntl(fd, F_SETLK, &lock) == 0);
  CHECK(elsewhere(0, F_WRLCK, 9) == 0 && elsewhere(0, F_WRLCK, 10) == EAGAIN);
  CHECK(elsewhere(0, F_RDLCK, 19) == EAGAIN && elsewhere(0, F_WRLCK, 20) == 0);
  lock.l_type = F_RDLCK;
  CHECK(fcntl(fd, F_SETLK, &lock) == 0 && elsewhere(0, F_RDLCK, 10) == 0);
  CHECK(elsewhere(0, F_WRLCK, 10) == EAGAIN);
  CHECK(close(reader) == 0); /* any close of the file */
  CHECK(elsewhere(0, F_WRLCK, 10) == 0);
  reader = open(in("f"), O_RDONLY);
  lock.l_type = F_WRLCK;
  FAILS(fcntl(reader, F_SETLK, &lock), EBADF);
  lock.l_type = 77;
  FAILS(fcntl(fd, F_SETLK, &lock), EINVAL);
  CHECK(lseek(fd, 5, SEEK_SET) == 5 && lockf(fd, F_TLOCK, 0) == 0);
  CHECK(elsewhere(0, F_WRLCK, 4) == 0 && elsewhere(0, F_WRLCK, 1000) == EAGAIN);
  CHECK(lockf(fd, F_ULOCK, 0) == 0 && elsewhere(0, F_WRLCK, 1000) == 0);

  int copy = dup(fd), other = open(in("f"), O_RDWR);
  CHECK(flock(fd, LOCK_EX) == 0 && flock(copy, LOCK_EX | LOCK_NB) == 0);
  FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  CHECK(elsewhere(1, LOCK_SH, 0) == EWOULDBLOCK);
  CHECK(close(fd) == 0 && elsewhere(1, LOCK_SH, 0) == EWOULDBLOCK);
  CHECK(flock(copy, LOCK_SH) == 0 && elsewhere(1, LOCK_SH, 0) == 0);
  CHECK(close(copy) == 0 && elsewhere(1, LOCK_EX, 0) == 0);
  FAILS(flock(other, 77), EINVAL);
}
