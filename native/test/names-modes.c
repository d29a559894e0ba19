/* chmod and fchmod are seen by stat; creation modes are masked by the umask. */
#include "check.h"

static mode_t mode_of(const char *name) {
  struct stat facts;
  CHECK(stat(in(name), &facts) == 0);
  return facts.st_mode & 07777;
}

static void test(void) {
  mode_t before = umask(027);
  int fd = open(in("f"), O_RDWR | O_CREAT, 0666);
  CHECK(fd >= 0 && mode_of("f") == 0640);
  CHECK(mkdir(in("d"), 0777) == 0 && mode_of("d") == 0750);
  CHECK(umask(before) == 027);
  CHECK(chmod(in("f"), 0751) == 0 && mode_of("f") == 0751);
  CHECK(fchmod(fd, 0604) == 0 && mode_of("f") == 0604);
  CHECK(chmod(in("d"), 0711) == 0 && mode_of("d") == 0711);
  int at = open(in("d"), O_RDONLY | O_DIRECTORY);
  CHECK(at >= 0 && fchmod(at, 0755) == 0 && mode_of("d") == 0755);
  int top = open(directory, O_RDONLY | O_DIRECTORY);
  CHECK(fchmodat(top, "f", 0600, 0) == 0 && mode_of("f") == 0600);
  FAILS(chmod(in("none"), 0600), ENOENT);
}
