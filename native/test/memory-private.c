/* Private and read-only maps: the file's bytes, zeros behind them, and no way back. */
#include "check.h"
#include <sys/mman.h>

static void test(void) {
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  char block[4096];
  for (int i = 0; i < 3; i++) {
    memset(block, 'a' + i, sizeof block);
    CHECK(write(fd, block, sizeof block) == sizeof block);
  }
  CHECK(write(fd, "end", 3) == 3);
  char *map = mmap(NULL, 3 * 4096 + 3, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED && map[0] == 'a' && map[4096] == 'b');
  CHECK(memcmp(map + 12288, "end", 4) == 0);
  CHECK(munmap(map, 3 * 4096 + 3) == 0);
  map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
  CHECK(map != MAP_FAILED && map[0] == 'b' && map[4096] == 'c');
  map[0] = 'X';
  CHECK(pread(fd, block, 1, 4096) == 1 && block[0] == 'b');
  CHECK(munmap(map, 8192) == 0);
  int reader = open(in("f"), O_RDONLY), writer = open(in("f"), O_WRONLY);
  FAILS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0), EACCES);
  CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, writer, 0) == MAP_FAILED && errno == EACCES);
  CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, reader, 7) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, reader, 0) == MAP_FAILED && errno == EINVAL);
  int top = open(directory, O_RDONLY);
  CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, top, 0) == MAP_FAILED && errno == ENODEV);
  map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, reader, 0);
  CHECK(map != MAP_FAILED && close(reader) == 0 && map[4095] == 'a');
  CHECK(mprotect(map, 4096, PROT_READ | PROT_WRITE) == 0);
  map[1] = 'Y';
  CHECK(munmap(map, 4096) == 0);
}
