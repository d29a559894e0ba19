/* rename replaces, moves directories, and refuses what POSIX says it refuses. */
#include "check.h"

static void test(void) {
  int fd = open(in("a"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "first", 5) == 5);
  CHECK(rename(in("a"), in("b")) == 0);
  FAILS(access(in("a"), F_OK), ENOENT);
  CHECK(write(fd, "+", 1) == 1 && close(fd) == 0);
  HOLDS("b", "first+");
  fd = open(in("c"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "other", 5) == 5 && close(fd) == 0);
  FAILS(renameat2(AT_FDCWD, in("c"), AT_FDCWD, in("b"), RENAME_NOREPLACE), EEXIST);
  CHECK(rename(in("c"), in("b")) == 0);
  HOLDS("b", "other");
  FAILS(rename(in("nothing"), in("b")), ENOENT);
  CHECK(mkdir(in("d"), 0755) == 0 && mkdir(in("d/e"), 0755) == 0);
  CHECK(rename(in("b"), in("d/e/b")) == 0);
  CHECK(rename(in("d"), in("moved")) == 0);
  HOLDS("moved/e/b", "other");
  CHECK(mkdir(in("full"), 0755) == 0);
  CHECK(close(open(in("full/x"), O_WRONLY | O_CREAT, 0644)) == 0);
  FAILS(rename(in("moved"), in("full")), ENOTEMPTY);
  FAILS(rename(in("moved"), in("full/x")), ENOTDIR);
  FAILS(rename(in("full/x"), in("moved")), EISDIR);
  FAILS(rename(in("moved"), in("moved/e/below")), EINVAL);
  int at = open(in("moved"), O_RDONLY | O_DIRECTORY);
  CHECK(at >= 0 && renameat(at, "e/b", at, "b2") == 0 && close(at) == 0);
  HOLDS("moved/b2", "other");
}
