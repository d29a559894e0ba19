/*
 * ftw and nftw from a root that is ours: a walker of our own, on opendir and lstat, because libc's
 * has hidden ways to both. There are no links and no other file systems below a root of ours, so
 * FTW_PHYS and FTW_MOUNT change nothing; the bound on open directories is kept by reading each
 * directory whole before going into it.
 *
 * With FTW_CHDIR the visitor is called in the directory where the file lies, and for FTW_DP in the
 * directory itself, as glibc has it; then a file is looked at by its last component.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"

typedef int (*visit)(const char *path, const struct stat *facts, int kind);
typedef int (*visit_more)(const char *path, const struct stat *facts, int kind, struct FTW *where);

REAL(int, ftw, (const char *root, visit visit, int descriptors));
REAL(int, nftw, (const char *root, visit_more visit, int descriptors, int flags));

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one shape of facts");

struct walk {
  visit plain;
  visit_more more;
  int flags;
  char *path; /* KG_PATH_MAX bytes */
};

static int tell(const struct walk *walk, const struct stat *facts, int kind, int base, int level) {
  if (walk->plain) return walk->plain(walk->path, facts, kind == FTW_DP ? FTW_D : kind);
  struct FTW where = {.base = base, .level = level};
  return walk->more(walk->path, facts, kind, &where);
}

/* The names in a directory, each with a NUL, an empty one at the end; NULL with errno. */
static char *names_in(const char *path) {
  size_t used = 0, room = 4096;
  DIR *stream = opendir(path);
  char *names = stream ? malloc(room) : NULL;
  struct dirent *entry;
  errno = 0;
  while (names && (entry = readdir(stream)) != NULL) {
    size_t size = strlen(entry->d_name) + 1;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (used + size + 1 > room) {
      char *more = realloc(names, room *= 2);
      if (!more) break;
      names = more;
    }
    memcpy(names + used, entry->d_name, size);
    used += size;
  }
  int problem = errno;
  if (stream) closedir(stream);
  if (names) names[used] = 0;
  errno = problem;
  return names;
}

/* What the file is called from where we stand. */
static const char *here(const struct walk *walk, int base) {
  return walk->flags & FTW_CHDIR ? walk->path + base : walk->path;
}

static int go(const struct walk *walk, int base, int level);

static int go_below(const struct walk *walk, const char *names, int level) {
  size_t length = strlen(walk->path);
  bool slash = length > 0 && walk->path[length - 1] == '/';
  for (const char *name = names; *name; name += strlen(name) + 1) {
    if (length + strlen(name) + 2 > KG_PATH_MAX) return kg_fail(ENAMETOOLONG);
    if (!slash) walk->path[length] = '/';
    strcpy(walk->path + length + !slash, name);
    int result = go(walk, (int)length + !slash, level + 1);
    walk->path[length] = 0;
    if (walk->flags & FTW_ACTIONRETVAL) {
      if (result == FTW_SKIP_SIBLINGS) break;
      if (result == FTW_SKIP_SUBTREE) result = 0;
    }
    if (result != 0) return result;
  }
  return 0;
}

static int go_into(const struct walk *walk, const struct stat *facts, int base, int level) {
  char *names = names_in(here(walk, base));
  if (!names) return errno == EACCES ? tell(walk, facts, FTW_DNR, base, level) : -1;
  bool moves = walk->flags & FTW_CHDIR, inside = false;
  int result = 0;
  if (!(walk->flags & FTW_DEPTH)) result = tell(walk, facts, FTW_D, base, level);
  bool skip = walk->flags & FTW_ACTIONRETVAL && result == FTW_SKIP_SUBTREE;
  if (result == 0 && moves) {
    result = chdir(here(walk, base));
    inside = result == 0;
  }
  if (result == 0) result = go_below(walk, names, level);
  if (result == 0 && walk->flags & FTW_DEPTH) result = tell(walk, facts, FTW_DP, base, level);
  if (result == 0 && inside) result = chdir("..");
  free(names);
  return skip ? 0 : result;
}

static int go(const struct walk *walk, int base, int level) {
  struct stat facts;
  if (lstat(here(walk, base), &facts) < 0) {
    if (level == 0 || (errno != EACCES && errno != ENOENT)) return -1;
    memset(&facts, 0, sizeof facts);
    return tell(walk, &facts, FTW_NS, base, level);
  }
  if (S_ISDIR(facts.st_mode)) return go_into(walk, &facts, base, level);
  return tell(walk, &facts, S_ISLNK(facts.st_mode) ? FTW_SL : FTW_F, base, level);
}

/* Into the directory of the root; back again the walk comes by the descriptor, if not by itself. */
static int start_in(const struct walk *walk, int base, int *back) {
  char above[KG_PATH_MAX];
  *back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (*back < 0) return -1;
  memcpy(above, walk->path, (size_t)base);
  above[base] = 0;
  return base > 0 ? chdir(above) : 0;
}

static int walk_from(const struct walk *walk, int base) {
  int back = -1, result = 0;
  if (walk->flags & FTW_CHDIR) result = start_in(walk, base, &back);
  if (result == 0) result = go(walk, base, 0);
  if (back < 0) return result;
  int problem = errno;
  if (fchdir(back) < 0 && result == 0) {
    problem = errno;
    result = -1;
  }
  close(back);
  errno = problem;
  return result;
}

__attribute__((noinline)) static int walk_ours(const char *root, visit plain, visit_more more,
                                               int flags) {
  struct walk walk = {plain, more, flags, malloc(KG_PATH_MAX)};
  size_t length = strlen(root);
  if (!walk.path || length >= KG_PATH_MAX) {
    free(walk.path);
    return kg_fail(walk.path ? ENAMETOOLONG : ENOMEM);
  }
  strcpy(walk.path, root);
  while (length > 1 && walk.path[length - 1] == '/') walk.path[--length] = 0;
  const char *slash = strrchr(walk.path, '/');
  int result = walk_from(&walk, slash && slash[1] ? (int)(slash - walk.path) + 1 : 0);
  free(walk.path);
  return flags & FTW_ACTIONRETVAL && (result == FTW_SKIP_SIBLINGS || result == FTW_SKIP_SUBTREE)
             ? 0
             : result;
}

CAUGHT int ftw(const char *root, visit visit, int descriptors) {
  if (!kg_plainly_local(AT_FDCWD, root)) {
    if (kg_is_ours_at(AT_FDCWD, root)) return walk_ours(root, visit, NULL, 0);
  }
  return CALL(ftw)(root, visit, descriptors);
}
ALIAS(ftw, ftw64);

CAUGHT int nftw(const char *root, visit_more visit, int descriptors, int flags) {
  if (!kg_plainly_local(AT_FDCWD, root)) {
    if (kg_is_ours_at(AT_FDCWD, root)) return walk_ours(root, NULL, visit, flags);
  }
  return CALL(nftw)(root, visit, descriptors, flags);
}
ALIAS(nftw, nftw64);
