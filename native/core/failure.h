/*
 * Errors of a server as errno values. Private to native/core.
 */
#ifndef KANGAROO_FAILURE_H
#define KANGAROO_FAILURE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The errno of an ERROR frame's code. *again: the same request may succeed later, so ask until the
 * time is over. The errno of HELD is the one that the message names.
 */
int kg_failure(const char *code, size_t code_bytes, const char *message, size_t message_bytes,
               bool *again);

#endif
