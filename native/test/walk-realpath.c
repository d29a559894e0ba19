/* realpath of names with dots, from a working directory, and of what is not there. */
#include "check.h"
#include <limits.h>

static void test(void) {
  char text[PATH_MAX];
  CHECK(mkdir(in("d"), 0755) == 0 && close(open(in("d/f"), O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(realpath(in("d/.././d//f"), text) == text && strcmp(text, in("d/f")) == 0);
  char *made = realpath(in("d"), NULL);
  CHECK(made != NULL && strcmp(made, in("d")) == 0);
  free(made);
  made = canonicalize_file_name(in("d/f"));
  CHECK(made != NULL && strcmp(made, in("d/f")) == 0);
  CHECK(realpath(in("none"), text) == NULL && errno == ENOENT);
  CHECK(chdir(in("d")) == 0 && realpath("f", text) == text && strcmp(text, in("d/f")) == 0);
  CHECK(realpath("/usr/../usr", text) == text && strcmp(text, "/usr") == 0);
}
