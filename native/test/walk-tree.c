/* nftw and ftw over a small tree, in both orders, and stopped by the visitor. */
#include "check.h"
#include <ftw.h>

static char order[256];

static int note(const char *path, const struct stat *facts, int kind, struct FTW *where) {
  (void)facts;
  char line[64];
  snprintf(line, sizeof line, "%s:%d:%d ", path + where->base, kind, where->level);
  if (strlen(path) > strlen(directory)) strcat(order, line);
  return 0;
}

static int files;
static int count(const char *path, const struct stat *facts, int kind) {
  (void)path;
  if (kind == FTW_F) CHECK(S_ISREG(facts->st_mode) && facts->st_size == 3);
  files += kind == FTW_F;
  return 0;
}

static int stop(const char *path, const struct stat *facts, int kind, struct FTW *where) {
  (void)path, (void)facts, (void)where;
  return kind == FTW_F ? 42 : 0;
}

/* Where the visitor stands, relative to `directory`, and that the last component leads there. */
static int stand(const char *path, const struct stat *facts, int kind, struct FTW *where) {
  char line[64], now[4096];
  struct stat again;
  size_t length = strlen(directory);
  CHECK(getcwd(now, sizeof now) == now);
  if (strlen(path) <= length) return 0; /* the directory itself */
  CHECK(strncmp(now, directory, length) == 0);
  if (kind != FTW_DP) CHECK(stat(path + where->base, &again) == 0);
  if (kind != FTW_DP) CHECK(again.st_ino == facts->st_ino);
  snprintf(line, sizeof line, "%s:%d@%s ", path + where->base, kind, now + length);
  strcat(order, line);
  return 0;
}

static void moves(int flags, const char *wanted) {
  char before[4096], after[4096];
  CHECK(getcwd(before, sizeof before) == before);
  order[0] = 0;
  CHECK(nftw(directory, stand, 8, FTW_PHYS | FTW_CHDIR | flags) == 0);
  CHECK(strcmp(order, wanted) == 0);
  CHECK(getcwd(after, sizeof after) == after && strcmp(before, after) == 0);
}

static void test(void) {
  CHECK(mkdir(in("d"), 0755) == 0);
  int fd = open(in("d/f"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "abc", 3) == 3 && close(fd) == 0);
  CHECK(nftw(directory, note, 8, FTW_PHYS) == 0);
  CHECK(strcmp(order, "d:1:1 f:0:2 ") == 0);
  order[0] = 0;
  CHECK(nftw(directory, note, 8, FTW_PHYS | FTW_DEPTH) == 0);
  CHECK(strcmp(order, "f:0:2 d:5:1 ") == 0);
  CHECK(ftw(directory, count, 8) == 0 && files == 1);
  CHECK(nftw(directory, stop, 8, FTW_PHYS) == 42);
  CHECK(nftw(in("none"), stop, 8, FTW_PHYS) == -1);

  moves(0, "d:1@ f:0@/d ");
  moves(FTW_DEPTH, "f:0@/d d:5@/d ");
  CHECK(chdir(in("d")) == 0);
  moves(0, "d:1@ f:0@/d ");
  CHECK(nftw(".", stop, 8, FTW_PHYS | FTW_CHDIR) == 42 && access("f", R_OK) == 0);
  CHECK(chdir("..") == 0 && nftw("d/f", stop, 8, FTW_CHDIR) == 42 && access("d/f", R_OK) == 0);
}
