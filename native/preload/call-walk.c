/*
 * realpath and its family (and ftok), for a path of ours: what is left of it without "." and ".."
 * is its name, since there are no links to follow, and one look says whether it is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"

REAL(char *, realpath, (const char *path, char *resolved));
REAL(char *, canonicalize_file_name, (const char *path));
REAL(key_t, ftok, (const char *path, int project));
REAL(char *, __realpath_chk, (const char *path, char *resolved, size_t room));

static char *refuse(int problem) {
  errno = problem;
  return NULL;
}

__attribute__((noinline)) static char *resolve(const char *path, char *resolved) {
  struct kg_located to;
  struct kg_facts facts = {0};
  char text[KG_PATH_MAX + 512];
  int64_t start = kg_begun();
  kg_locate_at(AT_FDCWD, path, &to);
  if (to.where == KG_BAD) return refuse(to.problem);
  if (to.where == KG_ELSEWHERE) return CALL(realpath)(path, resolved);
  if (to.where == KG_MAPPED) return CALL(realpath)(to.local, resolved);
  if (to.where == KG_TOP) {
    to.place.name[0] = to.place.path[0] = 0;
  } else {
    int problem = kg_stat(&to.place, &facts);
    kg_done_place("realpath", &to.place, 0, start);
    if (!problem && facts.kind == KG_ABSENT) problem = ENOENT;
    size_t length = strlen(path);
    if (!problem && facts.kind != KG_DIRECTORY && path[length - 1] == '/') problem = ENOTDIR;
    if (problem) return refuse(problem);
  }
  kg_place_text(&to.place, text);
  if (strlen(text) >= PATH_MAX) return refuse(ENAMETOOLONG);
  return resolved ? strcpy(resolved, text) : strdup(text);
}

CAUGHT char *realpath(const char *path, char *resolved) {
  if (!kg_plainly_local(AT_FDCWD, path)) return resolve(path, resolved);
  return PASS(realpath)(path, resolved);
}

CAUGHT char *__realpath_chk(const char *path, char *resolved, size_t room) {
  if (kg_plainly_local(AT_FDCWD, path)) return CALL(__realpath_chk)(path, resolved, room);
  if (room < PATH_MAX) kg_overflow();
  return resolve(path, resolved);
}

CAUGHT char *canonicalize_file_name(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return resolve(path, NULL);
  return PASS(canonicalize_file_name)(path);
}

/* As libc makes the number, of what stat says. */
__attribute__((noinline)) static key_t key_of(const char *path, int project) {
  struct stat facts;
  if (stat(path, &facts) < 0) return (key_t)-1;
  return (key_t)((facts.st_ino & 0xffff) | ((facts.st_dev & 0xff) << 16) |
                 ((unsigned)(project & 0xff) << 24));
}

CAUGHT key_t ftok(const char *path, int project) {
  if (!kg_plainly_local(AT_FDCWD, path)) return key_of(path, project);
  return CALL(ftok)(path, project);
}
