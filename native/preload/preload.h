/*
 * What the files of the preload library share: the real calls beneath, and the descriptors.
 *
 * A wrapper has the name of the call in libc. It asks `ours` (or kg_locate) whether the call is
 * Kangaroo's and otherwise gives it to the real one, unchanged, within 0.2 us. Wrappers may be
 * called before this library was initialised, from signal handlers, between vfork and exec, and on
 * any thread: they take no memory from malloc then and hold no lock over a call to the program.
 */
#ifndef KANGAROO_PRELOAD_H
#define KANGAROO_PRELOAD_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include "../core/board.h"
#include "../core/core.h"

/* The library's own names are hidden; what it catches is visible. */
#define CAUGHT __attribute__((visibility("default")))

/*
 * real.c: the next definition of a libc function, looked up once. Usage:
 *   REAL(int, close, (int fd));
 *   ... real_close(fd) ...
 */
void *kg_next(const char *name);
bool kg_has(const char *name);
#define REAL(type, name, parameters)                                                             \
  static type(*next_##name) parameters;                                                          \
  __attribute__((always_inline)) static inline type(*real_##name##_()) parameters {              \
    if (__builtin_expect(next_##name == 0, 0)) next_##name = (type(*) parameters)kg_next(#name); \
    return next_##name;                                                                          \
  }
#define CALL(name) real_##name##_()

/*
 * One more name of a wrapper, for whoever imports that one: ALIAS(open, open64). By the assembler,
 * because the types of the two may differ in name (struct stat64); behind the wrapper's definition.
 */
#define ALIAS(name, other) __asm__(".globl " #other "\n.set " #other ", " #name)

/*
 * What a descriptor of ours stands for. There is one for each descriptor (so two after a dup), good
 * until the descriptor is closed: copy what is to live longer. Each use compares device and inode
 * of the placeholder with what the kernel says.
 */
struct kg_file {
  uint64_t dev;
  _Atomic uint64_t ino;
  struct kg_ref ref;
  enum kg_kind kind;
  int access;     /* O_RDONLY, O_WRONLY or O_RDWR: what the program asked for */
  bool append;    /* as F_SETFL was last seen to say */
  bool synced;    /* O_SYNC or O_DSYNC: a write returns when it has arrived, as fsync does */
  bool path_only; /* O_PATH */
  /*
   * Where the shared offset was after the last read or write by this number; 0: not known. A call
   * that moves the offset and finds it there needs no other proof that this is still the same file,
   * and that nobody wrote behind our back.
   */
  _Atomic int64_t at;
};
/* The slot in `ref` of "/kangaroo" itself, which no server knows; the core takes no such ref. */
#define KG_TOP_SLOT 0xffffffffu
#define KG_IS_TOP(file) ((file)->ref.slot == KG_TOP_SLOT)

/* descriptors.c */
extern _Atomic uint64_t kg_perhaps[]; /* a bit for each descriptor below KG_PERHAPS_MAX */
#define KG_PERHAPS_MAX 65536
/*
 * The file that `fd` stands for, or NULL: not ours. Fast when the bit is not set. Where a write has
 * escaped into the placeholder it is rescued first.
 */
struct kg_file *kg_file_slow(int fd);
struct kg_file *kg_file_at(int fd); /* what was last known of it; never NULL below KG_PERHAPS_MAX */
static inline struct kg_file *ours(int fd) {
  if (__builtin_expect((unsigned)fd >= KG_PERHAPS_MAX, 0)) return kg_file_slow(fd);
  uint64_t word = __atomic_load_n((uint64_t *)&kg_perhaps[(unsigned)fd / 64], __ATOMIC_RELAXED);
  if (__builtin_expect((word >> ((unsigned)fd % 64) & 1) == 0, 1)) return 0;
  return kg_file_slow(fd);
}
static inline bool kg_is_perhaps(int fd) {
  if ((unsigned)fd >= KG_PERHAPS_MAX) return fd >= 0;
  uint64_t word = __atomic_load_n((uint64_t *)&kg_perhaps[fd / 64], __ATOMIC_RELAXED);
  return (word >> (fd % 64) & 1) != 0;
}
/* Makes a placeholder; its descriptor, or -1 with errno. flags: O_CLOEXEC, O_APPEND, access. */
int kg_place_holder(struct kg_ref ref, enum kg_kind kind, int flags);
/* `fd` may be ours now (after dup, or because it came from elsewhere). */
void kg_note(int fd);
/* Looks at every descriptor of the process: at the start. */
void kg_adopt_all(void);
/* Before a descriptor goes away: what has escaped into it is rescued. */
void kg_before_close(int fd);
/* The same for all descriptors; kg_finish begins with it. */
void kg_rescue_all(void);
/* `copy` refers to what `fd` refers to (after a dup); sets its bit, knows it without asking. */
void kg_note_copy(int fd, int copy);
/* O_APPEND of the open file of `file` has changed. */
void kg_set_append(struct kg_file *file, bool append);

/* start.c: everything that must have happened before the first path or descriptor is looked at. */
extern _Atomic int kg_started;
void kg_start(void);

/* call-open.c: the number of a descriptor of ours that /dev/fd/N and its like lead to, or -1. */
int kg_aliased(const char *path);
/* open(2) of what is ours, for everybody else who opens: a descriptor, or -1 with errno. */
int kg_open_located(const struct kg_located *located, int flags, mode_t mode);
int kg_reopen(struct kg_file *file, int flags);

/* call-stat.c: facts as struct stat; facts and place of an open file, /kangaroo itself included. */
void kg_fill_stat(const struct kg_facts *facts, struct stat *out);
int kg_facts_at(const struct kg_located *located, struct kg_facts *facts);
int kg_facts_open(struct kg_file *file, struct kg_facts *facts);

/* call-data.c and call-position.c: for streams, which come to them another way. */
ssize_t kg_read_next(int fd, struct kg_file *file, void *bytes, size_t count);
ssize_t kg_write_next(int fd, struct kg_file *file, const void *bytes, size_t count);
int64_t kg_seek(int fd, struct kg_file *file, int64_t offset, int whence);
/* What fsync(2) is here: push, or commit; 0 or an errno value. */
int kg_barrier(struct kg_file *file);
/* Set when the process ends: what is written from then on is committed at once. */
extern bool kg_ending;

/*
 * locks.c and flock.c: fcntl(2)'s locks on a file of ours (`command` as there), and flock(2)'s.
 * 0 or an errno value. kg_locks_leave: `fd` is about to be closed.
 */
int kg_lock(int fd, struct kg_file *file, int command, void *lock);
int kg_flock(int fd, struct kg_file *file, int operation);
void kg_locks_leave(int fd);

/* stdio.c: false: this libc's tables are not what we know, streams are served another way. */
bool kg_stdio_start(void);
void kg_stdio_flush(void);

/* directory.c: the virtual working directory, "/kangaroo/NAME/dir", or NULL. */
const char *kg_working_directory(void);
/*
 * Where `path` leads, with `dirfd` as for openat(2): our own directories, the virtual working
 * directory, mounts and aliases (/dev/fd/N and its like are left alone) included.
 */
void kg_locate_at(int dirfd, const char *path, struct kg_located *out);
/* Is that KG_HERE or KG_TOP? For callers who must not have a struct kg_located on their stack. */
bool kg_is_ours_at(int dirfd, const char *path);
/* What an open file is called; "/kangaroo" itself has neither name nor path. */
int kg_place_open(const struct kg_file *file, struct kg_place *place);

/*
 * Is it NULL? The headers of libc promise that many paths are not, and the compiler would believe
 * it; the kernel answers EFAULT, and so must we.
 */
static inline bool kg_is_null(const void *pointer) {
  __asm__("" : "+r"(pointer));
  return pointer == 0;
}

/* True while relative paths are not the kernel's: somebody here has a virtual directory. */
extern _Atomic int kg_adrift;
/*
 * True when kg_locate_at would certainly say KG_ELSEWHERE. Wrappers ask this first and do the rest
 * in a function of its own, because a struct kg_located is too large for a handler's small stack.
 */
static inline bool kg_plainly_local(int dirfd, const char *path) {
  if (kg_is_null(path)) return true;
  if (__builtin_expect(kg_settings.mounts[0] != 0, 0)) return false;
  if (path[0] == '/') return path[1] != 'k' && path[1] != '/' && path[1] != '.';
  /* From "/", where programs walk component by component. */
  if (path[0] == 'k' && path[1] == 'a' && path[2] == 'n') return false;
  if (dirfd < 0) return !kg_adrift;
  return ours(dirfd) == 0;
}
/* After kg_settings_read: a working directory that was handed down by KANGAROO_CWD. */
void kg_directory_start(void);

/* processes.c: what must be known of this process, and what is done at its start and end. */
void kg_process_start(char *const *environment);
/* Is this a child between vfork and exec, whose memory is its parent's? One getpid(). */
bool kg_is_borrowed(void);
/* Everything written so far is committed, shared maps included; nothing in a borrowed process. */
void kg_finish(void);
/* What creation modes are masked with. */
mode_t kg_umask(void);

/* call-memory.c: writes what changed in writable shared maps; 0 or an errno value. */
int kg_memory_flush(void);

/* call-aio.c: io_submit(2) where some of the blocks are ours; -1 with errno, as the call. */
long kg_io_submit(unsigned long context, long count, void *blocks);

/* call-loader.c: a copy of a file of ours in a memfd, or -1 with errno. */
int kg_fetch(const struct kg_located *located, bool program);

/* report.c: counts for KANGAROO_REPORT; free when there is none. */
extern bool kg_counting;
int64_t kg_clock(void); /* monotonic, ns */
void kg_count(const char *call, struct kg_file *file, uint64_t bytes, int64_t ns);
/* A call that was looked at and is not Kangaroo's. */
void kg_count_passed(const char *call);
static inline int64_t kg_begun(void) { return __builtin_expect(kg_counting, 0) ? kg_clock() : 0; }
static inline void kg_done(const char *call, struct kg_file *file, uint64_t bytes, int64_t begun) {
  if (__builtin_expect(kg_counting, 0)) kg_count(call, file, bytes, kg_clock() - begun);
}
/* The real call for what is not ours: return PASS(read)(fd, bytes, count); */
#define PASS(name) (__builtin_expect(kg_counting, 0) ? kg_count_passed(#name) : (void)0, CALL(name))
/* The same for a call on a name. */
void kg_count_place(const char *call, const struct kg_place *place, uint64_t bytes, int64_t ns);
static inline void kg_done_place(const char *call, const struct kg_place *place, uint64_t bytes,
                                 int64_t begun) {
  if (__builtin_expect(kg_counting, 0)) kg_count_place(call, place, bytes, kg_clock() - begun);
}
/* Prints the table once, if there is to be one; `why` is "exit" or "exec". */
void kg_report_print(const char *why);

/* failing: sets errno and returns -1. */
static inline int kg_fail(int problem) {
  *__errno_location() = problem;
  return -1;
}

#endif
