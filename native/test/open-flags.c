/* What the flags of open do, and how they fail. */
#include "check.h"

static void test(void) {
  struct stat st;
  umask(027);
  FAILS(open(in("f"), O_RDONLY), ENOENT);
  int fd = open(in("f"), O_WRONLY | O_CREAT | O_EXCL, 0666);
  CHECK(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0640);
  FAILS(open(in("f"), O_WRONLY | O_CREAT | O_EXCL, 0666), EEXIST);
  CHECK(write(fd, "text", 4) == 4 && close(fd) == 0);
  CHECK((fd = open(in("f"), O_WRONLY | O_CREAT, 0600)) >= 0 && fstat(fd, &st) == 0 &&
        st.st_size == 4);
  CHECK(close(fd) == 0 && (fd = creat(in("f"), 0644)) >= 0 && fstat(fd, &st) == 0 &&
        st.st_size == 0);
  FAILS(open(in("f"), O_RDONLY | O_DIRECTORY), ENOTDIR);
  FAILS(open(directory, O_WRONLY), EISDIR);
  FAILS(open(in("f/x"), O_WRONLY | O_CREAT, 0644), ENOTDIR);
  FAILS(open(in("no/x"), O_WRONLY | O_CREAT, 0644), ENOENT);
  int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(folder >= 0 && fcntl(folder, F_GETFD) == FD_CLOEXEC);
  CHECK((fd = openat(folder, "g", O_RDWR | O_CREAT, 0644)) >= 0 && write(fd, "g", 1) == 1);
  CHECK((fd = openat(folder, "./g", O_RDONLY | O_NOFOLLOW)) >= 0);
  HOLDS("g", "g");
  FAILS(openat(fd, "x", O_RDONLY), ENOTDIR);
  FAILS(openat(fd + 100, "x", O_RDONLY), EBADF);
  int path = open(in("g"), O_PATH);
  CHECK(path >= 0 && fstat(path, &st) == 0 && st.st_size == 1);
}
