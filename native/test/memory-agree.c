/* Maps of one file, and calls on it, agree with each other in one process. */
#include "check.h"
#include <sys/mman.h>

enum { PAGE = 4096 };

static void test(void) {
  char byte;
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(ftruncate(fd, 4 * PAGE) == 0);
  char *one = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  one[PAGE + 1] = 'a';
  CHECK(pread(fd, &byte, 1, PAGE + 1) == 1 && byte == 'a');
  int other = open(in("f"), O_RDWR);
  char *two = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, PAGE);
  CHECK(two != MAP_FAILED && two[1] == 'a');
  two[2] = 'b';
  CHECK(one[PAGE + 2] == 'b');
  one[PAGE + 3] = 'c';
  CHECK(two[3] == 'c');
  CHECK(pwrite(other, "xyz", 3, 2 * PAGE - 1) == 3);
  CHECK(two[PAGE - 1] == 'x' && one[2 * PAGE] == 'y' && one[2 * PAGE + 1] == 'z');
  int reader = open(in("f"), O_RDONLY);
  const char *three = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
  CHECK(three[PAGE + 2] == 'b');
  CHECK(pwrite(fd, "w", 1, 7) == 1 && three[7] == 'w' && one[7] == 'w');
  CHECK(lseek(fd, 0, SEEK_SET) == 0 && write(fd, "v", 1) == 1 && three[0] == 'v');
  CHECK(munmap(one, 4 * PAGE) == 0);
  two[4] = 'd';
  CHECK(munmap(two, PAGE) == 0);
  char *text = content("f", NULL);
  CHECK(memcmp(text + PAGE, "\0abcd", 5) == 0 && text[2 * PAGE] == 'y' && text[7] == 'w');
}
