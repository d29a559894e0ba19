/*
 * Whose memory this is, and what is done at the ends of a process.
 *
 * A child of vfork runs in its parent's memory until it execs; so does what posix_spawn and many
 * programs' own clone make. It is told by its process id. Such a child changes nothing that its
 * parent would find changed, and commits nothing: its parent is still there to do so.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"

_Noreturn void __chk_fail(void);

static _Atomic pid_t own_pid;

bool kg_is_borrowed(void) {
  pid_t own = own_pid;
  return own != 0 && getpid() != own;
}

static void before_fork(void) {
  kg_stream_fork(true);
  kg_memory_fork(true);
}

static void after_fork_in_parent(void) {
  kg_memory_fork(false);
  kg_stream_fork(false);
}

void kg_process_forked(void) {
  own_pid = getpid();
  kg_after_fork();
  kg_directory_after_fork();
  kg_report_after_fork();
}

static void after_fork_in_child(void) {
  kg_memory_fork(false);
  kg_stream_fork(false);
  kg_process_forked();
}

void kg_process_start(char *const *environment) {
  own_pid = getpid();
  kg_environment_start(environment);
  kg_report_start();
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  at_quick_exit(kg_finish);
}

static void settle(void) {
  kg_rescue_all();
  kg_memory_flush();
  if (kg_is_dirty()) kg_commit();
}

void kg_finish(void) {
  if (kg_is_borrowed()) return;
  settle();
  kg_farewell();
  kg_report_print("exit");
}

void kg_finish_for_exec(void) {
  if (kg_is_borrowed()) return;
  settle();
  kg_report_print("exec");
}

char *kg_decimal(char *at, unsigned long number) {
  char digits[24];
  int count = 0;
  do digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) > 0);
  while (count > 0) *at++ = digits[--count];
  *at = 0;
  return at;
}

void kg_overflow(void) { __chk_fail(); }
