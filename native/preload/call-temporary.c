/*
 * mkstemp and its family, with a template below /kangaroo: libc's own open by a hidden name. A name
 * is tried until one is free, by O_EXCL or mkdir, as everywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "raw.h"

REAL(int, mkstemp, (char *name));
REAL(int, mkostemp, (char *name, int flags));
REAL(int, mkstemps, (char *name, int suffix));
REAL(int, mkostemps, (char *name, int suffix, int flags));
REAL(char *, mkdtemp, (char *name));

#define ATTEMPTS_MAX 1000

/* Six letters in the place of the six X; false: there are no six X. */
static bool vary(char *name, size_t suffix, bool first) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  size_t length = strlen(name);
  uint64_t random = 0;
  if (length < 6 + suffix) return false;
  char *at = name + length - suffix - 6;
  if (first && memcmp(at, "XXXXXX", 6) != 0) return false;
  kg_raw(SYS_getrandom, (long)&random, sizeof random, 0, 0, 0, 0);
  for (int i = 0; i < 6; i++, random /= 62) at[i] = letters[random % 62];
  return true;
}

__attribute__((noinline)) static int make_file(char *name, int suffix, int flags) {
  int before = errno;
  flags = (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL;
  for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (suffix < 0 || !vary(name, (size_t)suffix, attempt == 0)) return kg_fail(EINVAL);
    int fd = open(name, flags, 0600);
    if (fd >= 0) errno = before;
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return kg_fail(EEXIST);
}

CAUGHT int mkostemps(char *name, int suffix, int flags) {
  if (!kg_plainly_local(AT_FDCWD, name)) return make_file(name, suffix, flags);
  return PASS(mkostemps)(name, suffix, flags);
}
ALIAS(mkostemps, mkostemps64);

CAUGHT int mkstemps(char *name, int suffix) {
  if (!kg_plainly_local(AT_FDCWD, name)) return make_file(name, suffix, 0);
  return PASS(mkstemps)(name, suffix);
}
ALIAS(mkstemps, mkstemps64);

CAUGHT int mkostemp(char *name, int flags) {
  if (!kg_plainly_local(AT_FDCWD, name)) return make_file(name, 0, flags);
  return PASS(mkostemp)(name, flags);
}
ALIAS(mkostemp, mkostemp64);

CAUGHT int mkstemp(char *name) {
  if (!kg_plainly_local(AT_FDCWD, name)) return make_file(name, 0, 0);
  return PASS(mkstemp)(name);
}
ALIAS(mkstemp, mkstemp64);

__attribute__((noinline)) static char *make_directory(char *name) {
  int before = errno;
  for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (!vary(name, 0, attempt == 0)) {
      errno = EINVAL;
      return NULL;
    }
    if (mkdir(name, 0700) == 0) {
      errno = before;
      return name;
    }
    if (errno != EEXIST) return NULL;
  }
  return NULL;
}

CAUGHT char *mkdtemp(char *name) {
  if (!kg_plainly_local(AT_FDCWD, name)) return make_directory(name);
  return PASS(mkdtemp)(name);
}
