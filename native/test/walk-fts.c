/* fts(3): orders, what is told of an entry, children, instructions. */
#include "check.h"
#include <fts.h>

static char seen[1024];

static int by_name(const FTSENT **a, const FTSENT **b) {
  return strcmp((*a)->fts_name, (*b)->fts_name);
}

static FTS *start(int options) {
  char *roots[] = {directory, NULL};
  FTS *tree = fts_open(roots, options, by_name);
  CHECK(tree != NULL);
  seen[0] = 0;
  return tree;
}

static void note(const FTSENT *entry) {
  char line[64];
  snprintf(line, sizeof line, "%s:%d:%d ", entry->fts_level ? entry->fts_name : "ROOT",
           entry->fts_info, entry->fts_level);
  strcat(seen, line);
}

static void whole(int options, const char *wanted) {
  FTS *tree = start(options);
  FTSENT *entry;
  struct stat facts;
  while ((entry = fts_read(tree)) != NULL) {
    note(entry);
    CHECK(strncmp(entry->fts_path, directory, strlen(directory)) == 0);
    CHECK(strlen(entry->fts_path) == entry->fts_pathlen);
    CHECK(strlen(entry->fts_name) == entry->fts_namelen);
    if (entry->fts_info == FTS_F)
      CHECK(stat(entry->fts_accpath, &facts) == 0 && facts.st_ino == entry->fts_statp->st_ino &&
            entry->fts_statp->st_size == 3 && strcmp(entry->fts_parent->fts_name, "d") == 0);
  }
  CHECK(errno == 0 && fts_close(tree) == 0);
  if (strcmp(seen, wanted) != 0) fprintf(stderr, "%s\n", seen);
  CHECK(strcmp(seen, wanted) == 0);
}

static void test(void) {
  char absent[4096];
  CHECK(mkdir(in("d"), 0755) == 0 && mkdir(in("e"), 0755) == 0 && mkdir(in("d/x"), 0755) == 0);
  int fd = open(in("d/f"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(fd, "abc", 3) == 3 && close(fd) == 0);
  const char *all = "ROOT:1:0 d:1:1 f:8:2 x:1:2 x:6:2 d:6:1 e:1:1 e:6:1 ROOT:6:0 ";
  whole(FTS_PHYSICAL | FTS_NOCHDIR, all);
  whole(FTS_LOGICAL, all);
  whole(FTS_PHYSICAL | FTS_XDEV | FTS_COMFOLLOW, all);
  whole(FTS_PHYSICAL | FTS_SEEDOT | FTS_NOCHDIR,
        "ROOT:1:0 .:5:1 ..:5:1 d:1:1 .:5:2 ..:5:2 f:8:2 x:1:2 .:5:3 ..:5:3 x:6:2 d:6:1 "
        "e:1:1 .:5:2 ..:5:2 e:6:1 ROOT:6:0 ");

  FTS *tree = start(FTS_PHYSICAL | FTS_NOCHDIR);
  FTSENT *entry = fts_children(tree, 0);
  CHECK(entry != NULL && entry->fts_level == 0 && entry->fts_link == NULL);
  CHECK((entry = fts_read(tree)) != NULL && entry->fts_info == FTS_D);
  entry = fts_children(tree, 0);
  CHECK(entry != NULL && strcmp(entry->fts_name, "d") == 0 && entry->fts_info == FTS_D);
  CHECK(fts_set(tree, entry, FTS_SKIP) == 0);
  CHECK(fts_set(tree, entry->fts_link, FTS_SKIP) == 0);
  CHECK(fts_read(tree) == entry && entry->fts_info == FTS_D);
  CHECK(fts_read(tree) == entry && entry->fts_info == FTS_DP);
  CHECK((entry = fts_read(tree)) != NULL && entry->fts_level == 0 && entry->fts_info == FTS_DP);
  CHECK(fts_set(tree, entry, FTS_AGAIN) == 0 && fts_read(tree) == entry);
  CHECK(entry->fts_info == FTS_D && fts_set(tree, entry, FTS_SKIP) == 0);
  CHECK(fts_read(tree) == entry && entry->fts_info == FTS_DP);
  CHECK(fts_children(tree, 0) == NULL && errno == 0);
  CHECK(fts_read(tree) == NULL && errno == 0 && fts_close(tree) == 0);

  tree = start(FTS_PHYSICAL | FTS_NOCHDIR);
  CHECK(fts_read(tree) != NULL && (entry = fts_children(tree, FTS_NAMEONLY)) != NULL);
  CHECK(strcmp(entry->fts_name, "d") == 0 && strcmp(entry->fts_link->fts_name, "e") == 0);
  CHECK((entry = fts_read(tree)) != NULL && entry->fts_info == FTS_D && fts_close(tree) == 0);

  /* Left in the middle, and a root that is not there. */
  tree = start(FTS_PHYSICAL);
  for (int i = 0; i < 3; i++) CHECK(fts_read(tree) != NULL);
  CHECK(fts_close(tree) == 0);
  strcpy(absent, in("absent"));
  char *roots[] = {absent, directory, NULL}, *none[] = {directory, "", NULL};
  CHECK((tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL)) != NULL);
  CHECK((entry = fts_read(tree)) != NULL && entry->fts_info == FTS_NS);
  CHECK(entry->fts_errno == ENOENT && strcmp(entry->fts_name, "absent") == 0);
  CHECK((entry = fts_read(tree)) != NULL && entry->fts_info == FTS_D && fts_close(tree) == 0);
  CHECK(fts_open(none, FTS_PHYSICAL, NULL) == NULL && errno == ENOENT);
  CHECK(fts_open(roots, 0x4000, NULL) == NULL && errno == EINVAL);
}
