/*
 * Calls on kinds of files that Kangaroo has not: links, symbolic links, devices, pipes, a changed
 * root. They are refused with EPERM, as a FAT file system does, and what is the program's business
 * elsewhere goes to the kernel. readlink says EINVAL of what is there, and tells the name of an
 * open file of ours where a program asks /proc/self/fd for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"

REAL(int, link, (const char *from, const char *to));
REAL(int, linkat, (int at, const char *from, int to_at, const char *to, int flags));
REAL(int, symlink, (const char *target, const char *path));
REAL(int, symlinkat, (const char *target, int at, const char *path));
REAL(int, mknod, (const char *path, mode_t mode, dev_t device));
REAL(int, mknodat, (int at, const char *path, mode_t mode, dev_t device));
REAL(int, mkfifo, (const char *path, mode_t mode));
REAL(int, mkfifoat, (int at, const char *path, mode_t mode));
REAL(int, __xmknod, (int version, const char *path, mode_t mode, dev_t *device));
REAL(int, __xmknodat, (int version, int at, const char *path, mode_t mode, dev_t *device));
REAL(int, chroot, (const char *path));
REAL(ssize_t, readlink, (const char *path, char *buffer, size_t size));
REAL(ssize_t, readlinkat, (int at, const char *path, char *buffer, size_t size));

/* 0 and `to->local` or the caller's own path, or the errno of a refusal. */
static int refused(int at, const char *path, struct kg_located *to) {
  kg_locate_at(at, path, to);
  if (to->where == KG_BAD) return to->problem;
  return to->where == KG_HERE || to->where == KG_TOP ? EPERM : 0;
}

static const char *local_path(const struct kg_located *to, const char *path) {
  return to->where == KG_MAPPED ? to->local : path;
}

__attribute__((noinline)) static int join_names(int at, const char *from_path, int to_at,
                                                const char *to_path, int flags) {
  struct kg_located from, to;
  int a = flags & AT_EMPTY_PATH && !kg_is_null(from_path) && !from_path[0] && at >= 0
              ? (ours(at) ? EPERM : 0)
              : refused(at, from_path, &from);
  int b = refused(to_at, to_path, &to);
  if (a == 0 && b == 0) {
    bool empty = !kg_is_null(from_path) && !from_path[0];
    return CALL(linkat)(at, empty ? from_path : local_path(&from, from_path), to_at,
                        local_path(&to, to_path), flags);
  }
  if (a && b) return kg_fail(a);
  /* One of them is the kernel's: a link would cross file systems. */
  int problem = a ? a : b;
  return kg_fail(problem == EPERM ? EXDEV : problem);
}

CAUGHT int linkat(int at, const char *from, int to_at, const char *to, int flags) {
  if (!kg_plainly_local(at, from) || !kg_plainly_local(to_at, to))
    return join_names(at, from, to_at, to, flags);
  return CALL(linkat)(at, from, to_at, to, flags);
}

CAUGHT int link(const char *from, const char *to) {
  if (!kg_plainly_local(AT_FDCWD, from) || !kg_plainly_local(AT_FDCWD, to))
    return join_names(AT_FDCWD, from, AT_FDCWD, to, 0);
  return CALL(link)(from, to);
}

__attribute__((noinline)) static int refer(const char *target, int at, const char *path) {
  struct kg_located to;
  int problem = refused(at, path, &to);
  if (problem) return kg_fail(problem);
  return CALL(symlinkat)(target, at, local_path(&to, path));
}

CAUGHT int symlinkat(const char *target, int at, const char *path) {
  if (!kg_plainly_local(at, path)) return refer(target, at, path);
  return CALL(symlinkat)(target, at, path);
}

CAUGHT int symlink(const char *target, const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return refer(target, AT_FDCWD, path);
  return CALL(symlink)(target, path);
}

__attribute__((noinline)) static int make_node(int at, const char *path, mode_t mode,
                                               dev_t device) {
  struct kg_located to;
  int problem = refused(at, path, &to);
  if (problem) return kg_fail(problem);
  return CALL(mknodat)(at, local_path(&to, path), mode, device);
}

CAUGHT int mknodat(int at, const char *path, mode_t mode, dev_t device) {
  if (!kg_plainly_local(at, path)) return make_node(at, path, mode, device);
  return CALL(mknodat)(at, path, mode, device);
}

CAUGHT int mknod(const char *path, mode_t mode, dev_t device) {
  return mknodat(AT_FDCWD, path, mode, device);
}

int __xmknod(int version, const char *path, mode_t mode, dev_t *device);
CAUGHT int __xmknod(int version, const char *path, mode_t mode, dev_t *device) {
  if (!kg_plainly_local(AT_FDCWD, path)) return make_node(AT_FDCWD, path, mode, *device);
  return CALL(__xmknod)(version, path, mode, device);
}

int __xmknodat(int version, int at, const char *path, mode_t mode, dev_t *device);
CAUGHT int __xmknodat(int version, int at, const char *path, mode_t mode, dev_t *device) {
  if (!kg_plainly_local(at, path)) return make_node(at, path, mode, *device);
  return CALL(__xmknodat)(version, at, path, mode, device);
}

CAUGHT int mkfifoat(int at, const char *path, mode_t mode) {
  if (!kg_plainly_local(at, path)) return make_node(at, path, mode | S_IFIFO, 0);
  return CALL(mkfifoat)(at, path, mode);
}

CAUGHT int mkfifo(const char *path, mode_t mode) { return mkfifoat(AT_FDCWD, path, mode); }

__attribute__((noinline)) static int change_root(const char *path) {
  struct kg_located to;
  int problem = refused(AT_FDCWD, path, &to);
  return problem ? kg_fail(problem) : CALL(chroot)(local_path(&to, path));
}

CAUGHT int chroot(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return change_root(path);
  return CALL(chroot)(path);
}

/* The descriptor in /proc/self/fd/N, /proc/PID/fd/N of this process, or /dev/fd/N; else -1. */
static int number_in(const char *path) {
  char *end;
  if (strncmp(path, "/dev/fd/", 8) == 0) {
    path += 8;
  } else {
    if (strncmp(path, "/proc/", 6) != 0) return -1;
    path += 6;
    if (strncmp(path, "self/fd/", 8) == 0) {
      path += 8;
    } else {
      if (*path < '1' || *path > '9' || strtol(path, &end, 10) != getpid()) return -1;
      if (strncmp(end, "/fd/", 4) != 0) return -1;
      path = end + 4;
    }
  }
  if (*path < '0' || *path > '9') return -1;
  long number = strtol(path, &end, 10);
  return *end == 0 && number <= 0x7fffffff ? (int)number : -1;
}

static ssize_t answer(const char *text, char *buffer, size_t size) {
  size_t length = strlen(text);
  if (size == 0) return kg_fail(EINVAL);
  if (length > size) length = size;
  memcpy(buffer, text, length);
  return (ssize_t)length;
}

__attribute__((noinline)) static ssize_t name_of_open(struct kg_file *file, char *buffer,
                                                      size_t size) {
  struct kg_place place;
  char text[KG_PATH_MAX + 512];
  int problem = kg_place_open(file, &place);
  if (problem) return kg_fail(ENOENT);
  kg_place_text(&place, text);
  return answer(text, buffer, size);
}

/* -2: a path for the kernel. */
static ssize_t read_alias(const char *path, char *buffer, size_t size) {
  if (kg_is_null(path) || path[0] != '/' || (path[1] != 'p' && path[1] != 'd')) return -2;
  int fd = number_in(path);
  struct kg_file *file = fd >= 0 ? ours(fd) : NULL;
  if (file) return name_of_open(file, buffer, size);
  if (kg_adrift && strcmp(path, "/proc/self/cwd") == 0 && kg_working_directory())
    return answer(kg_working_directory(), buffer, size);
  return -2;
}

__attribute__((noinline)) static ssize_t read_name(int at, const char *path, char *buffer,
                                                   size_t size) {
  struct kg_located to;
  struct kg_facts facts = {0};
  kg_locate_at(at, path, &to);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_ELSEWHERE) return CALL(readlinkat)(at, path, buffer, size);
  if (to.where == KG_MAPPED) return CALL(readlinkat)(at, to.local, buffer, size);
  int problem = to.where == KG_HERE ? kg_stat(&to.place, &facts) : EINVAL;
  if (!problem) problem = facts.kind == KG_ABSENT ? ENOENT : EINVAL;
  return kg_fail(problem);
}

CAUGHT ssize_t readlinkat(int at, const char *path, char *buffer, size_t size) {
  if (!kg_plainly_local(at, path)) return read_name(at, path, buffer, size);
  ssize_t got = read_alias(path, buffer, size);
  return got == -2 ? CALL(readlinkat)(at, path, buffer, size) : got;
}

CAUGHT ssize_t readlink(const char *path, char *buffer, size_t size) {
  if (!kg_plainly_local(AT_FDCWD, path)) return read_name(AT_FDCWD, path, buffer, size);
  ssize_t got = read_alias(path, buffer, size);
  return got == -2 ? CALL(readlink)(path, buffer, size) : got;
}

CAUGHT ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t room) {
  if (size > room) kg_overflow();
  return readlink(path, buffer, size);
}

CAUGHT ssize_t __readlinkat_chk(int at, const char *path, char *buffer, size_t size, size_t room) {
  if (size > room) kg_overflow();
  return readlinkat(at, path, buffer, size);
}
