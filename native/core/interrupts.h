/*
 * May a handler of the program run in the middle of a call? While none can, a lock is held for a
 * moment with signals as they are, which saves two system calls of each write. Private to
 * native/core, but for kg_note_handler.
 *
 * A signal without a handler ends the process, for which the lock is made, or does nothing. One of
 * job control stops it, for as long as a user likes: a process with a terminal blocks signals. One
 * that is stopped otherwise (SIGSTOP cannot be blocked) may hold the lock in either case.
 */
#ifndef KANGAROO_INTERRUPTS_H
#define KANGAROO_INTERRUPTS_H

#include "process.h"

extern _Atomic bool kg_has_handlers;

/* What was not looked at yet counts as a handler. */
bool kg_look_for_handlers(struct kg_process *process);

enum { KG_DISTURBED = 1, KG_UNDISTURBED = 2 };
static inline bool kg_is_undisturbed(struct kg_process *process) {
  if (atomic_load_explicit(&kg_has_handlers, memory_order_relaxed)) return false;
  uint32_t known = atomic_load_explicit(&process->interrupts, memory_order_relaxed);
  return __builtin_expect(known != 0, 1) ? known == KG_UNDISTURBED : kg_look_for_handlers(process);
}

#endif
