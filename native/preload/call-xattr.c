/*
 * Extended attributes, which Kangaroo has not: ENOTSUP of everything that is ours, on which cp,
 * tar, ls and the ACL library do without.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/xattr.h>

#include "preload.h"

REAL(ssize_t, getxattr, (const char *path, const char *name, void *value, size_t size));
REAL(ssize_t, lgetxattr, (const char *path, const char *name, void *value, size_t size));
REAL(ssize_t, fgetxattr, (int fd, const char *name, void *value, size_t size));
REAL(int, setxattr, (const char *path, const char *name, const void *v, size_t size, int flags));
REAL(int, lsetxattr, (const char *path, const char *name, const void *v, size_t size, int flags));
REAL(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags));
REAL(ssize_t, listxattr, (const char *path, char *list, size_t size));
REAL(ssize_t, llistxattr, (const char *path, char *list, size_t size));
REAL(ssize_t, flistxattr, (int fd, char *list, size_t size));
REAL(int, removexattr, (const char *path, const char *name));
REAL(int, lremovexattr, (const char *path, const char *name));
REAL(int, fremovexattr, (int fd, const char *name));

/*
 * False: not ours, and `local` is what to ask the kernel about (a mount may lead elsewhere; `room`
 * holds that name). True: errno is set.
 */
__attribute__((noinline)) static bool refused_slowly(const char *path, char *room,
                                                     const char **local) {
  struct kg_located to;
  kg_locate_at(AT_FDCWD, path, &to);
  *local = path;
  if (to.where == KG_ELSEWHERE) return false;
  if (to.where == KG_MAPPED) {
    __builtin_strcpy(room, to.local);
    *local = room;
    return false;
  }
  errno = to.where == KG_BAD ? to.problem : ENOTSUP;
  return true;
}

#define BY_NAME(call, path, ...)                                                  \
  do {                                                                            \
    if (kg_plainly_local(AT_FDCWD, path)) return CALL(call)(path, ##__VA_ARGS__); \
    char room[KG_PATH_MAX];                                                       \
    const char *local;                                                            \
    if (refused_slowly(path, room, &local)) return -1;                            \
    return CALL(call)(local, ##__VA_ARGS__);                                      \
  } while (0)

#define BY_NUMBER(call, fd, ...) return ours(fd) ? kg_fail(ENOTSUP) : CALL(call)(fd, ##__VA_ARGS__)

CAUGHT ssize_t getxattr(const char *path, const char *name, void *value, size_t size) {
  BY_NAME(getxattr, path, name, value, size);
}
CAUGHT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) {
  BY_NAME(lgetxattr, path, name, value, size);
}
CAUGHT ssize_t fgetxattr(int fd, const char *name, void *value, size_t size) {
  BY_NUMBER(fgetxattr, fd, name, value, size);
}
CAUGHT int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
  BY_NAME(setxattr, path, name, value, size, flags);
}
CAUGHT int lsetxattr(const char *path, const char *name, const void *value, size_t size,
                     int flags) {
  BY_NAME(lsetxattr, path, name, value, size, flags);
}
CAUGHT int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
  BY_NUMBER(fsetxattr, fd, name, value, size, flags);
}
CAUGHT ssize_t listxattr(const char *path, char *list, size_t size) {
  BY_NAME(listxattr, path, list, size);
}
CAUGHT ssize_t llistxattr(const char *path, char *list, size_t size) {
  BY_NAME(llistxattr, path, list, size);
}
CAUGHT ssize_t flistxattr(int fd, char *list, size_t size) {
  BY_NUMBER(flistxattr, fd, list, size);
}
CAUGHT int removexattr(const char *path, const char *name) { BY_NAME(removexattr, path, name); }
CAUGHT int lremovexattr(const char *path, const char *name) { BY_NAME(lremovexattr, path, name); }
CAUGHT int fremovexattr(int fd, const char *name) { BY_NUMBER(fremovexattr, fd, name); }
