/*
 * Descriptors as such: copies, closing, fcntl, locks, ioctl, and descriptors that come by a socket.
 *
 * The kernel does all of it on the placeholders; what is left is to know which numbers may be ours
 * now, to save what has escaped before a descriptor goes, and to answer what a memfd would answer
 * otherwise than a file. The library's own descriptors cannot be closed or covered.
 */
#include <linux/fs.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

REAL(int, dup, (int))
REAL(int, dup2, (int, int))
REAL(int, dup3, (int, int, int))
REAL(int, close, (int))
REAL(int, close_range, (unsigned, unsigned, int))
REAL(void, closefrom, (int))
REAL(int, fcntl, (int, int, ...))
REAL(int, flock, (int, int))
REAL(int, lockf, (int, int, off_t))
REAL(int, ioctl, (int, unsigned long, ...))
REAL(ssize_t, recvmsg, (int, struct msghdr *, int))
REAL(int, recvmmsg, (int, struct mmsghdr *, unsigned, int, struct timespec *))

CAUGHT int dup(int fd) {
  int copy = CALL(dup)(fd);
  if (copy >= 0 && __builtin_expect(kg_is_perhaps(fd), 0)) kg_note_copy(fd, copy);
  return copy;
}

/* What stands at `to` goes away. False: it must stay, errno says why. */
static bool make_way(int from, int to) {
  if (from == to) return true;
  if (__builtin_expect(kg_is_private(to), 0)) return kg_fail(EBUSY) == 0;
  if (__builtin_expect(kg_is_private(from), 0)) return kg_fail(EBADF) == 0;
  if (__builtin_expect(kg_is_perhaps(to), 0)) {
    kg_before_close(to);
    kg_locks_leave(to);
  }
  return true;
}

CAUGHT int dup2(int fd, int to) {
  if (!make_way(fd, to)) return -1;
  int copy = CALL(dup2)(fd, to);
  if (copy >= 0 && __builtin_expect(kg_is_perhaps(fd), 0)) kg_note_copy(fd, copy);
  return copy;
}
ALIAS(dup2, __dup2);

CAUGHT int dup3(int fd, int to, int flags) {
  if (!make_way(fd, to)) return -1;
  int copy = CALL(dup3)(fd, to, flags);
  if (copy >= 0 && __builtin_expect(kg_is_perhaps(fd), 0)) kg_note_copy(fd, copy);
  return copy;
}

CAUGHT int close(int fd) {
  if (__builtin_expect(kg_is_private(fd), 0)) return kg_fail(EBADF);
  if (__builtin_expect(!kg_is_perhaps(fd), 1)) return PASS(close)(fd);
  int64_t begun = kg_begun();
  kg_before_close(fd);
  kg_locks_leave(fd);
  if (__builtin_expect(kg_counting, 0)) kg_done("close", ours(fd), 0, begun);
  return CALL(close)(fd);
}
ALIAS(close, __close);

static void before_range(unsigned first, unsigned last) {
  unsigned end = last < KG_PERHAPS_MAX ? last + 1 : KG_PERHAPS_MAX;
  for (unsigned fd = first; fd < end;) {
    if (fd % 64 == 0 && __atomic_load_n((uint64_t *)&kg_perhaps[fd / 64], __ATOMIC_RELAXED) == 0) {
      fd += 64;
      continue;
    }
    if (kg_is_perhaps((int)fd)) {
      kg_before_close((int)fd);
      kg_locks_leave((int)fd);
    }
    fd++;
  }
}

/* Up to the next descriptor of the library itself; what comes behind it is another range. */
static unsigned until_private(unsigned first, unsigned last) {
  int next = first <= INT32_MAX ? kg_next_private((int)first) : -1;
  return next >= 0 && (unsigned)next <= last ? (unsigned)next : last + 1;
}

CAUGHT int close_range(unsigned first, unsigned last, int flags) {
  if (first > last || (flags & CLOSE_RANGE_CLOEXEC) != 0) {
    return PASS(close_range)(first, last, flags);
  }
  before_range(first, last);
  for (;;) {
    unsigned end = until_private(first, last);
    if (end != first) {
      int result = CALL(close_range)(first, end - 1, flags);
      if (result != 0) return result;
    }
    if (end - 1 == last || end >= last) return 0;
    first = end + 1;
  }
}

CAUGHT void closefrom(int first) {
  if (first < 0) first = 0;
  before_range((unsigned)first, ~0u);
  for (int next; (next = kg_next_private(first)) >= 0; first = next + 1) {
    for (int fd = first; fd < next; fd++) CALL(close)(fd);
  }
  CALL(closefrom)(first);
}

/* What F_GETFL says of a file that the program opened, not of the placeholder. */
static int status_of(int fd, struct kg_file *file) {
  int flags = kg_raw_fcntl(fd, F_GETFL, 0);
  if (flags < 0) return kg_fail(-flags);
  flags = (flags & ~O_ACCMODE) | file->access;
  if (file->path_only) flags |= O_PATH;
  return file->kind == KG_DIRECTORY ? flags | O_DIRECTORY : flags;
}

static int set_status(int fd, struct kg_file *file, int flags) {
  if (file->path_only) return kg_fail(EBADF);
  int result = kg_raw_fcntl(fd, F_SETFL, flags & ~O_DIRECT);
  if (result < 0) return kg_fail(-result);
  if (((flags & O_APPEND) != 0) != file->append) kg_set_append(file, (flags & O_APPEND) != 0);
  return 0;
}

static int control(int fd, struct kg_file *file, int command, long argument) {
  int problem, copy;
  switch (command) {
  case F_DUPFD:
  case F_DUPFD_CLOEXEC:
    copy = CALL(fcntl)(fd, command, argument);
    if (copy >= 0) kg_note_copy(fd, copy);
    return copy;
  case F_GETFL:
    return status_of(fd, file);
  case F_SETFL:
    return set_status(fd, file, (int)argument);
  case F_GETLK:
  case F_SETLK:
  case F_SETLKW:
  case F_OFD_GETLK:
  case F_OFD_SETLK:
  case F_OFD_SETLKW:
    problem = kg_lock(fd, file, command, (void *)argument);
    return problem != 0 ? kg_fail(problem) : 0;
  case F_GETLEASE:
    return F_UNLCK;
  case F_SETLEASE:
  case F_ADD_SEALS:
  case F_GET_SEALS:
    return kg_fail(EINVAL);
  case F_NOTIFY:
    return kg_fail(ENOTDIR);
  default:
    return CALL(fcntl)(fd, command, argument);
  }
}

CAUGHT int fcntl(int fd, int command, ...) {
  va_list rest;
  va_start(rest, command);
  long argument = va_arg(rest, long);
  va_end(rest);
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(fcntl)(fd, command, argument);
  if (command != F_SETLKW && command != F_OFD_SETLKW) return control(fd, file, command, argument);
  /* The kernel's wait for a lock may be interrupted and cancelled. */
  pthread_testcancel();
  return control(fd, file, command, argument);
}
ALIAS(fcntl, fcntl64);
ALIAS(fcntl, __fcntl);

CAUGHT int flock(int fd, int operation) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(flock)(fd, operation);
  int problem = kg_flock(fd, file, operation);
  return problem != 0 ? kg_fail(problem) : 0;
}

CAUGHT int lockf(int fd, int command, off_t length) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(lockf)(fd, command, length);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_len = length};
  int problem = EINVAL;
  if (command == F_ULOCK) lock.l_type = F_UNLCK;
  if (command == F_TEST) {
    lock.l_type = F_RDLCK; /* what anybody's exclusive lock is in the way of */
    problem = kg_lock(fd, file, F_GETLK, &lock);
    if (problem == 0 && lock.l_type != F_UNLCK) problem = EACCES;
  } else if (command == F_LOCK || command == F_TLOCK || command == F_ULOCK) {
    problem = kg_lock(fd, file, command == F_LOCK ? F_SETLKW : F_SETLK, &lock);
  }
  return problem != 0 ? kg_fail(problem) : 0;
}
ALIAS(lockf, lockf64);

static int bytes_left(int fd, struct kg_file *file, int *left) {
  struct kg_facts facts;
  int64_t at = kg_raw_lseek(fd, 0, SEEK_CUR);
  int problem = kg_facts_open(file, &facts);
  if (problem != 0) return kg_fail(problem);
  int64_t bytes = at < (int64_t)facts.size ? (int64_t)facts.size - at : 0;
  *left = bytes > INT32_MAX ? INT32_MAX : (int)bytes;
  return 0;
}

CAUGHT int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(ioctl)(fd, request, argument);
  if (file->path_only) return kg_fail(EBADF);
  switch ((unsigned)request) {
  case FIOCLEX:
  case FIONCLEX:
  case FIONBIO:
    return CALL(ioctl)(fd, request, argument);
  case FIONREAD:
    return file->kind == KG_DIRECTORY ? kg_fail(ENOTTY) : bytes_left(fd, file, argument);
  case FIGETBSZ:
    *(int *)argument = 1 << 20;
    return 0;
  case FICLONE:
  case FICLONERANGE:
  case FIDEDUPERANGE:
    return kg_fail(EOPNOTSUPP);
  default:
    return kg_fail(ENOTTY);
  }
}

static void note_rights(struct msghdr *message) {
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != 0;
       part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      kg_note(fd);
    }
  }
}

CAUGHT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  ssize_t got = CALL(recvmsg)(fd, message, flags);
  if (got >= 0 && message->msg_controllen > 0) note_rights(message);
  return got;
}

CAUGHT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout) {
  int got = CALL(recvmmsg)(fd, messages, count, flags, timeout);
  for (int i = 0; i < got; i++) {
    if (messages[i].msg_hdr.msg_controllen > 0) note_rights(&messages[i].msg_hdr);
  }
  return got;
}

REAL(int, pidfd_getfd, (int process, int fd, unsigned flags));
int pidfd_getfd(int process, int fd, unsigned flags);
CAUGHT int pidfd_getfd(int process, int fd, unsigned flags) {
  int copy = CALL(pidfd_getfd)(process, fd, flags);
  if (copy >= 0) kg_note(copy);
  return copy;
}
