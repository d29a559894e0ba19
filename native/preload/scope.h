/*
 * What a wrapper of a cancellation point does around the work for a file of ours: it lets a pending
 * cancellation happen first, and none in the middle, where a request is half on its way.
 */
#ifndef KANGAROO_SCOPE_H
#define KANGAROO_SCOPE_H

#include <pthread.h>
#include "preload.h"

struct kg_scope {
  int64_t begun;
  int cancel;
};

static inline struct kg_scope kg_enter(void) {
  struct kg_scope scope = {.begun = kg_begun()};
  pthread_testcancel();
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &scope.cancel);
  return scope;
}

/* `result`, as the call returns it; bytes are counted where it is more than nothing. */
static inline ssize_t kg_leave(struct kg_scope scope, const char *call, struct kg_file *file,
                               ssize_t result) {
  pthread_setcancelstate(scope.cancel, 0);
  kg_done(call, file, result > 0 ? (uint64_t)result : 0, scope.begun);
  return result;
}

#endif
