/*
 * flock(2) among the programs of one first hop.
 *
 * Such a lock belongs to the open file, over dup, fork and exec, and a shell that has opened a file
 * may let flock(1) lock it. So the lock is the kernel's own, on the placeholder. Two opens of one
 * file are two placeholders, which the kernel does not compare: whoever wants a lock looks through
 * /proc/PID/fd for the others of the file and tries theirs, with a mutex for the file around it. A
 * wait looks again every few milliseconds.
 */
#include <dirent.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include "../core/process.h"
#include "locks.h"
#include "placeholder.h"
#include "raw.h"

enum { POLL_NS = 10000000, TRIED_MAX = 64 };

struct search {
  struct kg_placeholder wanted;
  int operation;
  uint64_t own;              /* inode of the placeholder that asks */
  uint64_t tried[TRIED_MAX]; /* inodes that were found free */
  int tried_count;
  bool is_taken;
};

/* Calls `each` for the entries of a directory that are numbers, until it says false. */
static void for_numbers(const char *path, bool (*each)(struct search *, const char *, const char *),
                        struct search *search) {
  char buffer[4096] __attribute__((aligned(8)));
  int list = kg_raw_open(path, O_RDONLY | O_DIRECTORY);
  bool more = list >= 0;
  while (more) {
    long got = KG_KERNEL3(SYS_getdents64, list, buffer, sizeof buffer);
    if (got <= 0) break;
    for (long at = 0; at < got && more;) {
      struct dirent64 *entry = (struct dirent64 *)(buffer + at);
      at += entry->d_reclen;
      if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') {
        more = each(search, path, entry->d_name);
      }
    }
  }
  if (list >= 0) kg_raw_close(list);
}

static void join(char *out, const char *path, const char *name, const char *end) {
  size_t bytes = strlen(path), more = strlen(name);
  memcpy(out, path, bytes);
  out[bytes] = '/';
  memcpy(out + bytes + 1, name, more);
  strcpy(out + bytes + 1 + more, end);
}

/* Would this placeholder's lock be in the way? It is tried, and given back at once. */
static bool is_free(struct search *search, const char *path) {
  struct stat st;
  int fd = kg_raw_open(path, O_RDONLY);
  if (fd < 0) return true;
  bool is_known = kg_raw_fstat(fd, &st) != 0 || st.st_ino == search->own;
  for (int i = 0; i < search->tried_count; i++) is_known |= search->tried[i] == st.st_ino;
  bool result = is_known || KG_KERNEL2(SYS_flock, fd, search->operation | LOCK_NB) == 0;
  kg_raw_close(fd);
  if (result && !is_known && search->tried_count < TRIED_MAX) {
    search->tried[search->tried_count++] = st.st_ino;
  }
  return result;
}

static bool look_at_descriptor(struct search *search, const char *path, const char *name) {
  char link[96];
  struct kg_placeholder found;
  join(link, path, name, "");
  if (!kg_placeholder_at(link, &found)) return true;
  if (found.ref.slot != search->wanted.ref.slot) return true;
  if (found.ref.generation != search->wanted.ref.generation) return true;
  if (memcmp(found.board, search->wanted.board, 32) != 0) return true;
  search->is_taken = !is_free(search, link);
  return !search->is_taken;
}

static bool look_at_process(struct search *search, const char *path, const char *name) {
  char below[64];
  join(below, path, name, "/fd");
  for_numbers(below, look_at_descriptor, search);
  return !search->is_taken;
}

/* One try. 0, EWOULDBLOCK, or another errno value. */
static int try_lock(int fd, struct kg_file *file, int operation) {
  struct search search = {.operation = operation, .own = atomic_load(&file->ino)};
  struct flock mutex = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
  mutex.l_start = file->ref.slot;
  if (!kg_placeholder_of(fd, &search.wanted)) return EBADF;
  int table = kg_locks_open("-flocks");
  if (table < 0) return -table;
  long result = kg_raw_fcntl(table, F_OFD_SETLKW, (long)&mutex);
  if (result == 0) {
    for_numbers("/proc", look_at_process, &search);
    result = search.is_taken ? -EWOULDBLOCK : KG_KERNEL2(SYS_flock, fd, operation | LOCK_NB);
  }
  kg_close_private(table);
  return (int)-result;
}

int kg_flock(int fd, struct kg_file *file, int operation) {
  int kind = operation & ~LOCK_NB;
  if (file->path_only) return EBADF;
  if (kind == LOCK_UN) return (int)-KG_KERNEL2(SYS_flock, fd, LOCK_UN);
  if (kind != LOCK_SH && kind != LOCK_EX) return EINVAL;
  if (KG_IS_TOP(file)) return ENOLCK;
  for (;;) {
    struct timespec pause = {.tv_sec = 0, .tv_nsec = POLL_NS};
    int problem = try_lock(fd, file, kind);
    if (problem != EWOULDBLOCK || (operation & LOCK_NB) != 0) return problem;
    long slept = KG_KERNEL2(SYS_nanosleep, &pause, 0);
    if (slept == -EINTR) return EINTR;
  }
}
