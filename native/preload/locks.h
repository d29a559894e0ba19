/* What the two kinds of locks share: files beside the board whose ranges stand for its slots. */
#ifndef KANGAROO_LOCKS_H
#define KANGAROO_LOCKS_H

/* Opens "/dev/shm/kangaroo-<board>-<kind>", out of the program's way; or an errno negated. */
int kg_locks_open(const char *kind);

#endif
