/*
 * Facts of files: the stat family in all its generations, and access.
 *
 * What nobody knows is answered benevolently: the owner is who asks, there is one link, blocks are
 * what the size needs. st_blksize is 1 MiB, so that copying programs use few calls.
 */
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

/* A directory has one size, wherever it lies just now: programs add it up, and compare. */
enum { BLOCK_BYTES = 1 << 20, DIRECTORY_BYTES = 4096, DEVICE_MINOR = 0x4b47 };

REAL(int, stat, (const char *, struct stat *))
REAL(int, lstat, (const char *, struct stat *))
REAL(int, fstat, (int, struct stat *))
REAL(int, fstatat, (int, const char *, struct stat *, int))
REAL(int, statx, (int, const char *, int, unsigned, struct statx *))
REAL(int, __xstat, (int, const char *, struct stat *))
REAL(int, __lxstat, (int, const char *, struct stat *))
REAL(int, __fxstat, (int, int, struct stat *))
REAL(int, __fxstatat, (int, int, const char *, struct stat *, int))

static mode_t type_of(enum kg_kind kind) {
  if (kind == KG_DIRECTORY) return S_IFDIR;
  if (kind == KG_SYMLINK) return S_IFLNK;
  return S_IFREG;
}

static struct timespec time_of(int64_t ns) {
  struct timespec time = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  if (time.tv_nsec < 0) {
    time.tv_sec--;
    time.tv_nsec += 1000000000;
  }
  return time;
}

void kg_fill_stat(const struct kg_facts *facts, struct stat *out) {
  memset(out, 0, sizeof *out);
  out->st_dev = makedev(0, DEVICE_MINOR);
  out->st_ino = facts->ino;
  out->st_mode = type_of(facts->kind) | (facts->mode & 07777);
  out->st_nlink = 1;
  out->st_uid = (uid_t)KG_KERNEL0(SYS_geteuid);
  out->st_gid = (gid_t)KG_KERNEL0(SYS_getegid);
  uint64_t size = facts->kind == KG_DIRECTORY ? DIRECTORY_BYTES : facts->size;
  out->st_size = (off_t)size;
  out->st_blksize = BLOCK_BYTES;
  out->st_blocks = (blkcnt_t)((size + 511) / 512);
  out->st_atim = out->st_mtim = out->st_ctim = time_of(facts->mtime_ns);
}

/* "/kangaroo" itself: nobody made it, nobody changes it. */
static void top_facts(struct kg_facts *facts) {
  *facts = (struct kg_facts){.kind = KG_DIRECTORY, .mode = 0555, .ino = 2};
}

int kg_facts_at(const struct kg_located *located, struct kg_facts *facts) {
  if (located->where == KG_BAD) return located->problem;
  if (located->where == KG_HERE) {
    int problem = kg_stat(&located->place, facts);
    bool is_other = facts->kind != KG_DIRECTORY && facts->kind != KG_ABSENT;
    return problem == 0 && located->slash && is_other ? ENOTDIR : problem;
  }
  top_facts(facts);
  return 0;
}

int kg_facts_open(struct kg_file *file, struct kg_facts *facts) {
  if (!KG_IS_TOP(file)) return kg_facts_of(file->ref, facts);
  top_facts(facts);
  return 0;
}

static int fstat_ours(struct kg_file *file, struct stat *out) {
  int64_t begun = kg_begun();
  struct kg_facts facts;
  int problem = kg_facts_open(file, &facts);
  kg_done("fstat", file, 0, begun);
  if (problem != 0) return kg_fail(problem);
  kg_fill_stat(&facts, out);
  return 0;
}

/*
 * Whose are the facts of a path? False: the kernel's, of `path`, or of located->local where a mount
 * leads there. True: ours, of the descriptor *fd where it is not negative, else of `located`.
 */
static bool look(int dirfd, const char *path, int flags, struct kg_located *located, int *fd) {
  *fd = -1;
  located->where = KG_ELSEWHERE;
  if (!kg_started) kg_start();
  if ((flags & AT_EMPTY_PATH) != 0 && (kg_is_null(path) || *path == 0)) {
    *fd = dirfd;
    return ours(dirfd) != 0;
  }
  if ((flags & AT_SYMLINK_NOFOLLOW) == 0) *fd = kg_aliased(path);
  if (*fd >= 0) return true;
  kg_locate_at(dirfd, path, located);
  return located->where != KG_ELSEWHERE && located->where != KG_MAPPED;
}

static int facts_of(const char *call, const struct kg_located *located, int fd,
                    struct kg_facts *facts) {
  int64_t begun = kg_begun();
  struct kg_file *file = fd >= 0 ? ours(fd) : 0;
  int problem = EBADF;
  if (fd < 0) problem = kg_facts_at(located, facts);
  if (file != 0) problem = kg_facts_open(file, facts);
  if (fd < 0 && located->where == KG_HERE)
    kg_done_place(call, &located->place, 0, begun);
  else
    kg_done(call, file, 0, begun);
  return problem;
}

/* The kernel's answer, as libc gives it. */
static int answered(long result) { return result < 0 ? kg_fail((int)-result) : (int)result; }

__attribute__((noinline)) static int stat_slow(const char *call, int dirfd, const char *path,
                                               struct stat *out, int flags) {
  struct kg_located located;
  struct kg_facts facts;
  int fd;
  if (!look(dirfd, path, flags, &located, &fd)) {
    if (located.where == KG_MAPPED) path = located.local;
    return answered(KG_KERNEL4(SYS_newfstatat, dirfd, path, out, flags));
  }
  int problem = facts_of(call, &located, fd, &facts);
  if (problem != 0) return kg_fail(problem);
  kg_fill_stat(&facts, out);
  return 0;
}

/* No path of ours, and none that leads to one of our descriptors. */
static inline bool is_plain(int dirfd, const char *path) {
  if (!kg_plainly_local(dirfd, path)) return false;
  return kg_is_null(path) || path[0] != '/' || (path[1] != 'p' && path[1] != 'd');
}

/* With AT_EMPTY_PATH that means the descriptor itself. */
static inline bool is_nothing(const char *path) { return kg_is_null(path) || *path == 0; }

CAUGHT int stat(const char *path, struct stat *out) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(stat)(path, out);
  return stat_slow("stat", AT_FDCWD, path, out, 0);
}
ALIAS(stat, stat64);

CAUGHT int lstat(const char *path, struct stat *out) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(lstat)(path, out);
  return stat_slow("lstat", AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
ALIAS(lstat, lstat64);

CAUGHT int fstat(int fd, struct stat *out) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(fstat)(fd, out);
  return fstat_ours(file, out);
}
ALIAS(fstat, fstat64);

CAUGHT int fstatat(int dirfd, const char *path, struct stat *out, int flags) {
  if (__builtin_expect(is_plain(dirfd, path) && !is_nothing(path), 1)) {
    return PASS(fstatat)(dirfd, path, out, flags);
  }
  return stat_slow("fstatat", dirfd, path, out, flags);
}
ALIAS(fstatat, fstatat64);

/* The names that programs import which were linked before glibc 2.33. */
CAUGHT int __xstat(int version, const char *path, struct stat *out) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(__xstat)(version, path, out);
  return stat_slow("stat", AT_FDCWD, path, out, 0);
}
ALIAS(__xstat, __xstat64);

CAUGHT int __lxstat(int version, const char *path, struct stat *out) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(__lxstat)(version, path, out);
  return stat_slow("lstat", AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
ALIAS(__lxstat, __lxstat64);

CAUGHT int __fxstat(int version, int fd, struct stat *out) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(__fxstat)(version, fd, out);
  return fstat_ours(file, out);
}
ALIAS(__fxstat, __fxstat64);

CAUGHT int __fxstatat(int version, int dirfd, const char *path, struct stat *out, int flags) {
  if (__builtin_expect(is_plain(dirfd, path) && !is_nothing(path), 1)) {
    return PASS(__fxstatat)(version, dirfd, path, out, flags);
  }
  return stat_slow("fstatat", dirfd, path, out, flags);
}
ALIAS(__fxstatat, __fxstatat64);

static void fill_statx(const struct stat *from, struct statx *out) {
  memset(out, 0, sizeof *out);
  out->stx_mask = STATX_BASIC_STATS;
  out->stx_blksize = (uint32_t)from->st_blksize;
  out->stx_nlink = (uint32_t)from->st_nlink;
  out->stx_uid = from->st_uid;
  out->stx_gid = from->st_gid;
  out->stx_mode = (uint16_t)from->st_mode;
  out->stx_ino = from->st_ino;
  out->stx_size = (uint64_t)from->st_size;
  out->stx_blocks = (uint64_t)from->st_blocks;
  out->stx_mtime.tv_sec = from->st_mtim.tv_sec;
  out->stx_mtime.tv_nsec = (uint32_t)from->st_mtim.tv_nsec;
  out->stx_atime = out->stx_ctime = out->stx_mtime;
  out->stx_dev_major = major(from->st_dev);
  out->stx_dev_minor = minor(from->st_dev);
}

__attribute__((noinline)) static int statx_slow(int dirfd, const char *path, int flags,
                                                unsigned mask, struct statx *out) {
  struct kg_located located;
  struct kg_facts facts;
  struct stat st;
  int fd;
  if (!look(dirfd, path, flags, &located, &fd)) {
    if (located.where == KG_MAPPED) path = located.local;
    return answered(kg_kernel(SYS_statx, dirfd, (long)path, flags, mask, (long)out, 0));
  }
  int problem = facts_of("statx", &located, fd, &facts);
  if (problem != 0) return kg_fail(problem);
  kg_fill_stat(&facts, &st);
  fill_statx(&st, out);
  return 0;
}

CAUGHT int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out) {
  if (__builtin_expect(is_plain(dirfd, path) && !is_nothing(path), 1)) {
    return PASS(statx)(dirfd, path, flags, mask, out);
  }
  return statx_slow(dirfd, path, flags, mask, out);
}
