/* The stat family agrees with itself. */
#include "check.h"
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>

static void test(void) {
  struct stat a, b, c, d;
  struct statx x;
  struct statfs fs;
  struct statvfs vfs;
  int fd = open(in("f"), O_RDWR | O_CREAT, 0640), folder = open(directory, O_RDONLY);
  time_t now = time(NULL);
  CHECK(write(fd, "12345", 5) == 5);
  CHECK(fstat(fd, &a) == 0 && stat(in("f"), &b) == 0 && lstat(in("f"), &c) == 0);
  CHECK(fstatat(folder, "f", &d, 0) == 0);
  CHECK(S_ISREG(a.st_mode) && a.st_size == 5 && a.st_nlink == 1 && a.st_uid == geteuid());
  CHECK((a.st_mode & 0777) == 0640);
  CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev && b.st_size == 5 && b.st_mode == a.st_mode);
  CHECK(c.st_ino == a.st_ino && d.st_ino == a.st_ino && d.st_size == 5);
  CHECK(a.st_mtime >= now - 2 && a.st_mtime <= now + 2 && b.st_mtime == a.st_mtime);
  CHECK(fstatat(fd, "", &d, AT_EMPTY_PATH) == 0 && d.st_ino == a.st_ino);
  CHECK(statx(folder, "f", 0, STATX_BASIC_STATS, &x) == 0 && x.stx_ino == a.st_ino &&
        x.stx_size == 5);
  CHECK(fstat(folder, &d) == 0 && S_ISDIR(d.st_mode) && stat(directory, &c) == 0 &&
        c.st_ino == d.st_ino);
  CHECK(c.st_dev == a.st_dev && c.st_ino != a.st_ino);
  FAILS(stat(in("absent"), &d), ENOENT);
  /* Linux knows that "f" is no directory; a destination that is asked for a name below may not. */
  CHECK(stat(in("f/below"), &d) == -1 && (errno == ENOTDIR || errno == ENOENT));
  FAILS(fstat(fd + 100, &d), EBADF);
  CHECK(statfs(directory, &fs) == 0 && fs.f_bsize > 0 && fstatfs(fd, &fs) == 0 &&
        fs.f_namelen == 255);
  CHECK(statvfs(directory, &vfs) == 0 && vfs.f_bavail > 0 && fstatvfs(fd, &vfs) == 0);
  CHECK(pathconf(directory, _PC_NAME_MAX) == 255 && fpathconf(fd, _PC_NAME_MAX) == 255);
}
