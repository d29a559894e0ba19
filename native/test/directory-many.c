/* More entries than one page of an answer has. */
#include "check.h"
#include <dirent.h>

enum { FILES = 800 };

static void test(void) {
  char name[64];
  int seen = 0;
  for (int i = 0; i < FILES; i++) {
    snprintf(name, sizeof name, "a-name-that-takes-some-room-%d", i);
    CHECK(mkdir(in(name), 0755) == 0);
  }
  DIR *stream = opendir(directory);
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) seen++;
  CHECK(seen == FILES + 2);
  rewinddir(stream);
  /* Removing while reading: each is seen once. */
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
    if (entry->d_name[0] != '.') CHECK(rmdir(in(entry->d_name)) == 0);
  CHECK(closedir(stream) == 0);
}
