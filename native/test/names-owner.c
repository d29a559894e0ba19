/* Giving a file to oneself works; extended attributes are there or honestly not. */
#include "check.h"
#include <sys/xattr.h>

static void test(void) {
  char value[16];
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(fd >= 0);
  CHECK(chown(in("f"), getuid(), getgid()) == 0);
  CHECK(chown(in("f"), (uid_t)-1, (gid_t)-1) == 0);
  CHECK(lchown(in("f"), geteuid(), (gid_t)-1) == 0);
  CHECK(fchown(fd, getuid(), getegid()) == 0);
  CHECK(fchownat(AT_FDCWD, in("f"), getuid(), getgid(), AT_SYMLINK_NOFOLLOW) == 0);
  FAILS(chown(in("none"), getuid(), getgid()), ENOENT);
  if (strncmp(directory, "/kangaroo/", 10) != 0) return;
  FAILS(fchown(fd, 12345, (gid_t)-1), EPERM);
  FAILS(setxattr(in("f"), "user.a", "b", 1, 0), ENOTSUP);
  FAILS(fgetxattr(fd, "user.a", value, sizeof value), ENOTSUP);
  FAILS(llistxattr(in("f"), value, sizeof value), ENOTSUP);
}
