/*
 * May it be used? access in its forms, and what is asked of file systems (statfs, pathconf).
 *
 * The permission bits are those of an owner, since who asks is taken for that. The room in the file
 * system is a large number: the destination's is not known, and a write waits rather than fails.
 */
#include <limits.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

enum { MAGIC = 0x4b474b47, BLOCK_BYTES = 1 << 20, BLOCKS = 1 << 30 };

REAL(int, access, (const char *, int))
REAL(int, faccessat, (int, const char *, int, int))
REAL(int, eaccess, (const char *, int))
REAL(int, euidaccess, (const char *, int))
REAL(int, statfs, (const char *, struct statfs *))
REAL(int, fstatfs, (int, struct statfs *))
REAL(int, statvfs, (const char *, struct statvfs *))
REAL(int, fstatvfs, (int, struct statvfs *))
REAL(long, pathconf, (const char *, int))
REAL(long, fpathconf, (int, int))

static int allowed(const struct kg_facts *facts, int mode, bool effective) {
  bool root = KG_KERNEL0(effective ? SYS_geteuid : SYS_getuid) == 0;
  if ((mode & ~(R_OK | W_OK | X_OK)) != 0) return EINVAL;
  if ((mode & R_OK) != 0 && !root && (facts->mode & 0400) == 0) return EACCES;
  if ((mode & W_OK) != 0 && !root && (facts->mode & 0200) == 0) return EACCES;
  if ((mode & X_OK) == 0 || (facts->mode & (root ? 0111 : 0100)) != 0) return 0;
  return root && facts->kind == KG_DIRECTORY ? 0 : EACCES;
}

static inline bool is_plain(int dirfd, const char *path) {
  if (!kg_plainly_local(dirfd, path)) return false;
  return kg_is_null(path) || path[0] != '/' || (path[1] != 'p' && path[1] != 'd');
}

/* Is the path ours? Then *facts or *problem; else the kernel is to be asked, see `located`. */
static bool ask(const char *call, int dirfd, const char *path, int flags,
                struct kg_located *located, struct kg_facts *facts, int *problem) {
  if (!kg_started) kg_start();
  int fd = (flags & AT_SYMLINK_NOFOLLOW) == 0 ? kg_aliased(path) : -1;
  if ((flags & AT_EMPTY_PATH) != 0 && (kg_is_null(path) || *path == 0)) fd = dirfd;
  struct kg_file *file = fd >= 0 ? ours(fd) : 0;
  int64_t begun = kg_begun();
  if (file != 0) {
    *problem = kg_facts_open(file, facts);
  } else {
    kg_locate_at(dirfd, path, located);
    if (located->where == KG_ELSEWHERE || located->where == KG_MAPPED) return false;
    *problem = kg_facts_at(located, facts);
  }
  if (file == 0 && located->where == KG_HERE)
    kg_done_place(call, &located->place, 0, begun);
  else
    kg_done(call, file, 0, begun);
  return true;
}

__attribute__((noinline)) static int access_slow(int dirfd, const char *path, int mode, int flags) {
  struct kg_located located;
  struct kg_facts facts;
  int problem;
  if (!ask("access", dirfd, path, flags, &located, &facts, &problem)) {
    return CALL(faccessat)(dirfd, located.where == KG_MAPPED ? located.local : path, mode, flags);
  }
  if (problem == 0) problem = allowed(&facts, mode, (flags & AT_EACCESS) != 0);
  return problem != 0 ? kg_fail(problem) : 0;
}

CAUGHT int access(const char *path, int mode) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(access)(path, mode);
  return access_slow(AT_FDCWD, path, mode, 0);
}

CAUGHT int faccessat(int dirfd, const char *path, int mode, int flags) {
  if (__builtin_expect(is_plain(dirfd, path), 1)) return PASS(faccessat)(dirfd, path, mode, flags);
  return access_slow(dirfd, path, mode, flags);
}

CAUGHT int eaccess(const char *path, int mode) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(eaccess)(path, mode);
  return access_slow(AT_FDCWD, path, mode, AT_EACCESS);
}

CAUGHT int euidaccess(const char *path, int mode) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(euidaccess)(path, mode);
  return access_slow(AT_FDCWD, path, mode, AT_EACCESS);
}

static void fill_statfs(struct statfs *out) {
  memset(out, 0, sizeof *out);
  out->f_type = MAGIC;
  out->f_bsize = out->f_frsize = BLOCK_BYTES;
  out->f_blocks = out->f_bfree = out->f_bavail = BLOCKS;
  out->f_files = out->f_ffree = BLOCKS;
  out->f_namelen = KG_NAME_MAX;
}

static void fill_statvfs(struct statvfs *out) {
  memset(out, 0, sizeof *out);
  out->f_bsize = out->f_frsize = BLOCK_BYTES;
  out->f_blocks = out->f_bfree = out->f_bavail = BLOCKS;
  out->f_files = out->f_ffree = out->f_favail = BLOCKS;
  out->f_namemax = KG_NAME_MAX;
}

__attribute__((noinline)) static int statfs_slow(const char *path, struct statfs *out,
                                                 struct statvfs *out_v) {
  struct kg_located located;
  struct kg_facts facts;
  int problem;
  if (!ask("statfs", AT_FDCWD, path, 0, &located, &facts, &problem)) {
    if (located.where == KG_MAPPED) path = located.local;
    return out != 0 ? CALL(statfs)(path, out) : CALL(statvfs)(path, out_v);
  }
  if (problem != 0) return kg_fail(problem);
  if (out != 0)
    fill_statfs(out);
  else
    fill_statvfs(out_v);
  return 0;
}

CAUGHT int statfs(const char *path, struct statfs *out) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(statfs)(path, out);
  return statfs_slow(path, out, 0);
}
ALIAS(statfs, statfs64);
ALIAS(statfs, __statfs);

CAUGHT int fstatfs(int fd, struct statfs *out) {
  if (__builtin_expect(ours(fd) == 0, 1)) return PASS(fstatfs)(fd, out);
  fill_statfs(out);
  return 0;
}
ALIAS(fstatfs, fstatfs64);

CAUGHT int statvfs(const char *path, struct statvfs *out) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(statvfs)(path, out);
  return statfs_slow(path, 0, out);
}
ALIAS(statvfs, statvfs64);

CAUGHT int fstatvfs(int fd, struct statvfs *out) {
  if (__builtin_expect(ours(fd) == 0, 1)) return PASS(fstatvfs)(fd, out);
  fill_statvfs(out);
  return 0;
}
ALIAS(fstatvfs, fstatvfs64);

static long limit_of(int which) {
  switch (which) {
  case _PC_LINK_MAX:
  case _PC_CHOWN_RESTRICTED:
  case _PC_NO_TRUNC:
    return 1;
  case _PC_NAME_MAX:
    return KG_NAME_MAX;
  case _PC_PATH_MAX:
  case _PC_PIPE_BUF:
    return PATH_MAX;
  case _PC_FILESIZEBITS:
    return 64;
  case _PC_REC_XFER_ALIGN:
  case _PC_ALLOC_SIZE_MIN:
  case _PC_REC_MIN_XFER_SIZE:
    return BLOCK_BYTES;
  case _PC_VDISABLE:
  case _PC_2_SYMLINKS:
    return 0;
  default:
    return -1; /* no limit, with errno as it was */
  }
}

__attribute__((noinline)) static long pathconf_slow(const char *path, int which) {
  struct kg_located located;
  struct kg_facts facts;
  int problem;
  if (!ask("pathconf", AT_FDCWD, path, 0, &located, &facts, &problem)) {
    return CALL(pathconf)(located.where == KG_MAPPED ? located.local : path, which);
  }
  return problem != 0 ? kg_fail(problem) : limit_of(which);
}

CAUGHT long pathconf(const char *path, int which) {
  if (__builtin_expect(is_plain(AT_FDCWD, path), 1)) return PASS(pathconf)(path, which);
  return pathconf_slow(path, which);
}

CAUGHT long fpathconf(int fd, int which) {
  if (__builtin_expect(ours(fd) == 0, 1)) return PASS(fpathconf)(fd, which);
  return limit_of(which);
}
