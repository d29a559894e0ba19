/*
 * Attributes by name or descriptor: modes, owners, and truncate. Times are call-times.c's, extended
 * attributes call-xattr.c's.
 *
 * Kangaroo keeps no owners: giving a file to oneself is accepted (cp -p, tar and install do it all
 * the time), giving it to others is EPERM, as for anybody who is not root. The umask is observed,
 * because asking the kernel for it means changing it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

REAL(int, chmod, (const char *path, mode_t mode));
REAL(int, lchmod, (const char *path, mode_t mode));
REAL(int, fchmod, (int fd, mode_t mode));
REAL(int, fchmodat, (int at, const char *path, mode_t mode, int flags));
REAL(int, chown, (const char *path, uid_t owner, gid_t group));
REAL(int, lchown, (const char *path, uid_t owner, gid_t group));
REAL(int, fchown, (int fd, uid_t owner, gid_t group));
REAL(int, fchownat, (int at, const char *path, uid_t owner, gid_t group, int flags));
REAL(int, truncate, (const char *path, off_t size));
REAL(mode_t, umask, (mode_t mask));

/* -1: not known yet. */
static _Atomic int known_umask = -1;

/* The line "Umask:" of /proc/self/status; without it, the usual 022. */
static int read_umask(void) {
  char text[512];
  int fd = kg_raw_open("/proc/self/status", O_RDONLY);
  int64_t got = fd < 0 ? -1 : kg_raw_pread(fd, text, sizeof text - 1, 0);
  if (fd >= 0) kg_raw_close(fd);
  text[got > 0 ? got : 0] = 0;
  const char *line = strstr(text, "\nUmask:");
  return line ? (int)strtol(line + 7, NULL, 8) & 0777 : 022;
}

mode_t kg_umask(void) {
  if (known_umask < 0 || kg_is_borrowed()) {
    int mask = read_umask();
    if (kg_is_borrowed()) return (mode_t)mask;
    known_umask = mask;
  }
  return (mode_t)known_umask;
}

CAUGHT mode_t umask(mode_t mask) {
  mode_t before = CALL(umask)(mask);
  if (!kg_is_borrowed()) known_umask = (int)(mask & 0777);
  return before;
}

static int set_mode(const struct kg_place *place, mode_t mode) {
  struct kg_change change = {.kind = KG_SET, .flags = KG_SET_MODE, .mode = mode & 07777};
  return kg_change(place, NULL, &change);
}

__attribute__((noinline)) static int change_mode(int at, const char *path, mode_t mode, int flags) {
  struct kg_located to;
  int64_t start = kg_begun();
  kg_locate_at(at, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_TOP) return kg_fail(EPERM);
  if (to.where == KG_ELSEWHERE) return CALL(fchmodat)(at, path, mode, flags);
  if (to.where == KG_MAPPED) return CALL(fchmodat)(at, to.local, mode, flags);
  struct kg_facts facts;
  int problem = to.slash ? kg_facts_at(&to, &facts) : 0;
  if (!problem) problem = set_mode(&to.place, mode);
  kg_done_place("chmod", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int fchmodat(int at, const char *path, mode_t mode, int flags) {
  if (flags & AT_EMPTY_PATH && at >= 0 && !kg_is_null(path) && !path[0] && ours(at))
    return fchmod(at, mode);
  if (!kg_plainly_local(at, path)) return change_mode(at, path, mode, flags);
  return PASS(fchmodat)(at, path, mode, flags);
}

CAUGHT int chmod(const char *path, mode_t mode) {
  if (!kg_plainly_local(AT_FDCWD, path)) return change_mode(AT_FDCWD, path, mode, 0);
  return PASS(chmod)(path, mode);
}

CAUGHT int lchmod(const char *path, mode_t mode) {
  if (!kg_plainly_local(AT_FDCWD, path)) return change_mode(AT_FDCWD, path, mode, 0);
  return CALL(lchmod)(path, mode);
}

/* A directory's attributes go by its name: only writes to files have places on the board. */
__attribute__((noinline)) static int change_mode_of(struct kg_file *file, mode_t mode) {
  struct kg_place place;
  int64_t start = kg_begun();
  int problem;
  if (file->kind == KG_DIRECTORY) {
    problem = kg_place_open(file, &place);
    if (!problem) problem = place.name[0] ? set_mode(&place, mode) : EPERM;
  } else {
    problem = kg_set(file->ref, KG_SET_MODE, mode & 07777, 0, 0);
  }
  kg_done("fchmod", file, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int fchmod(int fd, mode_t mode) {
  struct kg_file *file = ours(fd);
  if (file) return change_mode_of(file, mode);
  return PASS(fchmod)(fd, mode);
}

static bool is_own_group(gid_t group) {
  gid_t groups[256];
  if (group == (gid_t)-1 || group == getegid() || group == getgid()) return true;
  int count = getgroups(256, groups);
  for (int i = 0; i < count; i++)
    if (groups[i] == group) return true;
  return false;
}

static int owner_allowed(uid_t owner, gid_t group) {
  bool self = owner == (uid_t)-1 || owner == geteuid() || owner == getuid();
  return self && is_own_group(group) ? 0 : EPERM;
}

__attribute__((noinline)) static int change_owner(int at, const char *path, uid_t owner,
                                                  gid_t group, int flags) {
  struct kg_located to;
  struct kg_facts facts = {0};
  int64_t start = kg_begun();
  kg_locate_at(at, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_TOP) return kg_fail(EPERM);
  if (to.where == KG_ELSEWHERE) return CALL(fchownat)(at, path, owner, group, flags);
  if (to.where == KG_MAPPED) return CALL(fchownat)(at, to.local, owner, group, flags);
  int problem = kg_stat(&to.place, &facts);
  if (!problem) problem = facts.kind == KG_ABSENT ? ENOENT : owner_allowed(owner, group);
  kg_done_place("chown", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int fchownat(int at, const char *path, uid_t owner, gid_t group, int flags) {
  if (flags & AT_EMPTY_PATH && at >= 0 && !kg_is_null(path) && !path[0] && ours(at))
    return fchown(at, owner, group);
  if (!kg_plainly_local(at, path)) return change_owner(at, path, owner, group, flags);
  return PASS(fchownat)(at, path, owner, group, flags);
}

CAUGHT int chown(const char *path, uid_t owner, gid_t group) {
  if (!kg_plainly_local(AT_FDCWD, path)) return change_owner(AT_FDCWD, path, owner, group, 0);
  return PASS(chown)(path, owner, group);
}

CAUGHT int lchown(const char *path, uid_t owner, gid_t group) {
  if (!kg_plainly_local(AT_FDCWD, path))
    return change_owner(AT_FDCWD, path, owner, group, AT_SYMLINK_NOFOLLOW);
  return PASS(lchown)(path, owner, group);
}

CAUGHT int fchown(int fd, uid_t owner, gid_t group) {
  struct kg_file *file = ours(fd);
  if (file) {
    int64_t start = kg_begun();
    int problem = owner_allowed(owner, group);
    kg_done("fchown", file, 0, start);
    return problem ? kg_fail(problem) : 0;
  }
  return PASS(fchown)(fd, owner, group);
}

__attribute__((noinline)) static int cut(const char *path, off_t size) {
  struct kg_located to;
  int64_t start = kg_begun();
  kg_locate_at(AT_FDCWD, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_ELSEWHERE) return CALL(truncate)(path, size);
  if (to.where == KG_MAPPED) return CALL(truncate)(to.local, size);
  if (to.where == KG_TOP || !to.place.path[0]) return kg_fail(EISDIR);
  if (size < 0) return kg_fail(EINVAL);
  struct kg_change change = {.kind = KG_CUT, .size = (uint64_t)size};
  struct kg_facts facts;
  int problem = to.slash ? kg_facts_at(&to, &facts) : 0;
  if (!problem) problem = kg_change(&to.place, NULL, &change);
  kg_done_place("truncate", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int truncate(const char *path, off_t size) {
  if (!kg_plainly_local(AT_FDCWD, path)) return cut(path, size);
  return PASS(truncate)(path, size);
}

CAUGHT int truncate64(const char *path, off64_t size) { return truncate(path, size); }
