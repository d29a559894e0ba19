/*
 * fts_open with a root that is ours is refused, with ENOTSUP: libc's walker goes past every name
 * that can be caught, and would report each root as missing. (The walkers of coreutils and
 * findutils are their own and are served.)
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>

#include "preload.h"

typedef int (*order)(const FTSENT **a, const FTSENT **b);

REAL(FTS *, fts_open, (char *const *roots, int options, order order));

CAUGHT FTS *fts_open(char *const *roots, int options, order order) {
  for (char *const *root = roots; *root; root++) {
    if (kg_plainly_local(AT_FDCWD, *root) || !kg_is_ours_at(AT_FDCWD, *root)) continue;
    errno = ENOTSUP;
    return NULL;
  }
  return CALL(fts_open)(roots, options, order);
}
ALIAS(fts_open, fts64_open);
