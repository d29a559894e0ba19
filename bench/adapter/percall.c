/*
 * percall WORK PATH BYTES COUNT: what one call costs, in nanoseconds. It makes COUNT calls in
 * batches and prints the median of the batches' means, so that one interruption does not count.
 *
 *   write      at the end of a new file            read       in sequence, the second time round
 *   cold       in sequence, the first time         random     pread at random places
 *   stat, access, open (and close), fstat, lseek, pread (of byte 0), null (a write to /dev/null),
 *   getpid (PATH does not matter)
 *   trip       64 bytes there and back over a Unix socket, with another process of this kind
 *   apart      the same, each of them on a processor of its own, as a program and a server are
 *   spawn      start of the program BYTES is the name of, with LD_PRELOAD=PATH when PATH is not "-"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES_MAX = 64 };
static const char *path, *third;
static size_t bytes;
static char *block;
static int fd = -1;
static off_t size;
static uint64_t state = 88172645463325252ull;

__attribute__((noreturn)) static void fail(const char *what) {
  fprintf(stderr, "percall: %s %s: %s\n", what, path, strerror(errno));
  exit(1);
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static off_t random_place(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  off_t places = size / (off_t)bytes;
  return places == 0 ? 0 : (off_t)(state % (uint64_t)places) * (off_t)bytes;
}

static void call_write(void) {
  if (write(fd, block, bytes) != (ssize_t)bytes) fail("write");
}
static void call_read(void) {
  ssize_t got = read(fd, block, bytes);
  if (got < 0) fail("read");
  if (got < (ssize_t)bytes && lseek(fd, 0, SEEK_SET) != 0) fail("lseek");
}
static void call_random(void) {
  if (pread(fd, block, bytes, random_place()) != (ssize_t)bytes) fail("pread");
}
static void call_pread(void) {
  if (pread(fd, block, 1, 0) != 1) fail("pread");
}
static void call_stat(void) {
  struct stat st;
  if (stat(path, &st) != 0) fail("stat");
}
static void call_fstat(void) {
  struct stat st;
  if (fstat(fd, &st) != 0) fail("fstat");
}
static void call_access(void) {
  if (access(path, R_OK) != 0) fail("access");
}
static void call_getpid(void) {
  if (getpid() <= 0) fail("getpid");
}
static void call_lseek(void) {
  if (lseek(fd, 0, SEEK_SET) != 0) fail("lseek");
}
static void call_open(void) {
  int one = open(path, O_RDONLY);
  if (one < 0) fail("open");
  close(one);
}

static void whole(int socket, int is_write) {
  for (size_t done = 0; done < 64;) {
    ssize_t got = is_write ? write(socket, block, 64 - done) : read(socket, block, 64 - done);
    if (got <= 0) exit(is_write ? 1 : 0);
    done += (size_t)got;
  }
}
static void call_trip(void) {
  whole(fd, 1);
  whole(fd, 0);
}

static void stay_on(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  sched_setaffinity(0, sizeof set, &set);
}

/* Another process answers on the socket at `path`, as a server would. */
static void start_peer(int is_apart) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(listener, 1) != 0) fail("listen");
  pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (is_apart) stay_on(pid == 0);
  if (pid == 0) {
    int peer = accept(listener, 0, 0);
    for (;;) {
      whole(peer, 0);
      whole(peer, 1);
    }
  }
  fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  unlink(path);
}

static void call_spawn(void) {
  char preload[4200];
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", path);
  char *environment[] = {"PATH=/usr/bin:/bin", getenv("KANGAROO_PAIR"), preload, 0};
  char *bare[] = {"PATH=/usr/bin:/bin", 0};
  if (environment[1] == 0) environment[1] = "NOTHING=1";
  char *argv[] = {(char *)third, 0};
  pid_t pid;
  int status;
  int is_bare = strcmp(path, "-") == 0;
  if (posix_spawn(&pid, third, 0, 0, argv, is_bare ? bare : environment) != 0) fail("spawn");
  if (waitpid(pid, &status, 0) != pid || status != 0) fail("wait");
}

struct work {
  const char *name;
  void (*call)(void);
  int flags; /* of open; -1: none */
};
static const struct work works[] = {
    {"write", call_write, O_WRONLY | O_CREAT | O_TRUNC},
    {"null", call_write, O_WRONLY},
    {"read", call_read, O_RDONLY},
    {"cold", call_read, O_RDONLY},
    {"random", call_random, O_RDONLY},
    {"pread", call_pread, O_RDONLY},
    {"fstat", call_fstat, O_RDONLY},
    {"lseek", call_lseek, O_RDONLY},
    {"stat", call_stat, -1},
    {"access", call_access, -1},
    {"open", call_open, -1},
    {"getpid", call_getpid, -1},
    {"trip", call_trip, -1},
    {"apart", call_trip, -1},
    {"spawn", call_spawn, -1},
};

static void prepare(const struct work *work) {
  if (work->flags >= 0 && (fd = open(path, work->flags, 0644)) < 0) fail("open");
  struct stat st;
  if (work->flags >= 0 && fstat(fd, &st) == 0) size = st.st_size;
  if (work->call == call_trip) start_peer(strcmp(work->name, "apart") == 0);
  if (strcmp(work->name, "read") != 0) return;
  while (read(fd, block, bytes) > 0) continue;
  if (lseek(fd, 0, SEEK_SET) != 0) fail("lseek");
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const struct work *work = works;
  while (work < works + sizeof works / sizeof *works && strcmp(work->name, argv[1]) != 0) work++;
  if (work == works + sizeof works / sizeof *works) return 2;
  path = argv[2];
  third = argv[3];
  bytes = strtoull(argv[3], 0, 10);
  long count = atol(argv[4]);
  block = malloc(bytes < 64 ? 64 : bytes);
  memset(block, 'k', bytes < 64 ? 64 : bytes);
  prepare(work);
  /* What writes has to wait for is not to be lost as an interruption: one batch. */
  long batches = work->call == call_write && work->flags != O_WRONLY ? 1
                 : count < 40                                        ? 1
                                                                     : 20;
  double means[BATCHES_MAX];
  for (long batch = 0; batch < batches; batch++) {
    double start = now_ns();
    for (long i = 0; i < count / batches; i++) work->call();
    means[batch] = (now_ns() - start) / (double)(count / batches);
  }
  if (fd >= 0 && close(fd) != 0) fail("close");
  qsort(means, (size_t)batches, sizeof *means, by_value);
  printf("%.1f\n", means[batches / 2]);
  return 0;
}
