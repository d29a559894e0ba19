/* Writable shared maps of one file in several programs are one memory. */
#include "check.h"
#include <sys/mman.h>

enum { PAGE = 4096 };

/* A program of its own, not a fork: it finds the memory by the file. */
static char *map_file(size_t pages) {
  int fd = open(in("f"), O_RDWR);
  char *map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED && close(fd) == 0);
  return map;
}

static void test(void) {
  int ready[2], go[2];
  char byte;
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(ftruncate(fd, 2 * PAGE) == 0 && pipe(ready) == 0 && pipe(go) == 0);
  pid_t child = fork();
  if (child == 0) {
    char *map = map_file(2);
    map[PAGE] = 'c';
    CHECK(write(ready[1], "x", 1) == 1 && read(go[0], &byte, 1) == 1);
    CHECK(map[1] == 'p' && map[2] == 'w');
    __atomic_fetch_add(&map[3], 5, __ATOMIC_SEQ_CST);
    _exit(0);
  }
  CHECK(read(ready[0], &byte, 1) == 1);
  char *map = map_file(2);
  CHECK(map[PAGE] == 'c');
  map[1] = 'p';
  __atomic_fetch_add(&map[3], 7, __ATOMIC_SEQ_CST);
  CHECK(pwrite(fd, "w", 1, 2) == 1);
  CHECK(write(go[1], "x", 1) == 1);
  ended_well(child);
  CHECK(map[3] == 12);
  CHECK(munmap(map, 2 * PAGE) == 0);
  char *text = content("f", NULL);
  CHECK(memcmp(text + 1, "pw\14", 3) == 0 && text[PAGE] == 'c');
}
