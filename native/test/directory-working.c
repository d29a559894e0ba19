/* chdir, fchdir, getcwd, and relative paths of all kinds from there. */
#include "check.h"

static void stands_in(const char *name) {
  char here[4096];
  CHECK(getcwd(here, sizeof here) == here && strcmp(here, in(name)) == 0);
}

static void test(void) {
  char small[4];
  CHECK(mkdir(in("d"), 0755) == 0 && mkdir(in("d/e"), 0755) == 0);
  CHECK(chdir(in("d")) == 0);
  stands_in("d");
  CHECK(close(open("f", O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(access(in("d/f"), F_OK) == 0 && access("../d/./f", F_OK) == 0);
  CHECK(chdir("e") == 0);
  stands_in("d/e");
  CHECK(rename("../f", "g") == 0 && access(in("d/e/g"), F_OK) == 0);
  FAILS(chdir("none"), ENOENT);
  FAILS(chdir("g"), ENOTDIR);
  CHECK(getcwd(small, sizeof small) == NULL);
  char *made = getcwd(NULL, 0);
  CHECK(made != NULL && strcmp(made, in("d/e")) == 0);
  free(made);
  made = get_current_dir_name();
  CHECK(made != NULL && strcmp(made, in("d/e")) == 0);
  free(made);
  int up = open("..", O_RDONLY | O_DIRECTORY);
  CHECK(up >= 0 && fchdir(up) == 0);
  stands_in("d");
  CHECK(mkdir("made", 0755) == 0 && access(in("d/made"), F_OK) == 0);
  pid_t child = fork();
  if (child == 0) {
    stands_in("d");
    CHECK(chdir("/") == 0 && access("etc/passwd", F_OK) == 0);
    _exit(0);
  }
  ended_well(child);
  stands_in("d");
  CHECK(chdir("/usr") == 0 && access("bin", X_OK) == 0 && access("made", F_OK) != 0);
  CHECK(fchdir(up) == 0 && access("made", F_OK) == 0);
}
