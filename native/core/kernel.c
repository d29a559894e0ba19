/*
 * System calls that need more than their number: see kernel.h for what each promises.
 */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

/* struct sigaction as the kernel has it, which is not libc's. */
struct kernel_action {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

int kg_file_open(const char *path, int flags, int mode) {
  return (int)KG_KERNEL4(SYS_openat, AT_FDCWD, path, flags, mode);
}

int kg_duplicate_above(int fd, int least) {
  return (int)KG_KERNEL3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, least);
}

uint64_t kg_descriptor_limit(void) {
  struct rlimit limit;
  if (KG_KERNEL4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) != 0) return 1024;
  return limit.rlim_cur;
}

void *kg_map(size_t bytes, int fd) {
  int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  long at = KG_KERNEL6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  return at < 0 && at > -4096 ? NULL : (void *)at;
}

void kg_unmap(void *start, size_t bytes) { KG_KERNEL2(SYS_munmap, start, bytes); }

void kg_futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t ms) {
  struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  KG_KERNEL4(SYS_futex, word, FUTEX_WAIT, value, &span);
}

void kg_futex_wake(_Atomic uint32_t *word) { KG_KERNEL3(SYS_futex, word, FUTEX_WAKE, INT32_MAX); }

int64_t kg_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t kg_wall_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void kg_sleep_ms(int64_t ms) {
  struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  KG_KERNEL2(SYS_nanosleep, &span, 0);
}

bool kg_is_alive(int pid) { return KG_KERNEL2(SYS_kill, pid, 0) != -ESRCH; }

static const uint64_t of_faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) |
                                  1ull << (SIGFPE - 1) | 1ull << (SIGILL - 1) |
                                  1ull << (SIGTRAP - 1) | 1ull << (SIGABRT - 1);

uint64_t kg_signals_block(void) {
  uint64_t all = ~of_faults, before = 0;
  KG_KERNEL4(SYS_rt_sigprocmask, SIG_BLOCK, &all, &before, sizeof all);
  return before;
}

void kg_signals_restore(uint64_t before) {
  KG_KERNEL4(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0, sizeof before);
}

bool kg_signals_handled(void) {
  for (int signal = 1; signal <= 64; signal++) {
    bool is_libcs = signal >= 32 && signal < SIGRTMIN;
    if (is_libcs || (of_faults >> (signal - 1) & 1) != 0) continue;
    struct kernel_action action = {0};
    KG_KERNEL4(SYS_rt_sigaction, signal, 0, &action, sizeof action.mask);
    if (action.handler != SIG_DFL && action.handler != SIG_IGN) return true;
  }
  return false;
}

/* Does the kernel end or stop a process by this signal when nobody handles it? */
static bool is_final(int signal) {
  return signal != SIGCHLD && signal != SIGCONT && signal != SIGURG && signal != SIGWINCH;
}

void kg_signals_yield(uint64_t before) {
  uint64_t pending = 0;
  KG_KERNEL2(SYS_rt_sigpending, &pending, sizeof pending);
  pending &= ~before;
  for (int signal = 1; pending != 0 && signal <= 64; signal++) {
    uint64_t one = 1ull << (signal - 1);
    if ((pending & one) == 0 || !is_final(signal)) continue;
    struct kernel_action action = {0};
    KG_KERNEL4(SYS_rt_sigaction, signal, 0, &action, sizeof action.mask);
    if (action.handler != SIG_DFL) continue;
    KG_KERNEL4(SYS_rt_sigprocmask, SIG_UNBLOCK, &one, 0, sizeof one);
    KG_KERNEL4(SYS_rt_sigprocmask, SIG_BLOCK, &one, 0, sizeof one);
  }
}

void kg_random(void *bytes, size_t count) {
  uint8_t *at = bytes;
  while (count > 0) {
    long got = KG_KERNEL3(SYS_getrandom, at, count, 0);
    if (got == -EINTR) continue;
    if (got <= 0) break;
    at += got;
    count -= (size_t)got;
  }
  /* A kernel without that call: time, number and place are different enough for an id. */
  for (; count > 0; at++, count--) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t mixed = ((uint64_t)now.tv_nsec << 20 ^ (uint64_t)kg_pid()) * 0x9e3779b97f4a7c15ull;
    *at = (uint8_t)(mixed >> 56) ^ (uint8_t)(uintptr_t)at;
  }
}
