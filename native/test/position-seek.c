/* Where lseek goes, and that it is one run of data. */
#include "check.h"

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(write(fd, "0123456789", 10) == 10);
  CHECK(lseek(fd, -3, SEEK_END) == 7 && lseek(fd, -2, SEEK_CUR) == 5 &&
        lseek(fd, 0, SEEK_CUR) == 5);
  CHECK(lseek(fd, 100, SEEK_END) == 110);
  FAILS(lseek(fd, -11, SEEK_END), EINVAL);
  CHECK(lseek(fd, 0, SEEK_CUR) == 110);
  CHECK(lseek(fd, 3, SEEK_DATA) == 3 && lseek(fd, 3, SEEK_HOLE) == 10);
  FAILS(lseek(fd, 10, SEEK_DATA), ENXIO);
  FAILS(lseek(fd, 10, SEEK_HOLE), ENXIO);
  off_t far = (off_t)5 << 30;
  CHECK(lseek(fd, far, SEEK_SET) == far && write(fd, "z", 1) == 1);
  struct stat st;
  CHECK(fstat(fd, &st) == 0 && st.st_size == far + 1);
  char byte;
  CHECK(pread(fd, &byte, 1, far) == 1 && byte == 'z' && pread(fd, &byte, 1, far - 1) == 1 &&
        byte == 0);
}
