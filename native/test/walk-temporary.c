/* mkstemp and its family make files of their own, with mode 0600. */
#include "check.h"

static void test(void) {
  char name[4096], other[4096];
  struct stat facts;
  strcpy(name, in("tXXXXXX"));
  int fd = mkstemp(name);
  CHECK(fd >= 0 && stat(name, &facts) == 0 && (facts.st_mode & 0777) == 0600);
  CHECK(write(fd, "x", 1) == 1 && lseek(fd, 0, SEEK_SET) == 0);
  strcpy(other, in("tXXXXXX"));
  CHECK(mkostemp(other, O_CLOEXEC | O_APPEND) >= 0 && strcmp(name, other) != 0);
  strcpy(other, in("tXXXXXX.end"));
  CHECK(mkstemps(other, 4) >= 0 && strcmp(other + strlen(other) - 4, ".end") == 0);
  strcpy(other, in("dXXXXXX"));
  CHECK(mkdtemp(other) == other && stat(other, &facts) == 0 && S_ISDIR(facts.st_mode));
  CHECK((facts.st_mode & 0777) == 0700);
  strcpy(other, in("tXXXX"));
  FAILS(mkstemp(other), EINVAL);
}
