/*
 * The memory behind writable shared maps: one memfd for each open file that is mapped so, for all
 * programs of one first hop, so that they see each other's writes as they would on a local disk.
 *
 * Its name says which slot of which board it is for, and whoever maps the file looks for it in
 * /proc, as the server looks for placeholders: it goes with the last process that has it, and
 * nothing is left behind by one that was killed. The first half holds the file as it is mapped,
 * the second, from KG_PRISTINE on, what of it has been written.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "map-memory.h"
#include "processes.h"
#include "raw.h"

struct entry {
  uint64_t ino;
  int64_t next;
  uint16_t bytes;
  uint8_t type;
  char name[];
};

static bool is_number(const char *text) { return *text >= '0' && *text <= '9'; }

/* Calls `each` with every numeric name of a directory until it returns something but -1. */
static int among(const char *path, int (*each)(const char *path, const char *name, void *context),
                 void *context) {
  char buffer[2048] __attribute__((aligned(8)));
  int found = -1, list = kg_raw_open(path, O_RDONLY | O_DIRECTORY);
  while (list >= 0 && found == -1) {
    long got = kg_raw(SYS_getdents64, list, (long)buffer, sizeof buffer, 0, 0, 0);
    if (got <= 0) break;
    for (long at = 0; at < got && found == -1;) {
      struct entry *entry = (struct entry *)(buffer + at);
      if (is_number(entry->name)) found = each(path, entry->name, context);
      at += entry->bytes;
    }
  }
  if (list >= 0) kg_raw_close(list);
  return found;
}

static void join(char *out, const char *directory, const char *name, const char *rest) {
  strcpy(stpcpy(stpcpy(stpcpy(out, directory), "/"), name), rest);
}

static int try_descriptor(const char *directory, const char *number, void *wanted) {
  char path[64], name[160];
  join(path, directory, number, "");
  int64_t got = kg_raw_readlink(path, name, sizeof name - 1);
  if (got <= 0) return -1;
  name[got] = 0;
  size_t length = strlen(wanted);
  if (strncmp(name, "/memfd:", 7) != 0 || strncmp(name + 7, wanted, length) != 0) return -1;
  if (strcmp(name + 7 + length, " (deleted)") != 0) return -1;
  int fd = kg_raw_open(path, O_RDWR);
  return fd < 0 ? -1 : fd;
}

static int try_process(const char *directory, const char *number, void *wanted) {
  char path[64];
  join(path, directory, number, "/fd");
  return among(path, try_descriptor, wanted);
}

/* For making one of a slot at a time; closing the file gives the lock back. */
static int lock_making(const char *board, uint32_t slot) {
  char path[96];
  struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1};
  strcpy(stpcpy(stpcpy(path, "/dev/shm/kangaroo-"), board), "-maps");
  int fd = (int)kg_raw(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                       0600, 0, 0);
  if (fd >= 0) kg_raw_fcntl(fd, F_SETLKW, (long)&range);
  return fd;
}

static int out_of_the_way(int fd) {
  int high = kg_raw_fcntl(fd, F_DUPFD_CLOEXEC, 600);
  if (high < 0) return fd;
  kg_raw_close(fd);
  return high;
}

static int make_longer(int fd, uint64_t end) {
  struct stat facts;
  struct rlimit most;
  uint64_t size = KG_PRISTINE + end;
  /* Beyond a limit on files the kernel would kill the program. */
  if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < size) return -EFBIG;
  if (kg_raw_fstat(fd, &facts) == 0 && (uint64_t)facts.st_size >= size) return 0;
  return (int)kg_raw(SYS_ftruncate, fd, (long)size, 0, 0, 0, 0);
}

int kg_map_memory(struct kg_ref ref, uint64_t end, int known) {
  char board[33], name[96];
  int problem = kg_board_id(board);
  if (problem) return -problem;
  char *at = stpcpy(stpcpy(stpcpy(name, "kangaroo-map:"), board), ":");
  at = kg_decimal(at, ref.slot);
  *at++ = '.';
  kg_decimal(at, ref.generation);
  int making = lock_making(board, ref.slot);
  int fd = known >= 0 ? known : among("/proc", try_process, name);
  if (fd < 0) fd = (int)kg_raw(SYS_memfd_create, (long)name, MFD_CLOEXEC, 0, 0, 0, 0);
  if (fd >= 0) fd = out_of_the_way(fd);
  problem = fd < 0 ? fd : make_longer(fd, end);
  if (making >= 0) kg_raw_close(making);
  if (!problem || fd < 0) return fd;
  kg_raw_close(fd);
  return problem;
}

void kg_map_memory_lock(int fd, bool on) {
  struct flock all = {.l_type = on ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET};
  if (fd >= 0) kg_raw_fcntl(fd, F_SETLKW, (long)&all);
}
