/*
 * Further system calls in the manner of core/kernel.h, for what the library does on its own
 * account.
 *
 * Each returns what the kernel does: a result, or an errno value negated. `errno` stays as it is,
 * nothing is a cancellation point, and no name of libc that is caught, by us or by another
 * preloaded library, is used. Usable in signal handlers and between vfork and exec.
 */
#ifndef KANGAROO_RAW_H
#define KANGAROO_RAW_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "../core/kernel.h"

#define kg_raw kg_kernel

static inline int kg_raw_open(const char *path, int flags) {
  return (int)kg_raw(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0, 0, 0);
}
static inline int kg_raw_close(int fd) { return (int)kg_raw(SYS_close, fd, 0, 0, 0, 0, 0); }
static inline int kg_raw_fstat(int fd, struct stat *out) {
  return (int)kg_raw(SYS_fstat, fd, (long)out, 0, 0, 0, 0);
}
static inline int64_t kg_raw_lseek(int fd, int64_t offset, int whence) {
  return kg_raw(SYS_lseek, fd, offset, whence, 0, 0, 0);
}
static inline int kg_raw_fcntl(int fd, int command, long argument) {
  return (int)kg_raw(SYS_fcntl, fd, command, argument, 0, 0, 0);
}
static inline int64_t kg_raw_pread(int fd, void *bytes, size_t count, int64_t offset) {
  return kg_raw(SYS_pread64, fd, (long)bytes, (long)count, offset, 0, 0);
}
static inline int64_t kg_raw_readlink(const char *path, char *out, size_t bytes) {
  return kg_raw(SYS_readlinkat, AT_FDCWD, (long)path, (long)out, (long)bytes, 0, 0);
}
static inline int kg_raw_dup3(int from, int to, int flags) {
  return (int)kg_raw(SYS_dup3, from, to, flags, 0, 0, 0);
}

#endif
