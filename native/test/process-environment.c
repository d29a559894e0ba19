/* A child with an empty or changed environment still sees the directory. */
#include "check.h"
#include <spawn.h>

static void test(void) {
  char command[8400];
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "there\n", 6) == 6 && close(fd) == 0);
  char *none[] = {NULL}, *some[] = {"LD_PRELOAD=", "A=b", NULL};
  snprintf(command, sizeof command, "read x < %s; test \"$x\" = there", in("f"));
  char *words[] = {"sh", "-c", command, NULL};
  pid_t child = fork();
  if (child == 0) _exit(execve("/bin/sh", words, none) + 100);
  ended_well(child);
  child = vfork();
  if (child == 0) {
    execvpe("sh", words, some);
    _exit(99);
  }
  ended_well(child);
  CHECK(posix_spawn(&child, "/bin/sh", NULL, NULL, words, none) == 0);
  ended_well(child);
  CHECK(posix_spawnp(&child, "sh", NULL, NULL, words, some) == 0);
  ended_well(child);
  CHECK(clearenv() == 0);
  CHECK(system(command) == 0);
  FILE *stream = popen(command, "r");
  CHECK(stream != NULL && pclose(stream) == 0);
}
