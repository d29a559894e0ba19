/* A program gets its standard streams, append and offset included. */
#include "check.h"

static void run(const char *file, int flags, int to, const char *script) {
  pid_t child = fork();
  if (child == 0) {
    int fd = open(in(file), flags, 0644);
    CHECK(fd >= 0 && dup2(fd, to) == to && (fd == to || close(fd) == 0));
    execlp("sh", "sh", "-c", script, NULL);
    _exit(127);
  }
  ended_well(child);
}

static void test(void) {
  run("f", O_WRONLY | O_CREAT | O_TRUNC, 1, "echo one; /bin/echo two; (echo three)");
  HOLDS("f", "one\ntwo\nthree\n");
  run("f", O_WRONLY | O_APPEND, 2, "echo four >&2; printf five >&2");
  HOLDS("f", "one\ntwo\nthree\nfour\nfive");
  run("f", O_RDONLY, 0, "read a; read b; test $a-$b = one-two && cat > /dev/null");
  run("f", O_RDWR, 5, "printf ONE >&5; read x <&5 && read y <&5 && test $y = two");
  HOLDS("f", "ONE\ntwo\nthree\nfour\nfive");
  int fd = open(in("f"), O_RDONLY | O_CLOEXEC);
  char command[64];
  snprintf(command, sizeof command, "test ! -e /proc/self/fd/%d", fd);
  CHECK(system(command) == 0);
}
