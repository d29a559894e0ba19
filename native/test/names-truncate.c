/* truncate by name, up and down. */
#include "check.h"

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  size_t size;
  CHECK(write(fd, "0123456789", 10) == 10);
  CHECK(truncate(in("f"), 4) == 0);
  HOLDS("f", "0123");
  CHECK(truncate64(in("f"), 6) == 0);
  CHECK(memcmp(content("f", &size), "0123\0\0", 6) == 0 && size == 6);
  FAILS(truncate(in("none"), 1), ENOENT);
  FAILS(truncate(in("f"), -1), EINVAL);
  FAILS(truncate(directory, 1), EISDIR);
  struct stat facts;
  CHECK(fstat(fd, &facts) == 0 && facts.st_size == 6);
}
