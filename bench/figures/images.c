/*
 * The program of the paper's figures 12 and 13: it reads one image and makes COUNT others of it in
 * turn, each after CPU_MS of processor time. It knows nothing of Kangaroo.
 *
 *   images files INPUT COUNT CPU_MS PREFIX      into the files PREFIX0, PREFIX1, ...
 *   images tcp INPUT COUNT CPU_MS HOST PORT     each over a connection of its own, as to a remote
 *                                               file: it is closed when the far side has it all
 *   images none INPUT COUNT CPU_MS              nowhere: what the computing alone takes
 *   images send HOST PORT FILE...               no computing: what staging does afterwards
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024 };

__attribute__((noreturn)) static void fail(const char *what, const char *name) {
  fprintf(stderr, "images: %s %s: %s\n", what, name, strerror(errno));
  exit(1);
}

static void write_all(int fd, const uint8_t *bytes, size_t length, const char *name) {
  for (size_t at = 0; at < length;) {
    size_t most = length - at < BLOCK ? length - at : BLOCK;
    ssize_t got = write(fd, bytes + at, most);
    if (got <= 0) fail("write", name);
    at += (size_t)got;
  }
}

static uint8_t *read_all(const char *path, size_t *length) {
  int fd = open(path, O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) fail("open", path);
  uint8_t *bytes = malloc((size_t)st.st_size + 1);
  for (*length = 0; *length < (size_t)st.st_size;) {
    size_t left = (size_t)st.st_size - *length;
    ssize_t got = read(fd, bytes + *length, left < BLOCK ? left : BLOCK);
    if (got <= 0) fail("read", path);
    *length += (size_t)got;
  }
  close(fd);
  return bytes;
}

static double processor_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Sharpens the image a little more than the last time, again and again until the time is over. */
static void enhance(const uint8_t *from, uint8_t *to, size_t length, int strength, double ms) {
  double start = processor_ms();
  do {
    for (size_t i = 0; i < length; i++) {
      int before = from[i == 0 ? 0 : i - 1], after = from[i + 1 == length ? i : i + 1];
      to[i] = (uint8_t)(from[i] + strength * (2 * from[i] - before - after) / 16);
    }
    /* Or the compiler would do the same work only once. */
    __asm__ volatile("" : : "r"(to) : "memory");
  } while (processor_ms() - start < ms);
}

static void send_all(const char *host, const char *port, const uint8_t *bytes, size_t length) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("address", host);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect", host);
  write_all(fd, bytes, length, host);
  if (shutdown(fd, SHUT_WR) != 0) fail("shutdown", host);
  char word;
  if (read(fd, &word, 1) != 1) fail("answer", host);
  close(fd);
}

static void save(const char *prefix, int number, const uint8_t *bytes, size_t length) {
  char path[4096];
  snprintf(path, sizeof path, "%s%d", prefix, number);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) fail("open", path);
  write_all(fd, bytes, length, path);
  if (close(fd) != 0) fail("close", path);
}

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  const char *mode = argv[1];
  size_t length;
  if (strcmp(mode, "send") == 0) {
    for (int i = 4; i < argc; i++) {
      uint8_t *bytes = read_all(argv[i], &length);
      send_all(argv[2], argv[3], bytes, length);
      free(bytes);
    }
    return 0;
  }
  uint8_t *image = read_all(argv[2], &length);
  uint8_t *made = malloc(length + 1);
  for (int number = 0; number < atoi(argv[3]); number++) {
    enhance(image, made, length, number + 1, atof(argv[4]));
    if (strcmp(mode, "files") == 0 && argc == 6)
      save(argv[5], number, made, length);
    else if (strcmp(mode, "tcp") == 0 && argc == 7)
      send_all(argv[5], argv[6], made, length);
    else if (strcmp(mode, "none") != 0)
      return 2;
  }
  return 0;
}
