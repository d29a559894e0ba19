/* A cancelled thread ends at a call, never within a write. */
#include "check.h"
#include <pthread.h>

static int fd;

static void *work(void *unused) {
  (void)unused;
  for (;;) CHECK(write(fd, "0123456789", 10) == 10);
  return NULL;
}

static void test(void) {
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    void *result;
    fd = open(in("f"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    usleep(2000);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(lseek(fd, 0, SEEK_END) % 10 == 0 && write(fd, "0123456789", 10) == 10 && close(fd) == 0);
    struct stat st;
    CHECK(stat(in("f"), &st) == 0 && st.st_size % 10 == 0);
  }
}
