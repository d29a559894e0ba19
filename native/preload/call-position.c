/*
 * The offset, the size, and the barriers of open files.
 *
 * SEEK_SET and SEEK_CUR are the kernel's own, on the placeholder. A file is one run of data up to
 * its end (SEEK_DATA, SEEK_HOLE). Space cannot be reserved at a destination, so allocating is no
 * more than making a file longer. fsync is a push, or a commit with KANGAROO_FSYNC=commit.
 */
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

REAL(off_t, lseek, (int, off_t, int))
REAL(int, ftruncate, (int, off_t))
REAL(int, fallocate, (int, int, off_t, off_t))
REAL(int, posix_fallocate, (int, off_t, off_t))
REAL(int, posix_fadvise, (int, off_t, off_t, int))
REAL(int, sync_file_range, (int, off64_t, off64_t, unsigned))
REAL(ssize_t, readahead, (int, off64_t, size_t))
REAL(int, fsync, (int))
REAL(int, fdatasync, (int))
REAL(int, syncfs, (int))
REAL(void, sync, (void))

static int64_t moved(int fd, int64_t offset, int whence) {
  int64_t at = kg_raw_lseek(fd, offset, whence);
  return at < 0 ? kg_fail((int)-at) : at;
}

int64_t kg_seek(int fd, struct kg_file *file, int64_t offset, int whence) {
  struct kg_facts facts;
  int64_t at;
  if (file->path_only) return kg_fail(EBADF);
  if (whence != SEEK_END && whence != SEEK_DATA && whence != SEEK_HOLE) {
    return moved(fd, offset, whence);
  }
  int problem = kg_facts_open(file, &facts);
  if (problem != 0) return kg_fail(problem);
  int64_t size = (int64_t)facts.size;
  if (whence == SEEK_END) {
    if (__builtin_add_overflow(size, offset, &at)) return kg_fail(EOVERFLOW);
    return at < 0 ? kg_fail(EINVAL) : moved(fd, at, SEEK_SET);
  }
  if (offset < 0 || offset >= size) return kg_fail(ENXIO);
  return moved(fd, whence == SEEK_DATA ? offset : size, SEEK_SET);
}

CAUGHT off_t lseek(int fd, off_t offset, int whence) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(lseek)(fd, offset, whence);
  int64_t begun = kg_begun();
  int64_t at = kg_seek(fd, file, offset, whence);
  kg_done("lseek", file, 0, begun);
  return at;
}
ALIAS(lseek, lseek64);
ALIAS(lseek, __lseek);
ALIAS(lseek, llseek);

CAUGHT int ftruncate(int fd, off_t size) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(ftruncate)(fd, size);
  if (file->path_only) return kg_fail(EBADF);
  if (size < 0 || kg_may_write(file) != 0) return kg_fail(EINVAL);
  struct kg_scope scope = kg_enter();
  int problem = kg_truncate(file->ref, (uint64_t)size);
  if (problem == 0) problem = kg_write_done(file);
  return (int)kg_leave(scope, "ftruncate", file, problem != 0 ? kg_fail(problem) : 0);
}
ALIAS(ftruncate, ftruncate64);

/* The file is at least as long as the range wants. 0 or an errno value. */
static int lengthen(struct kg_file *file, off_t offset, off_t length) {
  struct kg_facts facts;
  off_t end;
  int problem = kg_may_write(file);
  if (problem != 0) return problem;
  if (offset < 0 || length <= 0) return EINVAL;
  if (__builtin_add_overflow(offset, length, &end)) return EFBIG;
  problem = kg_facts_open(file, &facts);
  if (problem != 0 || facts.size >= (uint64_t)end) return problem;
  return kg_truncate(file->ref, (uint64_t)end);
}

CAUGHT int fallocate(int fd, int mode, off_t offset, off_t length) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(fallocate)(fd, mode, offset, length);
  struct kg_scope scope = kg_enter();
  int problem = kg_may_write(file);
  if (problem == 0 && (offset < 0 || length <= 0)) problem = EINVAL;
  if (problem == 0 && (mode & ~FALLOC_FL_KEEP_SIZE) != 0) problem = EOPNOTSUPP;
  if (problem == 0 && mode == 0) problem = lengthen(file, offset, length);
  return (int)kg_leave(scope, "fallocate", file, problem != 0 ? kg_fail(problem) : 0);
}
ALIAS(fallocate, fallocate64);

CAUGHT int posix_fallocate(int fd, off_t offset, off_t length) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(posix_fallocate)(fd, offset, length);
  struct kg_scope scope = kg_enter();
  int problem = lengthen(file, offset, length);
  kg_leave(scope, "posix_fallocate", file, 0);
  return problem;
}
ALIAS(posix_fallocate, posix_fallocate64);

CAUGHT int posix_fadvise(int fd, off_t offset, off_t length, int advice) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(posix_fadvise)(fd, offset, length, advice);
  if (file->path_only) return EBADF;
  return length < 0 || advice < 0 || advice > POSIX_FADV_NOREUSE ? EINVAL : 0;
}
ALIAS(posix_fadvise, posix_fadvise64);

CAUGHT int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  if (__builtin_expect(ours(fd) == 0, 1)) return PASS(sync_file_range)(fd, offset, length, flags);
  return offset < 0 || length < 0 || (flags & ~7u) != 0 ? kg_fail(EINVAL) : 0;
}

CAUGHT ssize_t readahead(int fd, off64_t offset, size_t count) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(readahead)(fd, offset, count);
  int problem = kg_may_read(file);
  return problem != 0 ? kg_fail(problem == EISDIR ? EINVAL : problem) : 0;
}

int kg_barrier(struct kg_file *file) {
  struct kg_place place;
  if (KG_IS_TOP(file) || kg_settings.fsync_is_commit) return kg_commit();
  int problem = kg_place_of(file->ref, &place);
  return problem != 0 ? problem : kg_push(&place);
}

static int barrier(const char *call, struct kg_file *file) {
  if (file->path_only) return kg_fail(EBADF);
  struct kg_scope scope = kg_enter();
  int problem = kg_barrier(file);
  return (int)kg_leave(scope, call, file, problem != 0 ? kg_fail(problem) : 0);
}

CAUGHT int fsync(int fd) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(fsync)(fd);
  return barrier("fsync", file);
}

CAUGHT int fdatasync(int fd) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(fdatasync)(fd);
  return barrier("fdatasync", file);
}

CAUGHT int syncfs(int fd) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(syncfs)(fd);
  struct kg_scope scope = kg_enter();
  int problem = kg_commit();
  return (int)kg_leave(scope, "syncfs", file, problem != 0 ? kg_fail(problem) : 0);
}

CAUGHT void sync(void) {
  kg_rescue_all();
  if (kg_is_dirty()) {
    struct kg_scope scope = kg_enter();
    kg_commit();
    kg_leave(scope, "sync", 0, 0);
  }
  CALL(sync)();
}
