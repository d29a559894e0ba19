/* The offset is shared with copies, children and programs, and with nobody else. */
#include "check.h"

static void test(void) {
  char byte;
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644), other = open(in("f"), O_RDWR);
  CHECK(write(fd, "abcdef", 6) == 6);
  int copy = dup(fd);
  CHECK(lseek(copy, 0, SEEK_CUR) == 6 && lseek(other, 0, SEEK_CUR) == 0);
  CHECK(lseek(copy, 1, SEEK_SET) == 1 && read(fd, &byte, 1) == 1 && byte == 'b');
  pid_t child = fork();
  if (child == 0) {
    CHECK(read(copy, &byte, 1) == 1 && byte == 'c');
    _exit(0);
  }
  ended_well(child);
  CHECK(lseek(fd, 0, SEEK_CUR) == 3);
  child = fork();
  if (child == 0) {
    dup2(fd, 1);
    execlp("sh", "sh", "-c", "printf XY", NULL);
    _exit(127);
  }
  ended_well(child);
  CHECK(lseek(fd, 0, SEEK_CUR) == 5);
  HOLDS("f", "abcXYf");
}
