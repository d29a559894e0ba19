/* A number that is used again, by a local file at the very same offset, is that file's at once. */
#include "check.h"

static char local[] = "/tmp/kangaroo-test-XXXXXX";

static void local_holds(const char *text) {
  char bytes[64] = {0};
  int fd = open(local, O_RDONLY);
  CHECK(fd >= 0 && read(fd, bytes, sizeof bytes - 1) >= 0 && close(fd) == 0);
  CHECK(strcmp(bytes, text) == 0);
}

static void test(void) {
  int file = mkstemp(local);
  CHECK(file >= 0 && write(file, "local", 5) == 5);
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644), other = open(in("g"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "12", 2) == 2 && write(fd, "345", 3) == 3);
  CHECK(dup2(file, fd) == fd && write(fd, "+", 1) == 1);
  local_holds("local+");
  HOLDS("f", "12345");

  CHECK((fd = open(in("f"), O_WRONLY)) >= 0 && write(fd, "abcdef", 6) == 6 && close(fd) == 0);
  FILE *stream = fopen(local, "r+"); /* libc itself opens it, with the same number */
  CHECK(stream != NULL && fileno(stream) == fd && lseek(fd, 6, SEEK_SET) == 6);
  CHECK(write(fd, "-", 1) == 1 && fclose(stream) == 0);
  local_holds("local+-");

  CHECK((fd = open(in("f"), O_WRONLY)) >= 0 && write(fd, "ABCDEFG", 7) == 7);
  CHECK(write(other, "1234567", 7) == 7 && dup2(other, fd) == fd && write(fd, "8", 1) == 1);
  HOLDS("f", "ABCDEFG");
  HOLDS("g", "12345678");

  /* A child moves the shared offset; this process does not believe its own memory of it. */
  pid_t child = fork();
  if (child == 0) {
    CHECK(write(fd, "child", 5) == 5);
    _exit(0);
  }
  ended_well(child);
  CHECK(write(fd, "!", 1) == 1);
  HOLDS("g", "12345678child!");
  CHECK(unlink(local) == 0);
}
