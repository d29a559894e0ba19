/* Links and nodes: made on a local disk, refused with EPERM by Kangaroo; readlink says EINVAL. */
#include "check.h"

static bool is_ours(void) { return strncmp(directory, "/kangaroo/", 10) == 0; }

#define MADE_OR_REFUSED(call) \
  do {                        \
    if (is_ours())            \
      FAILS(call, EPERM);     \
    else                      \
      CHECK((call) == 0);     \
  } while (0)

static void test(void) {
  char name[4096], link_name[64];
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644);
  CHECK(fd >= 0);
  MADE_OR_REFUSED(link(in("f"), in("l")));
  MADE_OR_REFUSED(symlink("f", in("s")));
  MADE_OR_REFUSED(mkfifo(in("p"), 0644));
  if (is_ours()) FAILS(link("/etc/passwd", in("x")), EXDEV);
  FAILS(readlink(in("f"), name, sizeof name), EINVAL);
  FAILS(readlink(in("none"), name, sizeof name), ENOENT);
  snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", fd);
  ssize_t got = readlink(link_name, name, sizeof name - 1);
  CHECK(got > 0);
  name[got] = 0;
  CHECK(strcmp(name, in("f")) == 0);
}
