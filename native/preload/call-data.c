/*
 * Reading and writing: one buffer, at the shared offset or at a given one.
 *
 * The offset is the placeholder's, so it is shared as POSIX wants by whoever shares the open file.
 * A call moves it by all it may need in one lseek, which is atomic, and then works on the range
 * that is its own; a read gives back what lay beyond the end. Appending is decided in the board.
 */
#include <limits.h>
#include <unistd.h>
#include "data.h"
#include "maps.h"
#include "raw.h"
#include "scope.h"

REAL(ssize_t, read, (int, void *, size_t))
REAL(ssize_t, write, (int, const void *, size_t))
REAL(ssize_t, pread, (int, void *, size_t, off_t))
REAL(ssize_t, pwrite, (int, const void *, size_t, off_t))
REAL(ssize_t, __read_chk, (int, void *, size_t, size_t))
REAL(ssize_t, __pread_chk, (int, void *, size_t, off_t, size_t))

/* As much as Linux moves in one call. */
static size_t bounded(size_t count) { return count > 0x7ffff000 ? 0x7ffff000 : count; }

int kg_may_read(const struct kg_file *file) {
  if (file->path_only || file->access == O_WRONLY) return EBADF;
  return file->kind == KG_DIRECTORY ? EISDIR : 0;
}

int kg_may_write(const struct kg_file *file) {
  return file->path_only || file->access == O_RDONLY ? EBADF : 0;
}

int64_t kg_claim(int fd, size_t *count) {
  int64_t end = kg_raw_lseek(fd, (int64_t)*count, SEEK_CUR);
  if (end >= 0) return end - (int64_t)*count;
  int64_t at = kg_raw_lseek(fd, 0, SEEK_CUR);
  if (at < 0 || (uint64_t)(INT64_MAX - at) >= *count) return end;
  *count = (size_t)(INT64_MAX - at);
  end = kg_raw_lseek(fd, (int64_t)*count, SEEK_CUR);
  return end < 0 ? end : end - (int64_t)*count;
}

int kg_read_range(struct kg_file *file, void *bytes, size_t count, uint64_t offset, size_t *got) {
  *got = 0;
  while (*got < count) {
    size_t part = 0;
    int problem = kg_read_seen(file->ref, (char *)bytes + *got, count - *got, offset + *got, &part);
    if (problem != 0) return *got > 0 ? 0 : problem;
    if (part == 0) return 0;
    *got += part;
  }
  return 0;
}

int kg_write_done(struct kg_file *file) {
  if (file->synced) return kg_barrier(file);
  return kg_ending ? kg_commit() : 0;
}

ssize_t kg_read_next(int fd, struct kg_file *file, void *bytes, size_t count) {
  int problem = kg_may_read(file);
  if (problem != 0) return kg_fail(problem);
  size_t got = 0, claimed = bounded(count);
  if (claimed == 0) return 0;
  int64_t at = kg_claim(fd, &claimed);
  if (at < 0) return kg_fail((int)-at);
  problem = kg_read_range(file, bytes, claimed, (uint64_t)at, &got);
  if (got < claimed) kg_raw_lseek(fd, (int64_t)got - (int64_t)claimed, SEEK_CUR);
  return problem != 0 ? kg_fail(problem) : (ssize_t)got;
}

static bool is_simple(const struct kg_file *file) {
  return file->access != O_RDONLY && !file->append && !file->path_only;
}

/*
 * Claims `count` bytes of the shared offset before it is known that `fd` is ours; -1: it is not, or
 * not so simple, and the offset is where it was. Where the offset is found as this process left it,
 * that is proof enough; else the kernel is asked, with the claim made.
 */
static int64_t claim_quickly(int fd, struct kg_file *known, size_t count) {
  int64_t before = atomic_load_explicit(&known->at, memory_order_relaxed);
  if (before == 0 || count - 1 >= 0x7ffff000 || before > INT64_MAX - (int64_t)count) return -1;
  if (!is_simple(known)) return -1;
  int64_t end = kg_raw_lseek(fd, (int64_t)count, SEEK_CUR);
  if (end < 0) return -1;
  if (__builtin_expect(end - (int64_t)count != before, 0)) {
    atomic_store_explicit(&known->at, 0, memory_order_relaxed);
    if (ours(fd) != known || !is_simple(known)) {
      kg_raw_lseek(fd, -(int64_t)count, SEEK_CUR);
      return -1;
    }
  }
  atomic_store_explicit(&known->at, end, memory_order_relaxed);
  return end - (int64_t)count;
}

static ssize_t write_claimed(int fd, struct kg_file *file, const void *bytes, size_t count,
                             int64_t at) {
  uint64_t end = 0;
  int problem = kg_write_seen(file->ref, bytes, count, (uint64_t)at, false, &end);
  if (problem != 0) {
    atomic_store_explicit(&file->at, 0, memory_order_relaxed);
    kg_raw_lseek(fd, -(int64_t)count, SEEK_CUR);
  } else {
    problem = kg_write_done(file);
  }
  return problem != 0 ? kg_fail(problem) : (ssize_t)count;
}

ssize_t kg_write_next(int fd, struct kg_file *file, const void *bytes, size_t count) {
  int problem = kg_may_write(file);
  if (problem != 0) return kg_fail(problem);
  uint64_t end = 0;
  count = bounded(count);
  if (count == 0) return 0;
  if (file->append) {
    problem = kg_write_seen(file->ref, bytes, count, 0, true, &end);
    if (problem == 0) kg_raw_lseek(fd, (int64_t)end, SEEK_SET);
  } else {
    int64_t at = kg_claim(fd, &count);
    if (at < 0 || count == 0) return kg_fail(EFBIG);
    /* Not in a vfork child, whose parent would believe it. */
    if (!kg_is_borrowed()) {
      atomic_store_explicit(&file->at, at + (int64_t)count, memory_order_relaxed);
    }
    return write_claimed(fd, file, bytes, count, at);
  }
  if (problem == 0) problem = kg_write_done(file);
  return problem != 0 ? kg_fail(problem) : (ssize_t)count;
}

ssize_t kg_read_at(struct kg_file *file, void *bytes, size_t count, off_t offset) {
  if (offset < 0) return kg_fail(EINVAL);
  int problem = kg_may_read(file);
  size_t got = 0;
  if (problem == 0) problem = kg_read_range(file, bytes, bounded(count), (uint64_t)offset, &got);
  return problem != 0 ? kg_fail(problem) : (ssize_t)got;
}

/* Linux appends here too when O_APPEND is set, whatever the offset; the shared one stays. */
ssize_t kg_write_at(struct kg_file *file, const void *bytes, size_t count, off_t offset) {
  if (offset < 0) return kg_fail(EINVAL);
  int problem = kg_may_write(file);
  if (problem != 0) return kg_fail(problem);
  uint64_t end = 0;
  count = bounded(count);
  if (count > (size_t)(INT64_MAX - offset)) count = (size_t)(INT64_MAX - offset);
  if (count == 0) return offset == INT64_MAX ? kg_fail(EFBIG) : 0;
  problem = kg_write_seen(file->ref, bytes, count, (uint64_t)offset, file->append, &end);
  if (problem == 0) problem = kg_write_done(file);
  return problem != 0 ? kg_fail(problem) : (ssize_t)count;
}

CAUGHT ssize_t read(int fd, void *bytes, size_t count) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(read)(fd, bytes, count);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "read", file, kg_read_next(fd, file, bytes, count));
}
ALIAS(read, __read);

/* Is this the next write of a run? Then *result is its result. */
static bool write_on(int fd, const void *bytes, size_t count, ssize_t *result) {
  struct kg_file *file = kg_file_at(fd);
  if (file == 0 || atomic_load_explicit(&file->at, memory_order_relaxed) == 0) return false;
  struct kg_scope scope = kg_enter();
  int64_t at = claim_quickly(fd, file, count);
  if (at >= 0) *result = write_claimed(fd, file, bytes, count, at);
  if (at >= 0)
    kg_leave(scope, "write", file, *result);
  else
    pthread_setcancelstate(scope.cancel, 0);
  return at >= 0;
}

CAUGHT ssize_t write(int fd, const void *bytes, size_t count) {
  ssize_t result;
  if (__builtin_expect(kg_is_perhaps(fd), 0) && write_on(fd, bytes, count, &result)) return result;
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(write)(fd, bytes, count);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "write", file, kg_write_next(fd, file, bytes, count));
}
ALIAS(write, __write);

CAUGHT ssize_t pread(int fd, void *bytes, size_t count, off_t offset) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(pread)(fd, bytes, count, offset);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "pread", file, kg_read_at(file, bytes, count, offset));
}
ALIAS(pread, pread64);
ALIAS(pread, __pread64);

CAUGHT ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(pwrite)(fd, bytes, count, offset);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "pwrite", file, kg_write_at(file, bytes, count, offset));
}
ALIAS(pwrite, pwrite64);
ALIAS(pwrite, __pwrite64);

CAUGHT ssize_t __read_chk(int fd, void *bytes, size_t count, size_t room) {
  if (count > room || ours(fd) == 0) return PASS(__read_chk)(fd, bytes, count, room);
  return read(fd, bytes, count);
}

CAUGHT ssize_t __pread_chk(int fd, void *bytes, size_t count, off_t offset, size_t room) {
  if (count > room || ours(fd) == 0) return PASS(__pread_chk)(fd, bytes, count, offset, room);
  return pread(fd, bytes, count, offset);
}
ALIAS(__pread_chk, __pread64_chk);
