/*
 * For leaks.test.ts: does one thing very often in one process, below the directory that is its
 * first argument, as many times as $ROUNDS says, and tells after each thing how memory and
 * descriptors have grown since the first rounds, which may fill what is kept:
 *
 *   NAME ROUNDS anonymous KIB virtual KIB descriptors COUNT
 *
 * Anonymous memory is what the process has for itself; the board, which all programs share, is
 * resident as far as it was used, and as large as it is from the start. Virtual memory is the
 * least growth of three thirds of the rounds: a map that is made once, when the first data has
 * arrived and is read through the shared cache, is no leak, whenever it comes; a leak is in each.
 */
#include "check.h"
#include <dirent.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/mman.h>

enum { FILES = 50, BYTES = 3000 };
static char bytes[BYTES];

static const char *one(int round) {
  char name[32];
  snprintf(name, sizeof name, "f%d", round % FILES);
  return in(name);
}

static void writes(int round) {
  int fd = open(one(round), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  CHECK(fd >= 0 && write(fd, bytes, BYTES) == BYTES && close(fd) == 0);
}

static void reads(int round) {
  int fd = open(one(round), O_RDONLY);
  CHECK(fd >= 0 && read(fd, bytes, BYTES) == BYTES && close(fd) == 0);
}

static void lists(int round) {
  (void)round;
  int count = 0;
  DIR *stream = opendir(directory);
  CHECK(stream != NULL);
  while (readdir(stream) != NULL) count++;
  CHECK(count == FILES + 2 && closedir(stream) == 0);
}

static void maps(int round) {
  int fd = open(one(round), O_RDWR), shared = round % 2 ? MAP_SHARED : MAP_PRIVATE;
  char *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, shared, fd, 0);
  CHECK(map != MAP_FAILED && close(fd) == 0);
  map[round % BYTES]++;
  CHECK(munmap(map, BYTES) == 0);
}

static void streams(int round) {
  char line[64];
  FILE *stream = fopen(one(round), round % 2 ? "r+" : "r");
  CHECK(stream != NULL && fgets(line, sizeof line, stream) != NULL);
  if (round % 2) CHECK(fseek(stream, 0, SEEK_SET) == 0 && fputs("again", stream) >= 0);
  CHECK(fclose(stream) == 0);
}

static void copies(int round) {
  int fd = open(one(round), O_RDONLY), copy = dup(fd);
  CHECK(copy >= 0 && dup2(fd, 100) == 100 && fcntl(fd, F_DUPFD, 200) == 200);
  CHECK(close(fd) == 0 && close(copy) == 0 && close(100) == 0 && close(200) == 0);
}

static void names(int round) {
  struct stat facts;
  char *real = realpath(one(round), NULL);
  CHECK(real != NULL && stat(real, &facts) == 0 && facts.st_size == BYTES);
  free(real);
  FAILS(open(in("absent"), O_RDONLY), ENOENT);
  FAILS(stat(in("absent"), &facts), ENOENT);
}

static void locks(int round) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
  int fd = open(one(round), O_RDWR);
  CHECK(fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0 && close(fd) == 0);
}

static int visit(const char *path, const struct stat *facts, int kind, struct FTW *where) {
  (void)path, (void)facts, (void)where;
  return kind == FTW_NS;
}

static void walks(int round) {
  glob_t found;
  if (round % 2) {
    CHECK(nftw(directory, visit, 8, FTW_PHYS) == 0);
  } else {
    CHECK(glob(in("f*"), 0, NULL, &found) == 0 && found.gl_pathc == FILES);
    globfree(&found);
  }
}

struct now {
  long rss, vm, descriptors;
};

static struct now look(void) {
  struct now now = {0, 0, 0};
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, status) != NULL) {
    sscanf(line, "RssAnon: %ld", &now.rss);
    sscanf(line, "VmSize: %ld", &now.vm);
  }
  fclose(status);
  DIR *list = opendir("/proc/self/fd");
  while (readdir(list) != NULL) now.descriptors++;
  closedir(list);
  return now;
}

static void often(const char *name, void (*once)(int), int rounds) {
  for (int i = 0; i < rounds / 10; i++) once(i);
  struct now before = look(), third = before, after = before;
  long least = LONG_MAX;
  for (int i = 0; i < rounds; i++) {
    once(i);
    if ((i + 1) % (rounds / 3) != 0) continue;
    after = look();
    if (after.vm - third.vm < least) least = after.vm - third.vm;
    third = after;
  }
  printf("%s %d anonymous %ld virtual %ld descriptors %ld\n", name, rounds, after.rss - before.rss,
         least, after.descriptors - before.descriptors);
  fflush(stdout);
}

static void test(void) {
  memset(bytes, 'x', sizeof bytes);
  for (int i = 0; i < FILES; i++) writes(i);
  int rounds = atoi(getenv("ROUNDS"));
  often("write", writes, rounds);
  often("read", reads, rounds);
  often("list", lists, rounds);
  often("map", maps, rounds);
  often("stream", streams, rounds);
  often("copy", copies, rounds / 3);
  often("name", names, rounds / 3);
  often("lock", locks, rounds / 3);
  often("walk", walks, rounds / 20);
}
