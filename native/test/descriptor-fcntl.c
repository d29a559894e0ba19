/* Status flags, and what belongs to other kinds of files. */
#include "check.h"
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644), reader = open(in("f"), O_RDONLY);
  int appender = open(in("f"), O_WRONLY | O_APPEND), left;
  CHECK((fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND)) == O_RDWR);
  CHECK((fcntl(reader, F_GETFL) & (O_ACCMODE | O_APPEND)) == O_RDONLY);
  CHECK((fcntl(appender, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND));
  int copy = dup(fd);
  CHECK(write(fd, "12345", 5) == 5 && lseek(fd, 0, SEEK_SET) == 0);
  CHECK(fcntl(copy, F_SETFL, O_APPEND) == 0 && (fcntl(fd, F_GETFL) & O_APPEND) != 0);
  CHECK(write(fd, "6", 1) == 1);
  HOLDS("f", "123456");
  CHECK(fcntl(fd, F_SETFL, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0 && write(copy, "0", 1) == 1);
  HOLDS("f", "023456");
  CHECK(ioctl(fd, FIONREAD, &left) == 0 && left == 5);
  CHECK(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
  CHECK(ioctl(fd, FIONCLEX) == 0 && fcntl(fd, F_GETFD) == 0);
  CHECK(!isatty(fd) && errno == ENOTTY);
  CHECK(ttyname(fd) == NULL);
  FAILS(fcntl(fd, F_GETFL + 10000), EINVAL);
  FAILS(fcntl(fd + 100, F_GETFL), EBADF);
}
