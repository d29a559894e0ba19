/* access and its relatives. */
#include "check.h"

static void test(void) {
  CHECK(close(open(in("f"), O_WRONLY | O_CREAT, 0644)) == 0);
  int folder = open(directory, O_RDONLY);
  CHECK(access(in("f"), F_OK) == 0 && access(in("f"), R_OK | W_OK) == 0);
  FAILS(access(in("f"), X_OK), EACCES);
  FAILS(access(in("absent"), F_OK), ENOENT);
  FAILS(access(in("f"), 99), EINVAL);
  CHECK(access(directory, R_OK | W_OK | X_OK) == 0);
  CHECK(faccessat(folder, "f", R_OK, 0) == 0 && eaccess(in("f"), R_OK) == 0);
  CHECK(euidaccess(in("f"), W_OK) == 0);
}
