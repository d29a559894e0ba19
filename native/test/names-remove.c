/* mkdir, unlink, rmdir and remove, by path and by directory descriptor, with their errors. */
#include "check.h"

static void test(void) {
  CHECK(mkdir(in("d"), 0755) == 0);
  FAILS(mkdir(in("d"), 0755), EEXIST);
  FAILS(mkdir(in("no/d"), 0755), ENOENT);
  int at = open(in("d"), O_RDONLY | O_DIRECTORY);
  CHECK(at >= 0 && mkdirat(at, "sub", 0755) == 0);
  CHECK(close(openat(at, "f", O_WRONLY | O_CREAT, 0644)) == 0);
  FAILS(mkdirat(at, "f/g", 0755), ENOTDIR);
  FAILS(rmdir(in("d")), ENOTEMPTY);
  FAILS(rmdir(in("d/f")), ENOTDIR);
  FAILS(unlink(in("d/sub")), EISDIR);
  FAILS(unlinkat(at, "none", 0), ENOENT);
  CHECK(unlinkat(at, "f", 0) == 0);
  CHECK(unlinkat(at, "sub", AT_REMOVEDIR) == 0);
  CHECK(close(open(in("g"), O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(remove(in("g")) == 0 && remove(in("d")) == 0);
  FAILS(remove(in("d")), ENOENT);
  FAILS(access(in("d"), F_OK), ENOENT);
  CHECK(close(at) == 0);
}
