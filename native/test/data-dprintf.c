/* dprintf and vdprintf, short and long. */
#include "check.h"

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(dprintf(fd, "%d %s\n", 42, "text") == 8);
  CHECK(lseek(fd, 0, SEEK_CUR) == 8);
  CHECK(dprintf(fd, "%05000d", 7) == 5000);
  CHECK(lseek(fd, 0, SEEK_END) == 5008);
  size_t size;
  char *all = content("f", &size);
  CHECK(size == 5008 && memcmp(all, "42 text\n0", 9) == 0 && all[5007] == '7');
}
