/*
 * The ways out of a process that pass by our destructor: _exit, _Exit and abort commit what is not
 * committed yet (quick_exit by a handler, see processes.c). Also daemon(3), whose parent leaves by
 * a hidden _exit, and _Fork, which runs no handlers.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"

REAL(void, _exit, (int status));
REAL(void, _Exit, (int status));
REAL(void, abort, (void));
REAL(int, daemon, (int keep_directory, int keep_streams));
REAL(pid_t, _Fork, (void));

CAUGHT _Noreturn void _exit(int status) {
  kg_finish();
  kg_directory_leave();
  CALL(_exit)(status);
  __builtin_unreachable();
}

CAUGHT _Noreturn void _Exit(int status) {
  kg_finish();
  kg_directory_leave();
  CALL(_Exit)(status);
  __builtin_unreachable();
}

CAUGHT _Noreturn void abort(void) {
  kg_finish();
  CALL(abort)();
  __builtin_unreachable();
}

CAUGHT int daemon(int keep_directory, int keep_streams) {
  kg_finish_for_exec();
  int result = CALL(daemon)(keep_directory, keep_streams);
  if (result == 0 && !keep_directory) kg_directory_forget();
  return result;
}

pid_t _Fork(void);
CAUGHT pid_t _Fork(void) {
  pid_t pid = CALL(_Fork)();
  if (pid == 0) kg_process_forked();
  return pid;
}
