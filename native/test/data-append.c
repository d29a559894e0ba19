/* Four processes append lines; none is lost, none is torn. */
#include "check.h"

static void test(void) {
  enum { CHILDREN = 4, LINES = 50, WIDTH = 40 };
  int fd = open(in("f"), O_WRONLY | O_CREAT | O_APPEND, 0644);
  CHECK(fd >= 0);
  for (int i = 0; i < CHILDREN; i++) {
    if (fork() != 0) continue;
    char line[WIDTH + 1];
    /* Two use the open file of the parent, two open it themselves. */
    int mine = i < 2 ? fd : open(in("f"), O_WRONLY | O_APPEND);
    for (int j = 0; j < LINES; j++) {
      snprintf(line, sizeof line, "%c%03d%035d\n", 'a' + i, j, 0);
      if (write(mine, line, WIDTH) != WIDTH) _exit(1);
    }
    _exit(0);
  }
  int status;
  while (wait(&status) > 0) CHECK(status == 0);
  size_t size;
  char *all = content("f", &size);
  int seen[CHILDREN] = {0};
  CHECK(size == CHILDREN * LINES * WIDTH);
  for (size_t at = 0; at < size; at += WIDTH) {
    int child = all[at] - 'a';
    CHECK(child >= 0 && child < CHILDREN && all[at + WIDTH - 1] == '\n');
    CHECK(atoi((char[]){all[at + 1], all[at + 2], all[at + 3], 0}) == seen[child]++);
  }
  CHECK(write(fd, "end", 3) == 3);
  CHECK(lseek(fd, 0, SEEK_CUR) == (off_t)size + 3);
  CHECK(pwrite(fd, "!", 1, 0) == 1); /* Linux appends here too */
  CHECK(lseek(fd, 0, SEEK_END) == (off_t)size + 4);
}
