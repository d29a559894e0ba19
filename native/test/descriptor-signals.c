/* A handler writes to a file while the program writes to another. */
#include "check.h"
#include <signal.h>
#include <sys/time.h>

static int log_fd;
static volatile int ticks;

static void tick(int number) {
  (void)number;
  int before = errno;
  if (write(log_fd, "tick\n", 5) == 5) ticks++;
  errno = before;
}

static void test(void) {
  log_fd = open(in("log"), O_WRONLY | O_CREAT | O_APPEND, 0644);
  int fd = open(in("f"), O_WRONLY | O_CREAT, 0644);
  struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
  struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
  for (int i = 0; i < 20000; i++) CHECK(write(fd, "x", 1) == 1);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  struct stat st;
  CHECK(fstat(fd, &st) == 0 && st.st_size == 20000);
  CHECK(fstat(log_fd, &st) == 0 && st.st_size == 5 * ticks);
}
