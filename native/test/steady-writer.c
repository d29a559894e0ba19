/*
 * steady-writer FILE LOG SEED BYTES [append ID]: writes a file whose every byte can be computed
 * again, and notes in LOG, a local file, how many bytes the calls that have returned have written.
 * So whoever kills it, or the server under it, knows afterwards what must be there.
 *
 * Without `append`: byte i of the file is that of `byte_at`, in writes of 1 byte to 64 KiB. With
 * it: records of 64 bytes "ID:NUMBER" at the end of a file that others write to as well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST = 64 << 10, RECORD = 64 };
static unsigned char block[LARGEST];

static unsigned char byte_at(uint64_t seed, uint64_t i) {
  return (unsigned char)(((i >> 3) * 2654435761u + seed * 40503u + i) >> 7);
}

static void note(int log, uint64_t written) {
  if (pwrite(log, &written, sizeof written, 0) != sizeof written) exit(3);
}

static int write_all(int fd, const void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    ssize_t got = write(fd, (const char *)bytes + done, count - done);
    if (got < 0 && errno != EINTR) return -1;
    if (got > 0) done += (size_t)got;
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 5 && argc != 7) return 2;
  int append = argc == 7;
  uint64_t seed = strtoull(argv[3], 0, 10), bytes = strtoull(argv[4], 0, 10), written = 0;
  int fd = open(argv[1], O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), 0644);
  int log = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || log < 0) return perror("open"), 1;
  note(log, 0);
  while (written < bytes) {
    size_t count = RECORD;
    if (append) {
      memset(block, '.', RECORD);
      int head = snprintf((char *)block, RECORD, "%s:%llu:", argv[6],
                          (unsigned long long)(written / RECORD));
      block[head] = '.';
      block[RECORD - 1] = '\n';
    } else {
      seed = seed * 6364136223846793005ull + 1442695040888963407ull;
      unsigned kind = (unsigned)(seed >> 33);
      count = kind % 8 == 0 ? 1 + (kind >> 3) % LARGEST : 1 + (kind >> 3) % 200;
      if (count > bytes - written) count = bytes - written;
      uint64_t first = strtoull(argv[3], 0, 10);
      for (size_t i = 0; i < count; i++) block[i] = byte_at(first, written + i);
    }
    if (write_all(fd, block, count) != 0) return perror("write"), 1;
    written += count;
    note(log, written);
  }
  if (close(fd) != 0) return perror("close"), 1;
  return 0;
}
