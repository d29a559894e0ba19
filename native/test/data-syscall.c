/* syscall(2) knows what the named calls know. */
#include "check.h"
#include <sys/syscall.h>

static void test(void) {
  char bytes[8];
  struct stat st;
  struct statx facts;
  long fd = syscall(SYS_openat, AT_FDCWD, in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(fd >= 0);
  CHECK(syscall(SYS_write, fd, "abc", 3) == 3);
  CHECK(syscall(SYS_lseek, fd, 1, SEEK_SET) == 1);
  CHECK(syscall(SYS_read, fd, bytes, 8) == 2 && memcmp(bytes, "bc", 2) == 0);
  CHECK(syscall(SYS_pread64, fd, bytes, 1, 0) == 1 && bytes[0] == 'a');
  CHECK(syscall(SYS_pwrite64, fd, "Z", 1, 2) == 1);
  CHECK(syscall(SYS_fstat, fd, &st) == 0 && st.st_size == 3);
  CHECK(syscall(SYS_statx, AT_FDCWD, in("f"), 0, STATX_SIZE, &facts) == 0 && facts.stx_size == 3);
  CHECK(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE, &facts) == 0 && facts.stx_size == 3);
  long copy = syscall(SYS_dup, fd);
  CHECK(copy > fd && syscall(SYS_write, copy, "!", 1) == 1);
  CHECK(syscall(SYS_fcntl, fd, F_GETFL) >= 0);
  CHECK((syscall(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) == O_RDWR);
  CHECK(syscall(SYS_close, copy) == 0 && syscall(SYS_close, fd) == 0);
  HOLDS("f", "abZ!");
#ifdef SYS_openat2
  uint64_t how[3] = {O_RDONLY, 0, 0};
  fd = syscall(SYS_openat2, AT_FDCWD, in("f"), how, sizeof how);
  CHECK(fd >= 0 || errno == ENOSYS);
  if (fd >= 0) CHECK(read((int)fd, bytes, 8) == 4);
#endif
  errno = 0;
  CHECK(syscall(SYS_read, fd + 100, bytes, 1) == -1 && errno == EBADF);
}
