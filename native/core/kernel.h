/*
 * The kernel without libc in between: libc's names are caught by the preload library, they are
 * cancellation points, and they set errno. Each function here is one system call, returns what the
 * kernel returns (a negative errno value on failure) and may be called from a signal handler, in a
 * vfork child and before libc is ready.
 *
 * Time comes from libc's clock_gettime, which asks no kernel and is nobody's to catch.
 */
#ifndef KANGAROO_KERNEL_H
#define KANGAROO_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long kg_kernel(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
static inline long kg_kernel(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
}
#else
#error "the adapter knows x86-64 and aarch64"
#endif

#define KG_KERNEL0(n) kg_kernel(n, 0, 0, 0, 0, 0, 0)
#define KG_KERNEL1(n, a) kg_kernel(n, (long)(a), 0, 0, 0, 0, 0)
#define KG_KERNEL2(n, a, b) kg_kernel(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define KG_KERNEL3(n, a, b, c) kg_kernel(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define KG_KERNEL4(n, a, b, c, d) kg_kernel(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define KG_KERNEL6(n, a, b, c, d, e, f) \
  kg_kernel(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int kg_pid(void) { return (int)KG_KERNEL0(SYS_getpid); }
static inline int kg_close(int fd) { return (int)KG_KERNEL1(SYS_close, fd); }
static inline long kg_file_write(int fd, const void *bytes, size_t count) {
  return KG_KERNEL3(SYS_write, fd, bytes, count);
}
static inline long kg_file_pwrite(int fd, const void *bytes, size_t count, uint64_t offset) {
  return KG_KERNEL4(SYS_pwrite64, fd, bytes, count, offset);
}
static inline long kg_file_pread(int fd, void *bytes, size_t count, uint64_t offset) {
  return KG_KERNEL4(SYS_pread64, fd, bytes, count, offset);
}

/* Files. `flags` and `mode` as for open(2), relative to the working directory. */
int kg_file_open(const char *path, int flags, int mode);
/* Another number for `fd`, at least `least`, close-on-exec; or the errno, negative. */
int kg_duplicate_above(int fd, int least);
/* Soft limit of open files. */
uint64_t kg_descriptor_limit(void);

/* Memory: NULL when there is none. `fd` -1: anonymous and private, else shared with the file. */
void *kg_map(size_t bytes, int fd);
void kg_unmap(void *start, size_t bytes);

/* Waits while *word is `value`, at most `ms`; wakes are for all processes that map the word. */
void kg_futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t ms);
void kg_futex_wake(_Atomic uint32_t *word);

int64_t kg_now_ms(void);  /* monotonic */
int64_t kg_wall_ns(void); /* since the epoch, as coarse as the kernel's own times of files */
void kg_sleep_ms(int64_t ms);

/* Is there a process with that number? A zombie is one. */
bool kg_is_alive(int pid);

/*
 * Signals. While a lock is held or a call is on the wire, none is delivered but those that a fault
 * raises. `kg_signals_block` returns what was blocked before.
 */
uint64_t kg_signals_block(void);
void kg_signals_restore(uint64_t before);
/* Is there a handler of a signal that the former would block? libc's own do not count. */
bool kg_signals_handled(void);
/*
 * Lets those pending signals through whose action is the kernel's own (to end or stop the process),
 * so that a wait of minutes can be ended. A handler of the program runs when the wait is over.
 */
void kg_signals_yield(uint64_t before);

/* Fills `bytes` with what nobody can guess. */
void kg_random(void *bytes, size_t count);

#endif
