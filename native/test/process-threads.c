/* Threads that write while others fork and exec. */
#include "check.h"
#include <pthread.h>

static int top;
enum { THREADS = 4, ROUNDS = 20 };

static void *work(void *argument) {
  char name[32], line[32];
  long self = (long)argument;
  snprintf(name, sizeof name, "t%ld", self);
  int fd = openat(top, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  for (int i = 0; i < ROUNDS; i++) {
    snprintf(line, sizeof line, "%ld %d\n", self, i);
    CHECK(write(fd, line, strlen(line)) == (ssize_t)strlen(line));
    pid_t child = fork();
    if (child == 0) {
      execl("/bin/true", "true", NULL);
      _exit(127);
    }
    ended_well(child);
  }
  CHECK(close(fd) == 0);
  return NULL;
}

static void test(void) {
  pthread_t threads[THREADS];
  char name[32];
  top = open(directory, O_RDONLY | O_DIRECTORY);
  for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < THREADS; i++) {
    size_t size;
    snprintf(name, sizeof name, "t%d", i);
    content(name, &size);
    CHECK(size == 4 * 10 + 5 * 10);
  }
}
