/*
 * Handlers of signals, as far as this process has any: see interrupts.h.
 *
 * Those that are installed by a name of libc are told by the preload library (kg_note_handler),
 * before they are there. Those of before, and of who asked the kernel himself, are looked for at
 * the first write; who does so later is not seen, and must not write to our files in the handler.
 * libc's own are harmless: that of pthread_cancel does nothing while a call has cancellation off.
 */
#include "interrupts.h"

#include "core.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>

_Atomic bool kg_has_handlers;

void kg_note_handler(void) { atomic_store(&kg_has_handlers, true); }

/* Is there a terminal that may stop us? Where that cannot be told, there is. */
static bool has_terminal(void) {
  int fd = kg_file_open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM;
  kg_close(fd);
  return true;
}

bool kg_look_for_handlers(struct kg_process *process) {
  if (kg_signals_handled()) kg_note_handler();
  bool is_disturbed = has_terminal();
  atomic_store(&process->interrupts, is_disturbed ? KG_DISTURBED : KG_UNDISTURBED);
  return !is_disturbed && !atomic_load(&kg_has_handlers);
}
