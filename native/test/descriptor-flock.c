/* A lock by flock belongs to the open file: a child or another program may take it and end. */
#include "check.h"
#include <sys/file.h>
#include <time.h>

static void run(void (*what)(int), int fd) {
  pid_t child = fork();
  if (child == 0) {
    what(fd);
    _exit(0);
  }
  ended_well(child);
}

static void takes(int fd) { CHECK(flock(fd, LOCK_EX) == 0); }
static void gives(int fd) { CHECK(flock(fd, LOCK_UN) == 0); }
static void may_not(int fd) {
  (void)fd;
  int mine = open(in("f"), O_RDWR);
  CHECK(mine >= 0);
  FAILS(flock(mine, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  FAILS(flock(mine, LOCK_SH | LOCK_NB), EWOULDBLOCK);
}
static void may(int fd) {
  (void)fd;
  int mine = open(in("f"), O_RDONLY);
  CHECK(mine >= 0 && flock(mine, LOCK_EX | LOCK_NB) == 0);
}

static void test(void) {
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644);
  CHECK(fd >= 0);
  run(takes, fd); /* which has ended since */
  run(may_not, fd);
  run(gives, fd);
  run(may, fd);
  CHECK(dup2(fd, 9) == 9 && system("flock -n 9") == 0);
  run(may_not, fd);
  CHECK(close(fd) == 0);
  run(may_not, fd);
  CHECK(close(9) == 0);
  run(may, fd);

  fd = open(in("f"), O_WRONLY);
  CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
  pid_t child = fork();
  if (child == 0) {
    struct timespec start, end;
    int mine = open(in("f"), O_WRONLY);
    CHECK(close(fd) == 0 && clock_gettime(CLOCK_MONOTONIC, &start) == 0);
    CHECK(flock(mine, LOCK_EX) == 0 && clock_gettime(CLOCK_MONOTONIC, &end) == 0);
    CHECK(end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9 > 0.1);
    _exit(0);
  }
  usleep(300000);
  CHECK(flock(fd, LOCK_UN) == 0);
  ended_well(child);
}
