/*
 * For the small programs of this directory: each shows one behaviour of POSIX in the directory that
 * is its argument, and ends with 1 and a line that says what was otherwise. They are run on a local
 * directory first, so that nothing is expected of Kangaroo that Linux does not do.
 */
#ifndef KANGAROO_TEST_CHECK_H
#define KANGAROO_TEST_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                        \
  do {                                                                                          \
    errno = 0;                                                                                  \
    if (!(condition)) {                                                                         \
      fprintf(stderr, "%s:%d: not %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
      _exit(1);                                                                                 \
    }                                                                                           \
  } while (0)
/* The call fails with this errno. */
#define FAILS(call, problem)                                                                \
  do {                                                                                      \
    errno = 0;                                                                              \
    long result_ = (long)(call);                                                            \
    if (result_ != -1 || errno != (problem)) {                                              \
      fprintf(stderr, "%s:%d: %s is %ld, %s; not %s\n", __FILE__, __LINE__, #call, result_, \
              strerror(errno), strerror(problem));                                          \
      _exit(1);                                                                             \
    }                                                                                       \
  } while (0)

static char *directory;

/* Path of a file of the test; four may be in use. */
__attribute__((unused)) static const char *in(const char *name) {
  static char paths[4][4096];
  static int turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

/* What a file holds now, read by a descriptor of its own; the last byte is followed by a NUL. */
__attribute__((unused)) static char *content(const char *name, size_t *size) {
  static char bytes[1 << 20];
  int fd = open(in(name), O_RDONLY);
  CHECK(fd >= 0);
  ssize_t got = 0, part;
  while ((part = read(fd, bytes + got, sizeof bytes - 1 - (size_t)got)) > 0) got += part;
  CHECK(part == 0);
  CHECK(close(fd) == 0);
  bytes[got] = 0;
  if (size != NULL) *size = (size_t)got;
  return bytes;
}
#define HOLDS(name, text) CHECK(strcmp(content(name, NULL), text) == 0)

/* Waits for a child that must end well. */
__attribute__((unused)) static void ended_well(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test(void);

int main(int count, char **words) {
  (void)count;
  directory = words[1];
  test();
  return 0;
}

#endif
