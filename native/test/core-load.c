/*
 * Load and numbers of the C core: core-load WHAT PATH [COUNT [BYTES]]
 *
 *   bytes     COUNT writes of one byte, in order, then commit
 *   append    COUNT appends of BYTES, each "PID NUMBER ..." and a line's end
 *   threads   4 threads, each COUNT appends of BYTES
 *   bench     microseconds per call of the kinds that matter; one line each
 */
#include "../core/core.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static struct kg_ref file;
static struct kg_place place;
static long count = 1000, bytes = 100;

static double now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void must(int problem, const char *what) {
  if (problem == 0) return;
  fprintf(stderr, "%s: %s\n", what, strerror(problem));
  exit(1);
}

static void open_file(const char *path, uint32_t flags) {
  static struct kg_located located;
  struct kg_facts facts;
  kg_locate(path, NULL, &located);
  place = located.place;
  must(kg_open(&place, flags, 0644, &file, &facts), "open");
}

static void *append_many(void *context) {
  char *line = malloc((size_t)bytes + 1);
  for (long i = 0; i < count; i++) {
    memset(line, '.', (size_t)bytes);
    int length = snprintf(line, (size_t)bytes, "%ld.%ld %ld ", (long)getpid(), (long)context, i);
    line[length] = '.';
    line[bytes - 1] = '\n';
    must(kg_write(file, line, (size_t)bytes, 0, true, NULL), "append");
  }
  free(line);
  return NULL;
}

static void write_bytes(void) {
  double begun = now_us();
  for (long i = 0; i < count; i++) {
    char byte = (char)('a' + i % 23);
    must(kg_write(file, &byte, 1, (uint64_t)i, false, NULL), "write");
  }
  double written = now_us();
  must(kg_commit(), "commit");
  printf("%.3f us a byte, commit %.0f us\n", (written - begun) / (double)count, now_us() - written);
}

static void bench_writes(const char *what, size_t size, long times) {
  char *block = malloc(size);
  double best = 1e18, sum = 0;
  memset(block, 'x', size);
  for (int round = 0; round < 5; round++) {
    double begun = now_us();
    for (long i = 0; i < times; i++)
      must(kg_write(file, block, size, (uint64_t)i * size, false, NULL), what);
    double each = (now_us() - begun) / (double)times;
    if (each < best) best = each;
    sum += each;
    must(kg_commit(), "commit");
  }
  printf("%-24s best %9.3f us  mean %9.3f us\n", what, best, sum / 5);
  free(block);
}

static void bench_reads(const char *what, size_t size, uint64_t span, bool leap) {
  char *block = malloc(size);
  double best = 1e18;
  for (int round = 0; round < 5; round++) {
    long times = leap ? 300 : (long)(span / size);
    double begun = now_us();
    size_t got;
    for (long i = 0; i < times; i++) {
      uint64_t at = leap ? (uint64_t)(i * 7919 % (long)(span / size)) * size : (uint64_t)i * size;
      must(kg_read(file, block, size, at, &got), what);
    }
    double each = (now_us() - begun) / (double)times;
    if (each < best) best = each;
  }
  printf("%-24s best %9.3f us\n", what, best);
  free(block);
}

/* The same reads of a file of this machine, to compare with. */
static void bench_local(const char *what, size_t size, uint64_t span) {
  char *block = calloc(1, size), name[] = "/tmp/core-load-XXXXXX";
  double best = 1e18;
  int fd = mkstemp(name);
  if (fd < 0 || unlink(name) != 0) must(EIO, name);
  for (uint64_t at = 0; at < span; at += size)
    if (pwrite(fd, block, size, (off_t)at) != (ssize_t)size) must(EIO, what);
  for (int round = 0; round < 5; round++) {
    double begun = now_us();
    for (uint64_t at = 0; at < span; at += size)
      if (pread(fd, block, size, (off_t)at) != (ssize_t)size) must(EIO, what);
    double each = (now_us() - begun) / (double)(span / size);
    if (each < best) best = each;
  }
  printf("%-24s best %9.3f us\n", what, best);
  close(fd);
  free(block);
}

static void bench(void) {
  struct kg_facts facts;
  size_t got;
  char block[8192];
  double begun = now_us();
  for (int i = 0; i < 100000; i++) syscall(SYS_getppid);
  printf("%-24s      %9.3f us\n", "a system call", (now_us() - begun) / 1e5);
  bench_writes("write 1 B", 1, 200000);
  bench_writes("write 100 B", 100, 100000);
  bench_writes("write 4 KiB", 4096, 4000);
  bench_writes("write 8 KiB", 8192, 4000);
  bench_writes("write 64 KiB", 65536, 500);
  bench_writes("write 1 MiB", 1 << 20, 64);
  bench_reads("read 8 KiB, in order", 8192, 64 << 20, false);
  bench_local("the same of a local file", 8192, 64 << 20);
  bench_reads("read 1 MiB, in order", 1 << 20, 64 << 20, false);
  bench_local("the same of a local file", 1 << 20, 64 << 20);
  bench_reads("read 4 KiB, leaping", 4096, 64 << 20, true);
  must(kg_read(file, block, sizeof block, 0, &got), "read");
  begun = now_us();
  for (int i = 0; i < 200000; i++) must(kg_read(file, block, sizeof block, 0, &got), "read");
  printf("%-24s      %9.3f us\n", "read 8 KiB that is kept", (now_us() - begun) / 2e5);
  begun = now_us();
  for (int i = 0; i < 2000; i++) must(kg_stat(&place, &facts), "stat");
  printf("%-24s      %9.3f us\n", "stat", (now_us() - begun) / 2000);
  begun = now_us();
  for (int i = 0; i < 200000; i++) must(kg_facts_of(file, &facts), "facts");
  printf("%-24s      %9.3f us\n", "facts of an open file", (now_us() - begun) / 2e5);
  begun = now_us();
  for (int i = 0; i < 2000; i++) must(kg_open(&place, 0, 0, &file, &facts), "open");
  printf("%-24s      %9.3f us\n", "open", (now_us() - begun) / 2000);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  if (argc > 3) count = atol(argv[3]);
  if (argc > 4) bytes = atol(argv[4]);
  kg_settings_read(environ);
  bool is_bytes = strcmp(argv[1], "bytes") == 0;
  open_file(argv[2], KG_OPEN_CREATE | KG_OPEN_WRITE | (is_bytes ? KG_OPEN_TRUNCATE : 0));
  if (is_bytes) {
    write_bytes();
  } else if (strcmp(argv[1], "bench") == 0) {
    bench();
  } else if (strcmp(argv[1], "threads") == 0) {
    pthread_t threads[4];
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], NULL, append_many, (void *)i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    must(kg_commit(), "commit");
  } else {
    append_many(NULL);
    must(kg_commit(), "commit");
  }
  return 0;
}
