/*
 * The checksum by instructions, by copying and by joining against the one by the table, for lengths
 * around every boundary and unaligned places. Prints bytes per second when it is right.
 */
#include "../core/crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int wrong(const char *what, size_t length) {
  printf("%s of %zu bytes\n", what, length);
  return 1;
}

int main(void) {
  enum { SIZE = 1 << 20 };
  uint8_t *bytes = malloc(SIZE + 16), *copy = malloc(SIZE + 16);
  srand(1);
  for (int i = 0; i < SIZE + 16; i++) bytes[i] = (uint8_t)rand();
  if (kg_crc32c(0, "123456789", 9) != 0xe3069283u) return wrong("check value", 9);
  for (size_t length = 0; length < 9300; length += length < 300 ? 1 : 97) {
    for (size_t at = 0; at < 3; at++) {
      uint32_t slow = kg_crc32c_slow(7, bytes + at, length);
      if (kg_crc32c(7, bytes + at, length) != slow) return wrong("crc", length);
      memset(copy, 0, length + 16);
      if (kg_crc32c_copy(7, copy + at, bytes + at, length) != slow) return wrong("copy", length);
      if (memcmp(copy + at, bytes + at, length) != 0) return wrong("what was copied", length);
      if (copy[at + length] != 0) return wrong("behind what was copied", length);
      size_t half = length / 3;
      uint32_t first = kg_crc32c(0, bytes, half),
               second = kg_crc32c(0, bytes + half, length - half);
      if (kg_crc32c_join(first, second, length - half) != kg_crc32c(0, bytes, length))
        return wrong("join", length);
      if (kg_crc32c(first, bytes + half, length - half) != kg_crc32c(0, bytes, length))
        return wrong("going on", length);
    }
  }
  uint32_t sum = 0;
  double begun = seconds();
  for (int i = 0; i < 500; i++) sum ^= kg_crc32c(sum, bytes, SIZE);
  double checked = seconds();
  for (int i = 0; i < 500; i++) sum ^= kg_crc32c_copy(sum, copy, bytes, 65536);
  double copied = seconds();
  for (int i = 0; i < 100000; i++) sum = kg_crc32c_join(sum, sum, 8192);
  double joined = seconds();
  printf("%.1f GB/s, copying 64 KiB %.1f GB/s, join %.0f ns (%x)\n",
         0.5 * 1.048576 / (checked - begun), 0.5 * 0.065536 / (copied - checked),
         (joined - copied) * 1e4, sum);
  free(bytes);
  free(copy);
  return 0;
}
