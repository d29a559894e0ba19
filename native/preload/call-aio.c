/*
 * Asynchronous input and output. A write of ours is in the board before anybody could wait for it,
 * so POSIX aio on files of ours is done at submission, and the notification follows at once; libc's
 * aio_error, aio_return, aio_suspend and aio_cancel then find a control block that is done.
 *
 * libaio's contexts live in the kernel. A block of ours is done here, and then submitted to the
 * kernel against a scratch memfd that holds (or takes) as many bytes: the kernel itself makes the
 * event that the program waits for, in its own order and with its own eventfd.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preload.h"
#include "raw.h"

REAL(int, aio_read, (struct aiocb * block));
REAL(int, aio_write, (struct aiocb * block));
REAL(int, aio_fsync, (int operation, struct aiocb *block));
REAL(int, lio_listio, (int mode, struct aiocb *const list[], int count, struct sigevent *event));
REAL(int, io_submit, (unsigned long context, long count, struct iocb **blocks));

_Static_assert(sizeof(struct aiocb) == sizeof(struct aiocb64), "one shape of control block");

struct called {
  void (*function)(union sigval);
  union sigval value;
};

static void *call(void *argument) {
  struct called called = *(struct called *)argument;
  free(argument);
  called.function(called.value);
  return NULL;
}

static void notify_thread(const struct sigevent *event) {
  struct called *called = malloc(sizeof *called);
  pthread_attr_t attributes;
  pthread_t thread;
  if (!called) return;
  *called = (struct called){event->sigev_notify_function, event->sigev_value};
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (pthread_create(&thread,
                     event->sigev_notify_attributes ? event->sigev_notify_attributes : &attributes,
                     call, called) != 0)
    free(called);
  pthread_attr_destroy(&attributes);
}

static void notify(const struct sigevent *event) {
  if (!event) return;
  if (event->sigev_notify == SIGEV_THREAD) notify_thread(event);
  if (event->sigev_notify != SIGEV_SIGNAL) return;
  siginfo_t info = {.si_signo = event->sigev_signo, .si_code = SI_ASYNCIO};
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value = event->sigev_value;
  kg_raw(SYS_rt_sigqueueinfo, info.si_pid, info.si_signo, (long)&info, 0, 0, 0);
}

static void finish(struct aiocb *block, ssize_t result) {
  block->__return_value = result;
  __atomic_store_n(&block->__error_code, result < 0 ? errno : 0, __ATOMIC_RELEASE);
}

/* What a block asks for, by the numbers of lio_listio. */
static void perform(struct aiocb *block, int operation) {
  int before = errno;
  void *bytes = (void *)block->aio_buf;
  ssize_t result = operation == LIO_READ
                       ? pread(block->aio_fildes, bytes, block->aio_nbytes, block->aio_offset)
                       : pwrite(block->aio_fildes, bytes, block->aio_nbytes, block->aio_offset);
  finish(block, result);
  errno = before;
}

CAUGHT int aio_read(struct aiocb *block) {
  if (!ours(block->aio_fildes)) return PASS(aio_read)(block);
  perform(block, LIO_READ);
  notify(&block->aio_sigevent);
  return 0;
}
ALIAS(aio_read, aio_read64);

CAUGHT int aio_write(struct aiocb *block) {
  if (!ours(block->aio_fildes)) return PASS(aio_write)(block);
  perform(block, LIO_WRITE);
  notify(&block->aio_sigevent);
  return 0;
}
ALIAS(aio_write, aio_write64);

CAUGHT int aio_fsync(int operation, struct aiocb *block) {
  if (!ours(block->aio_fildes)) return PASS(aio_fsync)(operation, block);
  if (operation != O_SYNC && operation != O_DSYNC) return kg_fail(EINVAL);
  int before = errno;
  finish(block, fsync(block->aio_fildes));
  errno = before;
  notify(&block->aio_sigevent);
  return 0;
}
ALIAS(aio_fsync, aio_fsync64);

static bool is_ours(const struct aiocb *block) {
  return block && block->aio_lio_opcode != LIO_NOP && ours(block->aio_fildes);
}

/* Ours are done; the others are given on together, so that `event` comes when they are done too. */
static int list_mixed(int mode, struct aiocb *const list[], int count, struct sigevent *event) {
  struct aiocb **others = malloc((size_t)count * sizeof *others);
  int left = 0;
  bool failed = false;
  if (!others) return kg_fail(EAGAIN);
  for (int i = 0; i < count; i++) {
    if (!is_ours(list[i])) {
      if (list[i]) others[left++] = list[i];
      continue;
    }
    perform(list[i], list[i]->aio_lio_opcode);
    failed |= list[i]->__error_code != 0;
    notify(&list[i]->aio_sigevent);
  }
  int result = 0;
  if (left > 0)
    result = CALL(lio_listio)(mode, others, left, event);
  else if (mode == LIO_NOWAIT)
    notify(event);
  free(others);
  return result == 0 && failed && mode == LIO_WAIT ? kg_fail(EIO) : result;
}

CAUGHT int lio_listio(int mode, struct aiocb *const list[], int count, struct sigevent *event) {
  bool any = false;
  for (int i = 0; i < count && !any; i++) any = is_ours(list[i]);
  if (!any || (mode != LIO_WAIT && mode != LIO_NOWAIT))
    return CALL(lio_listio)(mode, list, count, event);
  return list_mixed(mode, list, count, event);
}
ALIAS(lio_listio, lio_listio64);

/* The bytes that a vector holds; -1: too many. */
static ssize_t vector_bytes(const struct iovec *vector, uint64_t count) {
  size_t sum = 0;
  for (uint64_t i = 0; i < count; i++) sum += vector[i].iov_len;
  return sum > 0x7ffff000 ? -1 : (ssize_t)sum;
}

/*
 * A read: what is read goes into the scratch file, where the kernel reads it again. `want` bytes
 * from `offset` of our file; returns how many, or -1 with errno.
 */
static ssize_t read_to_scratch(int fd, int scratch, size_t want, int64_t offset) {
  size_t done = 0;
  if (want == 0) return 0;
  long map = kg_raw(SYS_ftruncate, scratch, (long)want, 0, 0, 0, 0);
  if (map >= 0)
    map = kg_raw(SYS_mmap, 0, (long)want, PROT_READ | PROT_WRITE, MAP_SHARED, scratch, 0);
  if (map < 0 && map > -4096) return kg_fail((int)-map);
  ssize_t got = 1;
  while (done < want && got > 0) {
    got = pread(fd, (char *)map + done, want - done, offset + (int64_t)done);
    if (got > 0) done += (size_t)got;
  }
  kg_raw(SYS_munmap, map, (long)want, 0, 0, 0, 0);
  if (got < 0) return -1;
  kg_raw(SYS_ftruncate, scratch, (long)done, 0, 0, 0, 0);
  return (ssize_t)done;
}

static int perform_block(const struct iocb *block, int scratch) {
  int fd = (int)block->aio_fildes;
  const struct iovec *vector = (const struct iovec *)(uintptr_t)block->aio_buf;
  ssize_t want;
  switch (block->aio_lio_opcode) {
  case IOCB_CMD_PREAD:
    return read_to_scratch(fd, scratch, block->aio_nbytes, block->aio_offset) < 0 ? -1 : 0;
  case IOCB_CMD_PREADV:
    want = vector_bytes(vector, block->aio_nbytes);
    if (want < 0) return kg_fail(EINVAL);
    return read_to_scratch(fd, scratch, (size_t)want, block->aio_offset) < 0 ? -1 : 0;
  case IOCB_CMD_PWRITE:
    return pwrite(fd, vector, block->aio_nbytes, block->aio_offset) < 0 ? -1 : 0;
  case IOCB_CMD_PWRITEV:
    return pwritev(fd, vector, (int)block->aio_nbytes, block->aio_offset) < 0 ? -1 : 0;
  case IOCB_CMD_FSYNC:
  case IOCB_CMD_FDSYNC:
    return fsync(fd);
  default:
    return kg_fail(EINVAL);
  }
}

/* One block of ours: done, then the kernel is told to do the same to the scratch file. */
static long submit_ours(unsigned long context, struct iocb *block) {
  long scratch = kg_raw(SYS_memfd_create, (long)"kangaroo-aio", MFD_CLOEXEC, 0, 0, 0, 0);
  if (scratch < 0) return scratch;
  int before = errno;
  long result = perform_block(block, (int)scratch) < 0 ? -errno : 0;
  errno = before;
  if (result == 0) {
    struct iocb copy = *block;
    block->aio_fildes = (uint32_t)scratch;
    block->aio_offset = 0;
    result = kg_raw(SYS_io_submit, (long)context, 1, (long)&block, 0, 0, 0);
    block->aio_fildes = copy.aio_fildes;
    block->aio_offset = copy.aio_offset;
  }
  kg_raw_close((int)scratch);
  return result;
}

/* As the kernel's io_submit: how many were taken; -errno when the first was not. */
static long submit(unsigned long context, long count, struct iocb **blocks) {
  long done = 0;
  while (done < count) {
    long run = done;
    while (run < count && !ours((int)blocks[run]->aio_fildes)) run++;
    long asked = run > done ? run - done : 1;
    long result = run > done
                      ? kg_raw(SYS_io_submit, (long)context, asked, (long)(blocks + done), 0, 0, 0)
                      : submit_ours(context, blocks[done]);
    if (result < 0) return done > 0 ? done : result;
    done += result;
    if (result < asked) break;
  }
  return done;
}

static bool any_ours(long count, struct iocb **blocks) {
  for (long i = 0; i < count; i++)
    if (ours((int)blocks[i]->aio_fildes)) return true;
  return false;
}

long kg_io_submit(unsigned long context, long count, void *blocks) {
  long result = submit(context, count, blocks);
  return result < 0 ? kg_fail((int)-result) : result;
}

/* libaio's own, which answers errors as negative numbers. */
int io_submit(unsigned long context, long count, struct iocb **blocks);
CAUGHT int io_submit(unsigned long context, long count, struct iocb **blocks) {
  if (!any_ours(count, blocks)) return CALL(io_submit)(context, count, blocks);
  return (int)submit(context, count, blocks);
}
