/*
 * Bytes that lie in the segments of the spool of this machine, read from there: they cross no
 * socket. Private to native/core.
 *
 * A place is good while the version of the slot stands still, the server is the one who told it,
 * and less than half of the lease has passed. Whether that was so is looked at again when the bytes
 * have been read: until then nobody has punched them out.
 */
#ifndef KANGAROO_PLACES_H
#define KANGAROO_PLACES_H

#include "cache.h"

/*
 * Reads up to `count` bytes, at least one of them; 0: they do not lie there, or nobody can say now,
 * so that a GET has to bring them. A file that is read in order is asked about further ahead.
 */
size_t kg_places_read(const struct kg_range *range, uint64_t offset, void *bytes, size_t count);
/* Is it worth to try? Not for a while after it came to nothing. */
bool kg_places_may(const struct kg_range *range);

#endif
