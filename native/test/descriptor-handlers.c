/* Handlers that write come late, by each of the names, while the program writes on and on. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

static int log_fd;
static volatile int ticks;

static void tick(int number) {
  (void)number;
  int before = errno;
  if (write(log_fd, "tick\n", 5) == 5) ticks++;
  errno = before;
}

static void write_much(int fd, size_t bytes, int count) {
  static char block[12000];
  for (int i = 0; i < count; i++) CHECK(write(fd, block, bytes) == (ssize_t)bytes);
}

static void by_syscall(int number) {
  struct {
    void (*handler)(int);
    unsigned long flags, restorer, mask;
  } action = {SIG_DFL, 0, 0, 0};
  struct sigaction whole = {.sa_handler = tick, .sa_flags = SA_RESTART};
  /* The kernel needs libc's restorer: it is asked for what libc has set. */
  CHECK(sigaction(number, &whole, NULL) == 0);
  CHECK(syscall(SYS_rt_sigaction, number, NULL, &action, 8) == 0);
  CHECK(signal(number, SIG_DFL) != SIG_ERR);
  CHECK(syscall(SYS_rt_sigaction, number, &action, NULL, 8) == 0);
}

static void *go_on(void *argument) {
  CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
  for (;;) write_much(*(int *)argument, 100, 10);
}

static void cancelled(int fd) {
  pthread_t thread;
  for (int i = 0; i < 50; i++) {
    CHECK(pthread_create(&thread, NULL, go_on, &fd) == 0);
    usleep(500);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
    write_much(fd, 100, 1);
  }
}

static void test(void) {
  struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
  struct stat st;
  log_fd = open(in("log"), O_WRONLY | O_CREAT | O_APPEND, 0644);
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644);
  write_much(fd, 1, 1000);
  for (int way = 0; way < 4; way++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      if (way == 0) CHECK(signal(SIGALRM, tick) != SIG_ERR);
      if (way == 1)
        CHECK(sysv_signal(SIGALRM, SIG_IGN) != SIG_ERR && signal(SIGALRM, tick) == SIG_IGN);
      if (way == 2) by_syscall(SIGALRM);
      if (way == 3) {
        cancelled(fd);
        _exit(0);
      }
      CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
      write_much(fd, 1, 10000);
      write_much(fd, 6000, 300);
      write_much(fd, 12000, 300);
      CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
      CHECK(ticks > 0 && fstat(log_fd, &st) == 0 && st.st_size >= 5 * ticks);
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  CHECK(fstat(fd, &st) == 0 && st.st_size >= 1000 + 3 * (10000 + 300 * 18000l));
}
