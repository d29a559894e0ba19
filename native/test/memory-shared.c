/* What is changed in a shared map is in the file: after msync, munmap, close, fork and exit. */
#include "check.h"
#include <sys/mman.h>

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(ftruncate(fd, 5 * 4096 + 10) == 0);
  size_t length = 5 * 4096 + 10, size;
  char *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED && map[length - 1] == 0);
  map[1] = 'a';
  map[4 * 4096] = 'b';
  map[length - 1] = 'c';
  CHECK(msync(map, length, MS_ASYNC) == 0 && msync(map, length, MS_SYNC) == 0);
  char *text = content("f", &size);
  CHECK(size == length && text[1] == 'a' && text[4 * 4096] == 'b' && text[length - 1] == 'c');
  FAILS(msync(map + 1, 4096, MS_SYNC), EINVAL);
  map[2] = 'd';
  CHECK(close(fd) == 0);
  pid_t child = fork();
  if (child == 0) {
    CHECK(map[2] == 'd');
    map[3] = 'e';
    _exit(0);
  }
  ended_well(child);
  CHECK(map[3] == 'e');
  CHECK(munmap(map, 4096) == 0);
  text = content("f", &size);
  CHECK(size == length && memcmp(text, "\0ade", 4) == 0);
  map[4096] = 'f';
  CHECK(munmap(map + 4096, length - 4096) == 0);
  CHECK(content("f", &size)[4096] == 'f' && size == length);
  child = fork();
  if (child == 0) {
    int own = open(in("f"), O_RDWR);
    char *last = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
    last[0] = 'z';
    exit(0);
  }
  ended_well(child);
  CHECK(content("f", NULL)[0] == 'z');
}
