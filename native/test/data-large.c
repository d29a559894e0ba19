/* Megabytes in calls of odd sizes come back as they were. */
#include "check.h"

enum { BYTES = 5 << 20 };

static void test(void) {
  unsigned char *out = malloc(BYTES), *back = malloc(BYTES);
  for (uint32_t i = 0, x = 1; i < BYTES; i++)
    out[i] = (unsigned char)((x = x * 1664525u + 1013904223u) >> 24);
  int fd = open(in("f"), O_RDWR | O_CREAT | O_TRUNC, 0644);
  CHECK(fd >= 0);
  size_t sizes[] = {1, 4095, 4096, 65537, 1 << 20, (1 << 20) + 1, 3}, at = 0;
  for (int i = 0; at < BYTES; i++) {
    size_t part = sizes[i % 7] < BYTES - at ? sizes[i % 7] : BYTES - at;
    CHECK(write(fd, out + at, part) == (ssize_t)part);
    at += part;
  }
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  CHECK(read(fd, back, BYTES) == BYTES);
  CHECK(memcmp(out, back, BYTES) == 0);
  CHECK(read(fd, back, 1) == 0);
  CHECK(pread(fd, back, BYTES, 12345) == BYTES - 12345 &&
        memcmp(out + 12345, back, BYTES - 12345) == 0);
}
