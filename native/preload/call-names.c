/*
 * Calls that make, remove and change names: rename, unlink, rmdir, mkdir, readlink, and the ones
 * that are honestly refused because a Kangaroo file has one name and no other kind: link, symlink,
 * mknod, mkfifo, chroot (EPERM, as on a FAT file system).
 *
 * A rename that would leave a server is EXDEV, on which every mv copies and removes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "unnamed.h"

REAL(int, rename, (const char *from, const char *to));
REAL(int, renameat, (int at, const char *from, int to_at, const char *to));
REAL(int, renameat2, (int at, const char *from, int to_at, const char *to, unsigned flags));
REAL(int, unlink, (const char *path));
REAL(int, unlinkat, (int at, const char *path, int flags));
REAL(int, rmdir, (const char *path));
REAL(int, remove, (const char *path));
REAL(int, mkdir, (const char *path, mode_t mode));
REAL(int, mkdirat, (int at, const char *path, mode_t mode));

/* "/kangaroo" and a server's root cannot be made, removed or renamed. */
static bool is_root(const struct kg_located *to) {
  return to->where == KG_TOP || (to->where == KG_HERE && !to->place.path[0]);
}

/* A path for the real call: KG_MAPPED means another one. */
static const char *local_path(const struct kg_located *to, const char *path) {
  return to->where == KG_MAPPED ? to->local : path;
}

static bool is_local(const struct kg_located *to) {
  return to->where == KG_ELSEWHERE || to->where == KG_MAPPED;
}

/* A name with a slash behind it is a directory's: 0, or an errno value. */
static int check_slash(const struct kg_located *named) {
  struct kg_facts facts;
  int problem = kg_stat(&named->place, &facts);
  if (problem) return problem;
  if (facts.kind == KG_ABSENT) return ENOENT;
  return facts.kind == KG_DIRECTORY ? 0 : ENOTDIR;
}

__attribute__((noinline)) static int move(int at, const char *from_path, int to_at,
                                          const char *to_path, unsigned flags) {
  struct kg_located from, to;
  int64_t start = kg_begun();
  kg_locate_at(at, from_path, &from);
  kg_locate_at(to_at, to_path, &to);
  if (from.where == KG_BAD) return kg_fail(from.problem);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (is_local(&from) && is_local(&to)) {
    const char *a = local_path(&from, from_path), *b = local_path(&to, to_path);
    if (flags) return CALL(renameat2)(at, a, to_at, b, flags);
    return CALL(renameat)(at, a, to_at, b);
  }
  if (is_root(&from) || is_root(&to)) return kg_fail(EBUSY);
  if (is_local(&from) || is_local(&to)) return kg_fail(EXDEV);
  if (strcmp(from.place.name, to.place.name) != 0) return kg_fail(EXDEV);
  if (flags & ~(unsigned)RENAME_NOREPLACE) return kg_fail(EINVAL);
  struct kg_change change = {.kind = KG_RENAME, .flags = flags & RENAME_NOREPLACE ? 1 : 0};
  int problem = from.slash || to.slash ? check_slash(&from) : 0;
  struct kg_unnamed unnamed = {.copy = -1};
  if (!problem && strcmp(from.place.path, to.place.path) != 0) kg_unnamed_copy(&to.place, &unnamed);
  if (!problem) problem = kg_change(&from.place, &to.place, &change);
  kg_unnamed_cover(&unnamed, problem == 0);
  kg_done_place("rename", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
  if (!kg_plainly_local(at, from) || !kg_plainly_local(to_at, to))
    return move(at, from, to_at, to, flags);
  return PASS(renameat2)(at, from, to_at, to, flags);
}

CAUGHT int renameat(int at, const char *from, int to_at, const char *to) {
  if (!kg_plainly_local(at, from) || !kg_plainly_local(to_at, to))
    return move(at, from, to_at, to, 0);
  return PASS(renameat)(at, from, to_at, to);
}

CAUGHT int rename(const char *from, const char *to) {
  if (!kg_plainly_local(AT_FDCWD, from) || !kg_plainly_local(AT_FDCWD, to))
    return move(AT_FDCWD, from, AT_FDCWD, to, 0);
  return PASS(rename)(from, to);
}

static int change_one(const struct kg_place *place, enum kg_change_kind kind, mode_t mode) {
  struct kg_change change = {.kind = kind, .mode = mode & 07777};
  return kg_change(place, NULL, &change);
}

/* What this process has open of it goes on without a name. */
static int remove_file(const struct kg_place *place) {
  struct kg_unnamed unnamed;
  kg_unnamed_copy(place, &unnamed);
  int problem = change_one(place, KG_UNLINK, 0);
  kg_unnamed_cover(&unnamed, problem == 0);
  return problem;
}

/* flags: AT_REMOVEDIR, or `either` for remove(3). */
__attribute__((noinline)) static int take_away(int at, const char *path, int flags, bool either) {
  struct kg_located to;
  int64_t start = kg_begun();
  kg_locate_at(at, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (is_local(&to)) {
    const char *local = local_path(&to, path);
    return either ? CALL(remove)(local) : CALL(unlinkat)(at, local, flags);
  }
  if (is_root(&to)) return kg_fail(flags & AT_REMOVEDIR || either ? EBUSY : EISDIR);
  bool is_unlink = !(flags & AT_REMOVEDIR);
  int problem = is_unlink && to.slash ? check_slash(&to) : 0;
  if (!problem && is_unlink) problem = remove_file(&to.place);
  if (!problem && !is_unlink) problem = change_one(&to.place, KG_RMDIR, 0);
  if (problem == EISDIR && either) problem = change_one(&to.place, KG_RMDIR, 0);
  kg_done_place(flags & AT_REMOVEDIR ? "rmdir" : "unlink", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int unlinkat(int at, const char *path, int flags) {
  if (!kg_plainly_local(at, path)) return take_away(at, path, flags, false);
  return PASS(unlinkat)(at, path, flags);
}

CAUGHT int unlink(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return take_away(AT_FDCWD, path, 0, false);
  return PASS(unlink)(path);
}

CAUGHT int rmdir(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return take_away(AT_FDCWD, path, AT_REMOVEDIR, false);
  return PASS(rmdir)(path);
}

CAUGHT int remove(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return take_away(AT_FDCWD, path, 0, true);
  return PASS(remove)(path);
}

__attribute__((noinline)) static int make(int at, const char *path, mode_t mode) {
  struct kg_located to;
  int64_t start = kg_begun();
  kg_locate_at(at, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (is_local(&to)) return CALL(mkdirat)(at, local_path(&to, path), mode);
  if (is_root(&to)) return kg_fail(EEXIST);
  int problem = change_one(&to.place, KG_MKDIR, mode & ~kg_umask());
  kg_done_place("mkdir", &to.place, 0, start);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int mkdirat(int at, const char *path, mode_t mode) {
  if (!kg_plainly_local(at, path)) return make(at, path, mode);
  return PASS(mkdirat)(at, path, mode);
}

CAUGHT int mkdir(const char *path, mode_t mode) {
  if (!kg_plainly_local(AT_FDCWD, path)) return make(AT_FDCWD, path, mode);
  return PASS(mkdir)(path, mode);
}
