/* scandir with a filter and an order, scandirat, and getdents64 by hand. */
#include "check.h"
#include <dirent.h>

static int only_files(const struct dirent *entry) { return entry->d_type == DT_REG; }

static void test(void) {
  struct dirent **found;
  CHECK(mkdir(in("d"), 0755) == 0);
  CHECK(close(open(in("b"), O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(close(open(in("a"), O_WRONLY | O_CREAT, 0644)) == 0);
  CHECK(scandir(directory, &found, only_files, alphasort) == 2);
  CHECK(strcmp(found[0]->d_name, "a") == 0 && strcmp(found[1]->d_name, "b") == 0);
  free(found[0]);
  free(found[1]);
  free(found);
  int at = open(directory, O_RDONLY | O_DIRECTORY);
  CHECK(scandirat(at, "d", &found, NULL, NULL) == 2);
  CHECK(scandir(in("none"), &found, NULL, NULL) == -1 && errno == ENOENT);
  char buffer[80];
  int entries = 0;
  ssize_t got;
  while ((got = getdents64(at, buffer, sizeof buffer)) > 0)
    for (ssize_t i = 0; i < got; i += ((struct dirent64 *)(buffer + i))->d_reclen) entries++;
  CHECK(got == 0 && entries == 5);
  CHECK(lseek(at, 0, SEEK_SET) == 0 && getdents64(at, buffer, sizeof buffer) > 0);
  FAILS(getdents64(at, buffer, 3), EINVAL);
}
