/*
 * Handlers of signals, and cancellation at any point: whoever wants them is noted before he has
 * them, so that from then on our own calls keep both out (core/interrupts.h). Everything else is
 * libc's.
 */
#include <pthread.h>
#include <signal.h>
#include "preload.h"

REAL(int, sigaction, (int, const struct sigaction *, struct sigaction *))
REAL(sighandler_t, signal, (int, sighandler_t))
REAL(sighandler_t, sysv_signal, (int, sighandler_t))
REAL(sighandler_t, sigset, (int, sighandler_t))
REAL(int, pthread_setcanceltype, (int, int *))

static void note(sighandler_t handler) {
  if (handler != SIG_DFL && handler != SIG_IGN && handler != SIG_ERR && handler != SIG_HOLD)
    kg_note_handler();
}

CAUGHT int sigaction(int signal, const struct sigaction *action, struct sigaction *before) {
  if (action != 0) note(action->sa_handler);
  return CALL(sigaction)(signal, action, before);
}
ALIAS(sigaction, __sigaction);

CAUGHT sighandler_t signal(int number, sighandler_t handler) {
  note(handler);
  return CALL(signal)(number, handler);
}
ALIAS(signal, bsd_signal);
ALIAS(signal, ssignal);

CAUGHT sighandler_t sysv_signal(int number, sighandler_t handler) {
  note(handler);
  return CALL(sysv_signal)(number, handler);
}
ALIAS(sysv_signal, __sysv_signal);

CAUGHT sighandler_t sigset(int number, sighandler_t handler) {
  note(handler);
  return CALL(sigset)(number, handler);
}

CAUGHT int pthread_setcanceltype(int type, int *before) {
  if (type == PTHREAD_CANCEL_ASYNCHRONOUS) kg_note_handler();
  return CALL(pthread_setcanceltype)(type, before);
}
