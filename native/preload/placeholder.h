/*
 * The memfds that stand for Kangaroo's files: their names, how one is made, and what is done with
 * bytes that were written into one behind our back.
 *
 *   kangaroo:<board id, 32 hex digits>:<slot>.<generation>:<r|w|rw|p>[d]
 *
 * p is O_PATH, d a directory. The server reads board, slot and generation in /proc/PID/fd.
 */
#ifndef KANGAROO_PLACEHOLDER_H
#define KANGAROO_PLACEHOLDER_H

#include "preload.h"

struct kg_placeholder {
  char board[33];
  struct kg_ref ref;
  int access;
  bool directory;
  bool path_only;
};

/* Is `fd` a placeholder, and of what? */
bool kg_placeholder_of(int fd, struct kg_placeholder *out);
/* The same for "/proc/PID/fd/N". */
bool kg_placeholder_at(const char *path, struct kg_placeholder *out);
/* The lowest free descriptor, with those flags of open(2) that mean something; or -errno. */
int kg_placeholder_make(const struct kg_placeholder *parts, int flags);
/* rescue.c: puts the bytes that lie in a placeholder where they belong. */
void kg_rescue(int fd, struct kg_file *file);

#endif
