/* A new program starts where its parent stood; a vfork child's chdir is its own. */
#include "check.h"
#include <spawn.h>

extern char **environ;

static void expect(const char *name, const char *text) {
  char wanted[4200];
  snprintf(wanted, sizeof wanted, "%s\n", text);
  HOLDS(name, wanted);
}

static void test(void) {
  CHECK(mkdir(in("d"), 0755) == 0 && mkdir(in("d/e"), 0755) == 0);
  CHECK(chdir(in("d")) == 0);
  CHECK(system("/bin/pwd > said") == 0);
  expect("d/said", in("d"));
  char line[4200];
  FILE *stream = popen("/bin/pwd", "r");
  CHECK(stream != NULL && fgets(line, sizeof line, stream) != NULL && pclose(stream) == 0);
  CHECK(strncmp(line, in("d"), strlen(in("d"))) == 0);
  pid_t child = vfork();
  if (child == 0) {
    if (chdir("e") != 0) _exit(9);
    execl("/bin/sh", "sh", "-c", "/bin/pwd > said", NULL);
    _exit(127);
  }
  ended_well(child);
  expect("d/e/said", in("d/e"));
  char here[4096];
  CHECK(getcwd(here, sizeof here) != NULL && strcmp(here, in("d")) == 0);
  child = vfork();
  if (child == 0) {
    if (chdir("/") != 0) _exit(9);
    execl("/bin/sh", "sh", "-c", "test \"$(/bin/pwd)\" = /", NULL);
    _exit(127);
  }
  ended_well(child);
  CHECK(getcwd(here, sizeof here) != NULL && strcmp(here, in("d")) == 0);
  posix_spawn_file_actions_t actions;
  char *words[] = {"pwd", NULL};
  CHECK(posix_spawn_file_actions_init(&actions) == 0);
  CHECK(posix_spawn_file_actions_addchdir_np(&actions, in("d/e")) == 0);
  int flags = O_WRONLY | O_CREAT;
  CHECK(posix_spawn_file_actions_addopen(&actions, 1, in("spawned"), flags, 0644) == 0);
  CHECK(posix_spawn(&child, "/bin/pwd", &actions, NULL, words, environ) == 0);
  ended_well(child);
  CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
  expect("spawned", in("d/e"));
}
