/* Threads that open, write and close at once keep their files apart. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 4, ROUNDS = 25 };

static void *work(void *number) {
  for (int i = 0; i < ROUNDS; i++) {
    char name[32], text[64], path[4200], back[64];
    snprintf(name, sizeof name, "t%ld-%d", (long)number, i % 3);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int bytes = snprintf(text, sizeof text, "thread %ld round %d", (long)number, i);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0 && write(fd, text, (size_t)bytes) == bytes && lseek(fd, 0, SEEK_SET) == 0);
    CHECK(read(fd, back, sizeof back) == bytes && memcmp(text, back, (size_t)bytes) == 0);
    CHECK(close(fd) == 0);
  }
  return NULL;
}

static void test(void) {
  pthread_t threads[THREADS];
  for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
  for (int i = 0; i < 5; i++) {
    pid_t child = fork();
    if (child == 0) {
      work((void *)(100L + i));
      _exit(0);
    }
    ended_well(child);
  }
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}
