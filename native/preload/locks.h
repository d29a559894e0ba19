/* What the two kinds of locks share: files beside the board whose ranges stand for its slots. */
#ifndef KANGAROO_LOCKS_H
#define KANGAROO_LOCKS_H

/* Opens "/dev/shm/kangaroo-<board>-<kind>", out of the program's way; or an errno negated. */
int kg_locks_open(const char *kind);

/*
 * An exec is going to happen: what it closes gives up its locks, the others are handed on; and it
 * has not happened. kg_locks_adopt: at the start, with each descriptor that is not a placeholder
 * and has a number as ours have.
 */
void kg_locks_hand_on(void);
void kg_locks_take_back(void);
void kg_locks_adopt(int fd);

#endif
