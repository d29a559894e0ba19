/* Longer and shorter, by truncating and by allocating. */
#include "check.h"

static off_t size_of(int fd) {
  struct stat st;
  CHECK(fstat(fd, &st) == 0);
  return st.st_size;
}

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  char bytes[8];
  CHECK(write(fd, "0123456789", 10) == 10);
  CHECK(ftruncate(fd, 4) == 0 && size_of(fd) == 4 && lseek(fd, 0, SEEK_CUR) == 10);
  CHECK(ftruncate(fd, 8) == 0 && pread(fd, bytes, 8, 0) == 8 &&
        memcmp(bytes, "0123\0\0\0\0", 8) == 0);
  CHECK(write(fd, "x", 1) == 1 && size_of(fd) == 11);
  CHECK(posix_fallocate(fd, 0, 5) == 0 && size_of(fd) == 11);
  CHECK(posix_fallocate(fd, 10, 10) == 0 && size_of(fd) == 20);
  CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100) == 0 && size_of(fd) == 20);
  CHECK(fallocate(fd, 0, 0, 30) == 0 && size_of(fd) == 30);
  FAILS(fallocate(fd, 0, -1, 3), EINVAL);
  CHECK(posix_fallocate(fd, 0, 0) == EINVAL);
  CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL) == 0 &&
        posix_fadvise(fd, 0, 0, 99) == EINVAL);
  CHECK(readahead(fd, 0, 10) == 0 && sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0);
  CHECK(fsync(fd) == 0 && fdatasync(fd) == 0 && syncfs(fd) == 0);
}
