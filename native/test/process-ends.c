/* What was written is there, whichever way a process ends. */
#include "check.h"
#include <signal.h>

static void put(const char *name) {
  int fd = open(in(name), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, name, strlen(name)) == (ssize_t)strlen(name));
}

static void test(void) {
  int status;
  static const char *const names[] = {"_exit", "quick_exit", "abort", "kill", "exit", "_Fork"};
  for (int i = 0; i < 6; i++) {
    pid_t child = i == 5 ? _Fork() : fork();
    if (child == 0) {
      put(names[i]);
      if (i == 0 || i == 5) _exit(0);
      if (i == 1) quick_exit(0);
      if (i == 2) abort();
      if (i == 3) kill(getpid(), SIGKILL);
      exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    HOLDS(names[i], names[i]);
  }
}
