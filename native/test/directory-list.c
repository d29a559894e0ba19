/* Streams of a directory: every entry once, with its kind and inode, and positions in it. */
#include "check.h"
#include <dirent.h>

enum { FILES = 300 };

static int count_of(DIR *stream, bool *seen) {
  struct dirent *entry;
  int count = 0;
  errno = 0;
  while ((entry = readdir(stream)) != NULL) {
    int number;
    count++;
    CHECK(entry->d_ino != 0);
    if (sscanf(entry->d_name, "f%d", &number) == 1) {
      CHECK(entry->d_type == DT_REG && !seen[number]);
      seen[number] = true;
    } else if (strcmp(entry->d_name, "d") == 0) {
      CHECK(entry->d_type == DT_DIR);
    } else {
      CHECK(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    }
  }
  CHECK(errno == 0);
  return count;
}

static void test(void) {
  char name[300];
  bool seen[FILES] = {false}, again[FILES] = {false};
  for (int i = 0; i < FILES; i++) {
    snprintf(name, sizeof name, "f%d", i);
    CHECK(close(open(in(name), O_WRONLY | O_CREAT, 0644)) == 0);
  }
  CHECK(mkdir(in("d"), 0755) == 0);
  DIR *stream = opendir(directory);
  CHECK(stream != NULL && dirfd(stream) >= 0);
  CHECK(count_of(stream, seen) == FILES + 3);
  for (int i = 0; i < FILES; i++) CHECK(seen[i]);
  rewinddir(stream);
  CHECK(count_of(stream, again) == FILES + 3);
  rewinddir(stream);
  for (int i = 0; i < 100; i++) CHECK(readdir(stream) != NULL);
  long place = telldir(stream);
  struct dirent *entry = readdir(stream);
  CHECK(entry != NULL);
  snprintf(name, sizeof name, "%s", entry->d_name);
  for (int i = 0; i < 50; i++) CHECK(readdir(stream) != NULL);
  seekdir(stream, place);
  CHECK(strcmp(readdir(stream)->d_name, name) == 0);
  struct stat facts;
  CHECK(fstatat(dirfd(stream), "f7", &facts, 0) == 0 && S_ISREG(facts.st_mode));
  CHECK(closedir(stream) == 0);
  CHECK(opendir(in("none")) == NULL && errno == ENOENT);
  CHECK(opendir(in("f1")) == NULL && errno == ENOTDIR);
  int fd = open(in("f1"), O_RDONLY);
  CHECK(fdopendir(fd) == NULL && errno == ENOTDIR);
  fd = open(in("d"), O_RDONLY);
  stream = fdopendir(fd);
  CHECK(stream != NULL && dirfd(stream) == fd && count_of(stream, seen) == 2);
  CHECK(closedir(stream) == 0);
  FAILS(close(fd), EBADF);
}
