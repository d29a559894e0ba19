/*
 * Temporary files: a program opens a file, unlinks it and goes on with it. A Kangaroo file without
 * a name is nobody's, so the process that takes the name away gets a local one in its place, in
 * /tmp and without a name too: it has the same bytes, and takes over the descriptors that the
 * process has of the file, with their numbers, offsets and flags. They are the kernel's from then
 * on, and what the process starts inherits them.
 *
 * Other processes that have the file open get ESTALE, and so does this one when the file is too
 * large, or there is no room. A write by another thread, between the copy and the unlink, is lost;
 * so are locks.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "locks.h"
#include "processes.h"
#include "raw.h"
#include "unnamed.h"

enum { BLOCK = 1 << 18 };
static const uint64_t bytes_max = 64 << 20;

static int local_file(void) {
  static const char *const places[] = {"/tmp", "/var/tmp", "/dev/shm"};
  int flags = O_TMPFILE | O_RDWR | O_CLOEXEC;
  for (int i = 0; i < 3; i++) {
    long fd = kg_raw(SYS_openat, AT_FDCWD, (long)places[i], flags, 0600, 0, 0);
    if (fd >= 0) return (int)fd;
  }
  return -1;
}

static bool is_zeros(const char *bytes, size_t count) {
  return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

static bool copy_bytes(struct kg_ref ref, uint64_t size, int copy, char *block) {
  for (uint64_t at = 0; at < size;) {
    size_t got = 0;
    if (kg_read(ref, block, BLOCK, at, &got) != 0) return false;
    if (got == 0) break;
    if (!is_zeros(block, got) &&
        kg_raw(SYS_pwrite64, copy, (long)block, (long)got, (long)at, 0, 0) != (long)got)
      return false;
    at += got;
  }
  return kg_raw(SYS_ftruncate, copy, (long)size, 0, 0, 0, 0) == 0;
}

/* The descriptors of that file; false: there are none, or more than there is room for. */
static bool find(const struct kg_place *place, struct kg_unnamed *out) {
  struct kg_place other;
  for (int word = 0; word < KG_PERHAPS_MAX / 64; word++) {
    uint64_t bits = atomic_load_explicit(&kg_perhaps[word], memory_order_relaxed);
    for (; bits != 0; bits &= bits - 1) {
      int fd = word * 64 + __builtin_ctzll(bits);
      struct kg_file *file = ours(fd);
      if (!file || file->kind != KG_FILE || file->path_only) continue;
      if (kg_place_open(file, &other) != 0) continue;
      if (strcmp(other.name, place->name) != 0 || strcmp(other.path, place->path) != 0) continue;
      if (out->count == KG_UNNAMED_MAX) return false;
      out->fds[out->count++] = fd;
    }
  }
  return out->count > 0;
}

__attribute__((noinline)) void kg_unnamed_copy(const struct kg_place *place,
                                               struct kg_unnamed *out) {
  struct kg_facts facts = {.size = 0};
  out->copy = -1;
  out->count = 0;
  if (kg_is_borrowed() || !find(place, out) || kg_memory_flush() != 0) return;
  struct kg_ref ref = ours(out->fds[0])->ref;
  if (kg_facts_of(ref, &facts) != 0 || facts.size > bytes_max) return;
  int copy = local_file();
  if (copy < 0) return;
  long block =
      kg_raw(SYS_mmap, 0, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  bool is_good = block > 0 && copy_bytes(ref, facts.size, copy, (char *)block);
  if (block > 0) kg_raw(SYS_munmap, block, BLOCK, 0, 0, 0, 0);
  if (is_good)
    out->copy = copy;
  else
    kg_raw_close(copy);
  if (is_good) kg_raw(SYS_fchmod, copy, facts.mode & 07777, 0, 0, 0, 0);
}

/* The file again, opened as `fd` was, where it stands. */
static int opened_like(int fd, const struct kg_file *file, int copy) {
  char path[32] = "/proc/self/fd/";
  kg_decimal(path + strlen(path), (unsigned)copy);
  int flags = kg_raw_fcntl(fd, F_GETFL, 0) & (O_APPEND | O_NONBLOCK | O_SYNC);
  int made = kg_raw_open(path, flags | file->access);
  if (made >= 0) kg_raw_lseek(made, kg_raw_lseek(fd, 0, SEEK_CUR), SEEK_SET);
  return made;
}

void kg_unnamed_cover(struct kg_unnamed *unnamed, bool done) {
  if (unnamed->copy < 0) return;
  uint64_t inodes[KG_UNNAMED_MAX];
  for (int i = 0; done && i < unnamed->count; i++) {
    int fd = unnamed->fds[i], same = 0;
    struct kg_file *file = ours(fd);
    inodes[i] = file ? atomic_load(&file->ino) : 0;
    if (!file) continue;
    int closes = kg_raw_fcntl(fd, F_GETFD, 0) & FD_CLOEXEC ? O_CLOEXEC : 0;
    /* Copies of one descriptor have one offset, before and after. */
    for (; same < i && inodes[same] != inodes[i]; same++) continue;
    int made = same < i ? unnamed->fds[same] : opened_like(fd, file, unnamed->copy);
    if (made < 0) continue;
    kg_before_close(fd);
    kg_locks_leave(fd);
    kg_raw_dup3(made, fd, closes);
    if (same == i) kg_raw_close(made);
  }
  kg_raw_close(unnamed->copy);
}
