/*
 * What becomes of a program that cannot go on as if nothing had happened. Private to native/core.
 */
#ifndef KANGAROO_FATE_H
#define KANGAROO_FATE_H

#include <stddef.h>

/*
 * What was written here and not committed is lost or its order is unknown: one line, the verdict
 * "75 REASON", and the whole program is killed, so that the batch system runs it again. Returns
 * only when everything was committed, so that nothing is lost.
 */
void kg_fate_again(const char *reason);
/* It will never work like this: one line and the verdict "78 REASON", once. Returns `problem`. */
int kg_fate_never(const char *reason, int problem);
/* One line to standard error, for a person who wonders why nothing moves. */
void kg_fate_tell(const char *text);
/* Puts texts, the last one NULL, behind each other into `out`, cutting what has no room. */
const char *kg_fate_words(char *out, size_t size, ...) __attribute__((sentinel));

#endif
