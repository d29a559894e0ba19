/* What may not be done fails with the errno that Linux has for it. */
#include "check.h"

static void test(void) {
  char byte = 'x';
  int reader = open(in("f"), O_RDONLY | O_CREAT, 0644);
  int writer = open(in("f"), O_WRONLY);
  int folder = open(directory, O_RDONLY | O_DIRECTORY);
  int path = open(in("f"), O_PATH);
  CHECK(reader >= 0 && writer >= 0 && folder >= 0 && path >= 0);
  FAILS(write(reader, &byte, 1), EBADF);
  FAILS(pwrite(reader, &byte, 1, 0), EBADF);
  FAILS(read(writer, &byte, 1), EBADF);
  FAILS(pread(writer, &byte, 1, 0), EBADF);
  FAILS(read(folder, &byte, 1), EISDIR);
  FAILS(write(folder, &byte, 1), EBADF);
  FAILS(read(path, &byte, 1), EBADF);
  FAILS(lseek(path, 0, SEEK_CUR), EBADF);
  FAILS(pread(reader, &byte, 1, -1), EINVAL);
  FAILS(lseek(reader, -1, SEEK_SET), EINVAL);
  FAILS(lseek(reader, 0, 99), EINVAL);
  FAILS(ftruncate(reader, 0), EINVAL);
  FAILS(ftruncate(writer, -1), EINVAL);
  CHECK(close(reader) == 0);
  FAILS(read(reader, &byte, 1), EBADF);
  FAILS(close(reader), EBADF);
}
