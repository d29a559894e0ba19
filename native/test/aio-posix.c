/* POSIX aio: read, write, list, suspend, and its notification by signal and thread. */
#include "check.h"
#include <aio.h>
#include <semaphore.h>
#include <signal.h>

static sem_t told;
static void tell(union sigval value) {
  (void)value;
  sem_post(&told);
}

static void finish(struct aiocb *block, ssize_t result) {
  const struct aiocb *list[] = {block};
  while (aio_error(block) == EINPROGRESS) CHECK(aio_suspend(list, 1, NULL) == 0);
  CHECK(aio_error(block) == 0 && aio_return(block) == result);
}

static void test(void) {
  char back[16] = "";
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(sem_init(&told, 0, 0) == 0);
  struct aiocb block = {.aio_fildes = fd, .aio_buf = "hello", .aio_nbytes = 5, .aio_offset = 3};
  block.aio_sigevent.sigev_notify = SIGEV_THREAD;
  block.aio_sigevent.sigev_notify_function = tell;
  CHECK(aio_write(&block) == 0);
  finish(&block, 5);
  CHECK(sem_wait(&told) == 0);
  struct aiocb other = {.aio_fildes = fd, .aio_buf = back, .aio_nbytes = 16};
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  CHECK(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
  other.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
  other.aio_sigevent.sigev_signo = SIGUSR1;
  other.aio_sigevent.sigev_value.sival_int = 77;
  CHECK(aio_read(&other) == 0);
  siginfo_t info;
  CHECK(sigwaitinfo(&signals, &info) == SIGUSR1 && info.si_value.sival_int == 77);
  finish(&other, 8);
  CHECK(memcmp(back, "\0\0\0hello", 8) == 0);
  struct aiocb first = {.aio_fildes = fd, .aio_buf = "AB", .aio_nbytes = 2};
  first.aio_lio_opcode = LIO_WRITE;
  struct aiocb second = first;
  second.aio_buf = "CD";
  second.aio_offset = 2;
  struct aiocb *list[] = {&first, NULL, &second};
  CHECK(lio_listio(LIO_WAIT, list, 3, NULL) == 0);
  finish(&first, 2);
  finish(&second, 2);
  CHECK(aio_fsync(O_SYNC, &first) == 0);
  finish(&first, 0);
  HOLDS("f", "ABCDello");
  CHECK(aio_cancel(fd, NULL) == AIO_ALLDONE);
}
