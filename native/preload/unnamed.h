/*
 * unnamed.c: what this process has open of a file that it unlinks, or renames another one over.
 */
#ifndef KANGAROO_PRELOAD_UNNAMED_H
#define KANGAROO_PRELOAD_UNNAMED_H

#include "preload.h"

#define KG_UNNAMED_MAX 32

struct kg_unnamed {
  int copy; /* a local file without a name that holds the same, or -1: nothing is to be done */
  int count;
  int fds[KG_UNNAMED_MAX];
};

/* Before the unlink or rename. */
void kg_unnamed_copy(const struct kg_place *place, struct kg_unnamed *out);
/* After it; `done` says that it has happened. */
void kg_unnamed_cover(struct kg_unnamed *unnamed, bool done);

#endif
