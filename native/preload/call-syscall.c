/*
 * syscall(2), which node, python, perl and the libraries of C++ and Java use beside the named
 * calls.
 *
 * Calls on paths and descriptors go to the wrappers of the same name; a wrapper fails as the system
 * call does, -1 and errno. Everything else goes on. io_uring is refused, as by a kernel without it,
 * because its requests are seen by nobody: callers fall back to calls that are.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>
#include "preload.h"
#include "raw.h"

REAL(long, syscall, (long, ...))

/* Arguments as the caller gave them; more may be read than there are, as libc's own does. */
struct arguments {
  long a, b, c, d, e, f;
};

enum { NOT_OURS = -4096 };

/* struct open_how of openat2(2), its first version. */
struct how {
  uint64_t flags, mode, resolve;
};

static long open_by_how(const struct arguments *x) {
  struct kg_located located;
  const struct how *how = (const struct how *)x->c;
  if (how == 0 || x->d < (long)sizeof *how || kg_plainly_local((int)x->a, (const char *)x->b)) {
    return NOT_OURS;
  }
  kg_locate_at((int)x->a, (const char *)x->b, &located);
  if (located.where == KG_ELSEWHERE) return NOT_OURS;
  return openat((int)x->a, (const char *)x->b, (int)how->flags, (mode_t)how->mode);
}

static long data_call(long number, const struct arguments *x) {
  int fd = (int)x->a;
  const struct iovec *parts = (const struct iovec *)x->b;
  switch (number) {
  case SYS_read:
    return read(fd, (void *)x->b, (size_t)x->c);
  case SYS_write:
    return write(fd, (const void *)x->b, (size_t)x->c);
  case SYS_pread64:
    return pread(fd, (void *)x->b, (size_t)x->c, x->d);
  case SYS_pwrite64:
    return pwrite(fd, (const void *)x->b, (size_t)x->c, x->d);
  case SYS_readv:
    return readv(fd, parts, (int)x->c);
  case SYS_writev:
    return writev(fd, parts, (int)x->c);
  case SYS_preadv:
    return preadv(fd, parts, (int)x->c, x->d);
  case SYS_pwritev:
    return pwritev(fd, parts, (int)x->c, x->d);
  case SYS_preadv2:
    return preadv2(fd, parts, (int)x->c, x->d, (int)x->f);
  case SYS_pwritev2:
    return pwritev2(fd, parts, (int)x->c, x->d, (int)x->f);
  case SYS_sendfile:
    return sendfile(fd, (int)x->b, (off_t *)x->c, (size_t)x->d);
  case SYS_copy_file_range:
    return copy_file_range(fd, (off64_t *)x->b, (int)x->c, (off64_t *)x->d, (size_t)x->e,
                           (unsigned)x->f);
  case SYS_splice:
    return splice(fd, (off64_t *)x->b, (int)x->c, (off64_t *)x->d, (size_t)x->e, (unsigned)x->f);
  case SYS_tee:
    return tee(fd, (int)x->b, (size_t)x->c, (unsigned)x->d);
  case SYS_vmsplice:
    return vmsplice(fd, parts, (size_t)x->c, (unsigned)x->d);
  case SYS_getdents64:
    return getdents64(fd, (void *)x->b, (size_t)x->c);
  case SYS_recvmsg:
    return recvmsg(fd, (struct msghdr *)x->b, (int)x->c);
  default:
    return NOT_OURS;
  }
}

static long descriptor_call(long number, const struct arguments *x) {
  int fd = (int)x->a;
  switch (number) {
  case SYS_close:
    return close(fd);
  case SYS_close_range:
    return close_range((unsigned)x->a, (unsigned)x->b, (int)x->c);
  case SYS_dup:
    return dup(fd);
  case SYS_dup3:
    return dup3(fd, (int)x->b, (int)x->c);
  case SYS_fcntl:
    return fcntl(fd, (int)x->b, x->c);
  case SYS_flock:
    return flock(fd, (int)x->b);
  case SYS_ioctl:
    return ioctl(fd, (unsigned long)x->b, x->c);
  case SYS_lseek:
    return lseek(fd, x->b, (int)x->c);
  case SYS_ftruncate:
    return ftruncate(fd, x->b);
  case SYS_fallocate:
    return fallocate(fd, (int)x->b, x->c, x->d);
  case SYS_fadvise64: {
    int problem = ours(fd) != 0 ? posix_fadvise(fd, x->b, x->c, (int)x->d) : -1;
    return problem < 0 ? NOT_OURS : problem > 0 ? kg_fail(problem) : 0;
  }
  case SYS_sync_file_range:
    return sync_file_range(fd, x->b, x->c, (unsigned)x->d);
  case SYS_readahead:
    return readahead(fd, x->b, (size_t)x->c);
  case SYS_fsync:
    return fsync(fd);
  case SYS_fdatasync:
    return fdatasync(fd);
  case SYS_syncfs:
    return syncfs(fd);
  case SYS_sync:
    sync();
    return 0;
  case SYS_fstat:
    return fstat(fd, (struct stat *)x->b);
  case SYS_fstatfs:
    return fstatfs(fd, (struct statfs *)x->b);
  case SYS_fchmod:
    return fchmod(fd, (mode_t)x->b);
  case SYS_fchown:
    return fchown(fd, (uid_t)x->b, (gid_t)x->c);
  case SYS_fchdir:
    return fchdir(fd);
  default:
    return NOT_OURS;
  }
}

static long name_call(long number, const struct arguments *x) {
  int at = (int)x->a;
  const char *path = (const char *)x->b;
  switch (number) {
  case SYS_openat:
    return openat(at, path, (int)x->c, (mode_t)x->d);
#ifdef SYS_openat2
  case SYS_openat2:
    return open_by_how(x);
#endif
  case SYS_newfstatat:
    return fstatat(at, path, (struct stat *)x->c, (int)x->d);
  case SYS_statx:
    return statx(at, path, (int)x->c, (unsigned)x->d, (struct statx *)x->e);
  case SYS_faccessat:
    return faccessat(at, path, (int)x->c, 0);
#ifdef SYS_faccessat2
  case SYS_faccessat2:
    return faccessat(at, path, (int)x->c, (int)x->d);
#endif
  case SYS_unlinkat:
    return unlinkat(at, path, (int)x->c);
  case SYS_mkdirat:
    return mkdirat(at, path, (mode_t)x->c);
  case SYS_mknodat:
    return mknodat(at, path, (mode_t)x->c, (dev_t)x->d);
  case SYS_symlinkat:
    return symlinkat((const char *)x->a, (int)x->b, (const char *)x->c);
  case SYS_linkat:
    return linkat(at, path, (int)x->c, (const char *)x->d, (int)x->e);
  case SYS_readlinkat:
    return readlinkat(at, path, (char *)x->c, (size_t)x->d);
#ifdef SYS_renameat
  case SYS_renameat:
    return renameat(at, path, (int)x->c, (const char *)x->d);
#endif
  case SYS_renameat2:
    return renameat2(at, path, (int)x->c, (const char *)x->d, (unsigned)x->e);
  case SYS_fchmodat:
    return fchmodat(at, path, (mode_t)x->c, 0);
  case SYS_fchownat:
    return fchownat(at, path, (uid_t)x->c, (gid_t)x->d, (int)x->e);
  case SYS_utimensat:
    if (path != 0) return utimensat(at, path, (const struct timespec *)x->c, (int)x->d);
    return ours(at) != 0 ? futimens(at, (const struct timespec *)x->c) : NOT_OURS;
  default:
    return NOT_OURS;
  }
}

static long path_call(long number, const struct arguments *x) {
  const char *path = (const char *)x->a;
  switch (number) {
  case SYS_truncate:
    return truncate(path, x->b);
  case SYS_statfs:
    return statfs(path, (struct statfs *)x->b);
  case SYS_chdir:
    return chdir(path);
  case SYS_setxattr:
    return setxattr(path, (const char *)x->b, (const void *)x->c, (size_t)x->d, (int)x->e);
  case SYS_lsetxattr:
    return lsetxattr(path, (const char *)x->b, (const void *)x->c, (size_t)x->d, (int)x->e);
  case SYS_fsetxattr:
    return fsetxattr((int)x->a, (const char *)x->b, (const void *)x->c, (size_t)x->d, (int)x->e);
  case SYS_getxattr:
    return getxattr(path, (const char *)x->b, (void *)x->c, (size_t)x->d);
  case SYS_lgetxattr:
    return lgetxattr(path, (const char *)x->b, (void *)x->c, (size_t)x->d);
  case SYS_fgetxattr:
    return fgetxattr((int)x->a, (const char *)x->b, (void *)x->c, (size_t)x->d);
  case SYS_listxattr:
    return listxattr(path, (char *)x->b, (size_t)x->c);
  case SYS_llistxattr:
    return llistxattr(path, (char *)x->b, (size_t)x->c);
  case SYS_flistxattr:
    return flistxattr((int)x->a, (char *)x->b, (size_t)x->c);
  case SYS_removexattr:
    return removexattr(path, (const char *)x->b);
  case SYS_lremovexattr:
    return lremovexattr(path, (const char *)x->b);
  case SYS_fremovexattr:
    return fremovexattr((int)x->a, (const char *)x->b);
  case SYS_getcwd: {
    if (kg_working_directory() == 0) return NOT_OURS;
    char *text = getcwd((char *)x->a, (size_t)x->b);
    return text != 0 ? (long)__builtin_strlen(text) + 1 : -1;
  }
  default:
    return NOT_OURS;
  }
}

static long process_call(long number, const struct arguments *x) {
  switch (number) {
  case SYS_mmap:
    return (long)mmap((void *)x->a, (size_t)x->b, (int)x->c, (int)x->d, (int)x->e, x->f);
  case SYS_munmap:
    return munmap((void *)x->a, (size_t)x->b);
  case SYS_msync:
    return msync((void *)x->a, (size_t)x->b, (int)x->c);
  case SYS_mprotect:
    return mprotect((void *)x->a, (size_t)x->b, (int)x->c);
  case SYS_madvise:
    return madvise((void *)x->a, (size_t)x->b, (int)x->c);
  case SYS_mremap:
    return (long)mremap((void *)x->a, (size_t)x->b, (size_t)x->c, (int)x->d, (void *)x->e);
  case SYS_umask:
    return (long)umask((mode_t)x->a);
  case SYS_execve:
    return execve((const char *)x->a, (char *const *)x->b, (char *const *)x->c);
  case SYS_execveat:
    return execveat((int)x->a, (const char *)x->b, (char *const *)x->c, (char *const *)x->d,
                    (int)x->e);
  case SYS_rt_sigaction:
    if (x->b != 0) kg_note_handler();
    return NOT_OURS;
  case SYS_io_submit:
    return kg_io_submit((unsigned long)x->a, x->b, (void *)x->c);
  case SYS_exit_group:
    kg_finish();
    return NOT_OURS;
#ifdef SYS_pidfd_getfd
  case SYS_pidfd_getfd: {
    long fd = CALL(syscall)(SYS_pidfd_getfd, x->a, x->b, x->c);
    if (fd >= 0) kg_note((int)fd);
    return fd;
  }
#endif
#ifdef SYS_io_uring_setup
  case SYS_io_uring_setup:
  case SYS_io_uring_enter:
  case SYS_io_uring_register:
    return kg_fail(ENOSYS);
#endif
  default:
    return NOT_OURS;
  }
}

#ifdef SYS_open
/* The calls that x86-64 has and later architectures have not. */
static long old_call(long number, const struct arguments *x) {
  const char *path = (const char *)x->a, *other = (const char *)x->b;
  switch (number) {
  case SYS_open:
    return open(path, (int)x->b, (mode_t)x->c);
  case SYS_creat:
    return creat(path, (mode_t)x->b);
  case SYS_stat:
    return stat(path, (struct stat *)x->b);
  case SYS_lstat:
    return lstat(path, (struct stat *)x->b);
  case SYS_access:
    return access(path, (int)x->b);
  case SYS_dup2:
    return dup2((int)x->a, (int)x->b);
  case SYS_rename:
    return rename(path, other);
  case SYS_unlink:
    return unlink(path);
  case SYS_rmdir:
    return rmdir(path);
  case SYS_mkdir:
    return mkdir(path, (mode_t)x->b);
  case SYS_mknod:
    return mknod(path, (mode_t)x->b, (dev_t)x->c);
  case SYS_link:
    return link(path, other);
  case SYS_symlink:
    return symlink(path, other);
  case SYS_readlink:
    return readlink(path, (char *)x->b, (size_t)x->c);
  case SYS_chmod:
    return chmod(path, (mode_t)x->b);
  case SYS_chown:
    return chown(path, (uid_t)x->b, (gid_t)x->c);
  case SYS_lchown:
    return lchown(path, (uid_t)x->b, (gid_t)x->c);
  case SYS_utime:
    return utime(path, (const struct utimbuf *)x->b);
  case SYS_utimes:
    return utimes(path, (const struct timeval *)x->b);
  default:
    return NOT_OURS;
  }
}
#endif

/* No wrapper returns NOT_OURS: results are no less than -1, and addresses below zero are errors. */
static long dispatched(long number, const struct arguments *x) {
  long result = data_call(number, x);
  if (result == NOT_OURS) result = descriptor_call(number, x);
  if (result == NOT_OURS) result = name_call(number, x);
  if (result == NOT_OURS) result = path_call(number, x);
  if (result == NOT_OURS) result = process_call(number, x);
#ifdef SYS_open
  if (result == NOT_OURS) result = old_call(number, x);
#endif
  return result;
}

CAUGHT long syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  struct arguments x;
  x.a = va_arg(rest, long);
  x.b = va_arg(rest, long);
  x.c = va_arg(rest, long);
  x.d = va_arg(rest, long);
  x.e = va_arg(rest, long);
  x.f = va_arg(rest, long);
  va_end(rest);
  /* The commonest of all, and none of ours. */
  if (__builtin_expect(number != SYS_futex && number != SYS_gettid, 0)) {
    long result = dispatched(number, &x);
    if (result != NOT_OURS) return result;
  }
  return CALL(syscall)(number, x.a, x.b, x.c, x.d, x.e, x.f);
}
