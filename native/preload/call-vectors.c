/*
 * Vectored reads and writes. A vector is one range of the file: its part of the shared offset is
 * claimed once, and what is appended is gathered first, so that nobody's bytes come in between.
 */
#include <limits.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "data.h"
#include "maps.h"
#include "raw.h"
#include "scope.h"

REAL(ssize_t, readv, (int, const struct iovec *, int))
REAL(ssize_t, writev, (int, const struct iovec *, int))
REAL(ssize_t, preadv, (int, const struct iovec *, int, off_t))
REAL(ssize_t, pwritev, (int, const struct iovec *, int, off_t))
REAL(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int))
REAL(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))

enum { NEXT = -1 }; /* the offset that means "the shared one", as preadv2 has it */

/* Bytes of the vector in *total; EINVAL where Linux says so. */
static int measure(const struct iovec *parts, int count, size_t *total) {
  *total = 0;
  if (count < 0 || count > IOV_MAX) return EINVAL;
  for (int i = 0; i < count; i++) {
    if (parts[i].iov_len > (size_t)SSIZE_MAX - *total) return EINVAL;
    *total += parts[i].iov_len;
  }
  if (*total > 0x7ffff000) *total = 0x7ffff000;
  return 0;
}

static ssize_t read_parts(int fd, struct kg_file *file, const struct iovec *parts, int count,
                          off_t offset) {
  size_t total = 0, done = 0;
  int problem = kg_may_read(file);
  if (problem == 0) problem = measure(parts, count, &total);
  if (problem != 0) return kg_fail(problem);
  int64_t at = offset == NEXT ? kg_claim(fd, &total) : offset;
  if (at < 0) return kg_fail(offset == NEXT ? (int)-at : EINVAL);
  for (int i = 0; i < count && done < total && problem == 0; i++) {
    size_t got = 0, want = parts[i].iov_len < total - done ? parts[i].iov_len : total - done;
    problem = kg_read_range(file, parts[i].iov_base, want, (uint64_t)at + done, &got);
    done += got;
    if (got < want) break;
  }
  if (offset == NEXT && done < total) {
    kg_raw_lseek(fd, (int64_t)done - (int64_t)total, SEEK_CUR);
  }
  return problem != 0 && done == 0 ? kg_fail(problem) : (ssize_t)done;
}

/* One run of bytes to append, in memory of its own where the vector has several parts. */
static int append_parts(struct kg_file *file, const struct iovec *parts, int count, size_t total,
                        uint64_t *end) {
  if (count == 1) return kg_write_seen(file->ref, parts[0].iov_base, total, 0, true, end);
  char small[4096], *run = small;
  small[0] = 0;
  if (total > sizeof small && (run = kg_map(total, -1)) == 0) return ENOMEM;
  size_t done = 0;
  for (int i = 0; i < count && done < total; i++) {
    size_t part = parts[i].iov_len < total - done ? parts[i].iov_len : total - done;
    if (part > 0) __builtin_memcpy(run + done, parts[i].iov_base, part);
    done += part;
  }
  int problem = kg_write_seen(file->ref, run, total, 0, true, end);
  if (run != small) kg_unmap(run, total);
  return problem;
}

static int put_parts(struct kg_file *file, const struct iovec *parts, int count, size_t total,
                     uint64_t at) {
  uint64_t end;
  size_t done = 0;
  for (int i = 0; i < count && done < total; i++) {
    size_t part = parts[i].iov_len < total - done ? parts[i].iov_len : total - done;
    if (part == 0) continue;
    int problem = kg_write_seen(file->ref, parts[i].iov_base, part, at + done, false, &end);
    if (problem != 0) return problem;
    done += part;
  }
  return 0;
}

static ssize_t write_parts(int fd, struct kg_file *file, const struct iovec *parts, int count,
                           off_t offset, bool append, bool sync) {
  size_t total = 0;
  uint64_t end = 0;
  int problem = kg_may_write(file);
  if (problem == 0) problem = measure(parts, count, &total);
  if (problem != 0) return kg_fail(problem);
  if (offset < NEXT) return kg_fail(EINVAL);
  if (total == 0) return 0;
  if (file->append || append) {
    problem = append_parts(file, parts, count, total, &end);
    if (problem == 0 && offset == NEXT) kg_raw_lseek(fd, (int64_t)end, SEEK_SET);
  } else {
    int64_t at = offset == NEXT ? kg_claim(fd, &total) : offset;
    if (at < 0 || total == 0) return kg_fail(EFBIG);
    problem = put_parts(file, parts, count, total, (uint64_t)at);
    if (problem != 0 && offset == NEXT) kg_raw_lseek(fd, -(int64_t)total, SEEK_CUR);
  }
  if (problem == 0) problem = sync ? kg_barrier(file) : kg_write_done(file);
  return problem != 0 ? kg_fail(problem) : (ssize_t)total;
}

CAUGHT ssize_t readv(int fd, const struct iovec *parts, int count) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(readv)(fd, parts, count);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "readv", file, read_parts(fd, file, parts, count, NEXT));
}

CAUGHT ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(writev)(fd, parts, count);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "writev", file, write_parts(fd, file, parts, count, NEXT, false, false));
}

CAUGHT ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(preadv)(fd, parts, count, offset);
  if (offset < 0) return kg_fail(EINVAL);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "preadv", file, read_parts(fd, file, parts, count, offset));
}
ALIAS(preadv, preadv64);

CAUGHT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(pwritev)(fd, parts, count, offset);
  if (offset < 0) return kg_fail(EINVAL);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "pwritev", file,
                  write_parts(fd, file, parts, count, offset, false, false));
}
ALIAS(pwritev, pwritev64);

CAUGHT ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(preadv2)(fd, parts, count, offset, flags);
  if ((flags & ~RWF_HIPRI) != 0) return kg_fail(EOPNOTSUPP);
  if (offset < NEXT) return kg_fail(EINVAL);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "preadv2", file, read_parts(fd, file, parts, count, offset));
}
ALIAS(preadv2, preadv64v2);

CAUGHT ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
  struct kg_file *file = ours(fd);
  const int known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND;
  if (__builtin_expect(file == 0, 1)) return PASS(pwritev2)(fd, parts, count, offset, flags);
  if ((flags & ~known) != 0) return kg_fail(EOPNOTSUPP);
  if (offset < NEXT) return kg_fail(EINVAL);
  struct kg_scope scope = kg_enter();
  bool sync = (flags & (RWF_DSYNC | RWF_SYNC)) != 0;
  return kg_leave(scope, "pwritev2", file,
                  write_parts(fd, file, parts, count, offset, (flags & RWF_APPEND) != 0, sync));
}
ALIAS(pwritev2, pwritev64v2);
