/*
 * glob, wherever a pattern may lead to /kangaroo: libc's own does the work, with our functions for
 * reading directories, which serve local ones as well.
 */
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "preload.h"

typedef int (*complain)(const char *path, int problem);

REAL(int, glob, (const char *pattern, int flags, complain complain, glob_t *found));

_Static_assert(sizeof(glob_t) == sizeof(glob64_t), "one shape of result");

/* A pattern with a brace may have a path of ours anywhere in it. */
static bool may_be_ours(const char *pattern) {
  if (!pattern || !pattern[0]) return false;
  return kg_adrift || kg_settings.mounts[0] || strstr(pattern, "/kangaroo") != NULL;
}

static void close_directory(void *stream) { closedir(stream); }
static void *open_directory(const char *path) { return opendir(path); }
static struct dirent *read_directory(void *stream) { return readdir(stream); }
static int stat_path(const char *path, struct stat *facts) { return stat(path, facts); }
static int lstat_path(const char *path, struct stat *facts) { return lstat(path, facts); }

CAUGHT int glob(const char *pattern, int flags, complain complain, glob_t *found) {
  if (flags & GLOB_ALTDIRFUNC || !may_be_ours(pattern))
    return CALL(glob)(pattern, flags, complain, found);
  found->gl_closedir = close_directory;
  found->gl_readdir = read_directory;
  found->gl_opendir = open_directory;
  found->gl_lstat = lstat_path;
  found->gl_stat = stat_path;
  int result = CALL(glob)(pattern, flags | GLOB_ALTDIRFUNC, complain, found);
  found->gl_flags &= ~GLOB_ALTDIRFUNC;
  return result;
}
ALIAS(glob, glob64);
