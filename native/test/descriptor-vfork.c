/* A vfork child that moves descriptors leaves its parent's alone. */
#include "check.h"
#include <spawn.h>

extern char **environ;

static void test(void) {
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644), other = open(in("g"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "a", 1) == 1);
  pid_t child = vfork();
  if (child == 0) {
    dup2(other, fd);
    dup2(fd, 1);
    close(other);
    write(1, "child ", 6);
    execlp("echo", "echo", "here", NULL);
    _exit(127);
  }
  ended_well(child);
  CHECK(write(fd, "b", 1) == 1 && write(other, "c", 1) == 1);
  posix_spawn_file_actions_t actions;
  char *words[] = {"echo", "spawned", NULL};
  CHECK(posix_spawn_file_actions_init(&actions) == 0);
  CHECK(posix_spawn_file_actions_adddup2(&actions, fd, 1) == 0);
  CHECK(posix_spawnp(&child, "echo", &actions, NULL, words, environ) == 0);
  ended_well(child);
  HOLDS("f", "abspawned\n");
  HOLDS("g", "child here\nc");
}
