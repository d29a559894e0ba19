/* glob: stars in the last part and in the middle, marks, and from a working directory. */
#include "check.h"
#include <glob.h>

static void test(void) {
  glob_t found;
  CHECK(mkdir(in("d1"), 0755) == 0 && mkdir(in("d2"), 0755) == 0);
  CHECK(close(open(in("d1/a.txt"), O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(close(open(in("d2/b.txt"), O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(glob(in("*/*.txt"), 0, NULL, &found) == 0 && found.gl_pathc == 2);
  CHECK(strcmp(found.gl_pathv[0], in("d1/a.txt")) == 0);
  globfree(&found);
  CHECK(glob(in("d?"), GLOB_MARK, NULL, &found) == 0 && found.gl_pathc == 2);
  CHECK(strcmp(found.gl_pathv[1], in("d2/")) == 0);
  globfree(&found);
  CHECK(glob(in("*.none"), 0, NULL, &found) == GLOB_NOMATCH);
  CHECK(chdir(in("d1")) == 0 && glob("*.txt", 0, NULL, &found) == 0 && found.gl_pathc == 1);
  CHECK(strcmp(found.gl_pathv[0], "a.txt") == 0);
  globfree(&found);
  CHECK(glob("/etc/pass*d", 0, NULL, &found) == 0 && found.gl_pathc == 1);
}
