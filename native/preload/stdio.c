/*
 * C streams. glibc's tables of functions for files have one entry each for reading, writing,
 * seeking, closing and asking; ours take their place there, so that everything built on them
 * (fgets, printf, getline, wide characters, the unlocked forms) works without being caught one by
 * one.
 *
 * The tables are what they are by convention only, so they are compared first with the functions
 * that libc exports. In a libc where they differ, streams that are opened by name or by descriptor
 * are served by fopencookie, without wide characters, and what others write is found in the
 * placeholders when they are closed (rescue.c); others cannot read.
 *
 * A stream of ours is made of one for /dev/null with the same mode, whose descriptor is then
 * covered by the placeholder: fdopen would look at a placeholder's flags, which are always "write
 * only".
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

REAL(FILE *, fopen, (const char *, const char *))
REAL(FILE *, freopen, (const char *, const char *, FILE *))
REAL(FILE *, fdopen, (int, const char *))
REAL(int, fclose, (FILE *))
REAL(int, fileno, (FILE *))

/* Entries of a table (struct _IO_jump_t), which is an array of 21 words. */
enum { READ = 14, WRITE, SEEK, CLOSE, STAT, SLOTS = 5 };

typedef ssize_t read_function(FILE *, void *, ssize_t);
typedef ssize_t write_function(FILE *, const void *, ssize_t);
typedef off64_t seek_function(FILE *, off64_t, int);
typedef int close_function(FILE *);
typedef int stat_function(FILE *, void *);

static read_function *libc_read;
static write_function *libc_write;
static seek_function *libc_seek;
static close_function *libc_close;
static stat_function *libc_stat;
static bool patched;

static ssize_t stream_read(FILE *stream, void *bytes, ssize_t count) {
  struct kg_file *file = ours(stream->_fileno);
  if (__builtin_expect(file == 0, 1)) return libc_read(stream, bytes, count);
  struct kg_scope scope = kg_enter();
  return kg_leave(scope, "stream read", file,
                  kg_read_next(stream->_fileno, file, bytes, (size_t)count));
}

/* As libc's: writes all, remembers the offset, and marks the stream when that fails. */
static ssize_t stream_write(FILE *stream, const void *bytes, ssize_t count) {
  struct kg_file *file = ours(stream->_fileno);
  if (__builtin_expect(file == 0, 1)) return libc_write(stream, bytes, count);
  struct kg_scope scope = kg_enter();
  ssize_t done = 0;
  while (done < count) {
    ssize_t put =
        kg_write_next(stream->_fileno, file, (const char *)bytes + done, (size_t)(count - done));
    if (put < 0) {
      stream->_flags |= _IO_ERR_SEEN;
      break;
    }
    done += put;
  }
  if (stream->_offset >= 0) stream->_offset += done;
  return kg_leave(scope, "stream write", file, done);
}

static off64_t stream_seek(FILE *stream, off64_t offset, int whence) {
  struct kg_file *file = ours(stream->_fileno);
  if (__builtin_expect(file == 0, 1)) return libc_seek(stream, offset, whence);
  return kg_seek(stream->_fileno, file, offset, whence);
}

static int stream_close(FILE *stream) {
  int fd = stream->_fileno;
  if (__builtin_expect(kg_is_perhaps(fd), 0)) {
    kg_before_close(fd);
    kg_locks_leave(fd);
  }
  return libc_close(stream);
}

static int stream_stat(FILE *stream, void *out) {
  if (__builtin_expect(ours(stream->_fileno) == 0, 1)) return libc_stat(stream, out);
  return fstat(stream->_fileno, out);
}

static const struct {
  const char *name;
  void **libc;
  void *mine;
} slots[SLOTS] = {
    {"_IO_file_read", (void **)&libc_read, (void *)stream_read},
    {"_IO_file_write", (void **)&libc_write, (void *)stream_write},
    {"_IO_file_seek", (void **)&libc_seek, (void *)stream_seek},
    {"_IO_file_close", (void **)&libc_close, (void *)stream_close},
    {"_IO_file_stat", (void **)&libc_stat, (void *)stream_stat},
};

/* Is this table the one we know? */
static bool is_known(void *const *table) {
  if (table == 0) return false;
  for (int i = 0; i < SLOTS; i++) {
    if (*slots[i].libc == 0 || table[READ + i] != *slots[i].libc) return false;
  }
  return true;
}

static bool patch(void **table) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t start = (uintptr_t)&table[READ] & ~(page - 1);
  uintptr_t end = ((uintptr_t)&table[STAT + 1] + page - 1) & ~(page - 1);
  if (KG_KERNEL3(SYS_mprotect, start, end - start, PROT_READ | PROT_WRITE) != 0) return false;
  for (int i = 0; i < SLOTS; i++) table[READ + i] = slots[i].mine;
  KG_KERNEL3(SYS_mprotect, start, end - start, PROT_READ);
  return true;
}

bool kg_stdio_start(void) {
  for (int i = 0; i < SLOTS; i++) *slots[i].libc = dlsym(RTLD_NEXT, slots[i].name);
  void **narrow = dlsym(RTLD_NEXT, "_IO_file_jumps");
  void **wide = dlsym(RTLD_NEXT, "_IO_wfile_jumps");
  patched = is_known(narrow) && is_known(wide) && patch(narrow) && patch(wide);
  return patched;
}

/*
 * Writes out what streams of ours hold, at the end of the process, without waiting for a stream
 * that another thread has locked; libc does it again, after everything that we can still follow.
 */
void kg_stdio_flush(void) {
  FILE *(*begin)(void) = (FILE * (*)(void)) dlsym(RTLD_NEXT, "_IO_iter_begin");
  FILE *(*next)(FILE *) = (FILE * (*)(FILE *)) dlsym(RTLD_NEXT, "_IO_iter_next");
  FILE *(*file)(FILE *) = (FILE * (*)(FILE *)) dlsym(RTLD_NEXT, "_IO_iter_file");
  if (begin == 0 || next == 0 || file == 0) return;
  for (FILE *at = begin(); at != 0; at = next(at)) {
    FILE *stream = file(at);
    if (stream->_fileno < 0 || !kg_is_perhaps(stream->_fileno)) continue;
    if (ftrylockfile(stream) != 0) continue;
    if (stream->_IO_write_ptr > stream->_IO_write_base || stream->_mode > 0) {
      if (ours(stream->_fileno) != 0) fflush_unlocked(stream);
    }
    funlockfile(stream);
  }
}

/* open(2)'s flags for a mode of fopen(3), or -1. */
static int flags_of(const char *mode) {
  int access = *mode == 'r' ? O_RDONLY : O_WRONLY;
  int flags = *mode == 'r' ? 0 : *mode == 'w' ? O_CREAT | O_TRUNC : O_CREAT | O_APPEND;
  if (*mode != 'r' && *mode != 'w' && *mode != 'a') return -1;
  for (mode++; *mode != 0 && *mode != ','; mode++) {
    if (*mode == '+') access = O_RDWR;
    if (*mode == 'x') flags |= O_EXCL;
    if (*mode == 'e') flags |= O_CLOEXEC;
  }
  return flags | access;
}

/* The mode without what is not for /dev/null: 'x', and 'm', which has tables of its own. */
static const char *mode_for_null(const char *mode, char out[64]) {
  size_t used = 0;
  bool options = true;
  for (; *mode != 0 && used < 63; mode++) {
    if (*mode == ',') options = false; /* ",ccs=" and a name */
    if (!options || (*mode != 'x' && *mode != 'm')) out[used++] = *mode;
  }
  out[used] = 0;
  return out;
}

/* The stream is one for /dev/null: `fd` takes the place of its descriptor. */
static FILE *cover(FILE *stream, int fd, int flags) {
  int covered = stream->_fileno;
  if (covered != fd) {
    kg_raw_dup3(fd, covered, flags & O_CLOEXEC);
    kg_note_copy(fd, covered);
    kg_raw_close(fd);
  }
  stream->_offset = -1; /* ask when it is needed */
  /* Where an appending stream stands before it writes; one that also reads starts in front. */
  if ((flags & O_APPEND) != 0 && (flags & O_ACCMODE) != O_RDWR) {
    kg_seek(covered, ours(covered), 0, SEEK_END);
  }
  return stream;
}

/* A stream of fopencookie, which has no number; its place in this table is its cookie. */
static struct cookie {
  _Atomic(FILE *) stream; /* NULL: nobody's */
  int fd;
} cookies[1024];
enum { COOKIES = sizeof cookies / sizeof *cookies };

static ssize_t cookie_read(void *cookie, char *bytes, size_t count) {
  return read(((struct cookie *)cookie)->fd, bytes, count);
}
static ssize_t cookie_write(void *cookie, const char *bytes, size_t count) {
  ssize_t put = write(((struct cookie *)cookie)->fd, bytes, count);
  return put < 0 ? 0 : put;
}
static int cookie_seek(void *cookie, off64_t *offset, int whence) {
  off64_t at = lseek(((struct cookie *)cookie)->fd, *offset, whence);
  if (at < 0) return -1;
  *offset = at;
  return 0;
}
static int cookie_close(void *cookie) {
  int fd = ((struct cookie *)cookie)->fd;
  atomic_store(&((struct cookie *)cookie)->stream, 0);
  return close(fd);
}

static FILE *cookie_stream(int fd, const char *mode) {
  static const cookie_io_functions_t calls = {cookie_read, cookie_write, cookie_seek, cookie_close};
  FILE *const taken = (FILE *)&cookies;
  for (int i = 0; i < COOKIES; i++) {
    FILE *nobody = 0;
    if (!atomic_compare_exchange_strong(&cookies[i].stream, &nobody, taken)) continue;
    cookies[i].fd = fd;
    FILE *stream = fopencookie(&cookies[i], mode, calls);
    atomic_store(&cookies[i].stream, stream);
    return stream;
  }
  kg_fail(EMFILE);
  return 0;
}

/* libc's answer for such a stream is EBADF, and the streams of C++ read and write by the number. */
CAUGHT int fileno(FILE *stream) {
  for (int i = 0; __builtin_expect(!patched, 0) && i < COOKIES; i++) {
    if (atomic_load(&cookies[i].stream) == stream) return cookies[i].fd;
  }
  return CALL(fileno)(stream);
}
ALIAS(fileno, fileno_unlocked);

/* A stream for a descriptor that is ours already. On failure the descriptor stays open. */
static FILE *stream_of(int fd, const char *mode, int flags) {
  char plain[64];
  mode_for_null(mode, plain);
  if (!patched) return cookie_stream(fd, plain);
  FILE *stream = CALL(fopen)("/dev/null", plain);
  if (stream == 0) return 0;
  int null = stream->_fileno;
  stream->_fileno = fd;
  kg_raw_close(null);
  return cover(stream, fd, flags);
}

/* Where would this be opened? -2: not by us. */
static int open_for(const char *path, int flags) {
  struct kg_located located;
  if (!kg_started) kg_start();
  int alias = kg_aliased(path);
  if (alias >= 0) return kg_reopen(ours(alias), flags);
  if (kg_plainly_local(AT_FDCWD, path)) return -2;
  kg_locate_at(AT_FDCWD, path, &located);
  if (located.where == KG_ELSEWHERE) return -2;
  struct kg_scope scope = kg_enter();
  int fd = kg_open_located(&located, flags, 0666);
  kg_leave(scope, "fopen", fd >= 0 ? ours(fd) : 0, 0);
  return fd;
}

static bool is_plain(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return false;
  return path == 0 || path[0] != '/' || (path[1] != 'p' && path[1] != 'd');
}

/* A local path. "m" has other tables, in which a descriptor that becomes ours is not seen. */
static FILE *open_local(const char *path, const char *mode) {
  char plain[64];
  if (strchr(mode, 'm') == 0) return CALL(fopen)(path, mode);
  size_t used = 0;
  for (const char *at = mode; *at != 0 && used < 63; at++) {
    if (*at != 'm' || memchr(mode, ',', (size_t)(at - mode)) != 0) plain[used++] = *at;
  }
  plain[used] = 0;
  return CALL(fopen)(path, plain);
}

__attribute__((noinline)) static FILE *open_slow(const char *path, const char *mode) {
  int flags = flags_of(mode);
  int fd = flags < 0 ? -2 : open_for(path, flags);
  if (fd == -2) return open_local(path, mode);
  if (fd < 0) return 0;
  struct kg_file *file = ours(fd);
  /* A mount may lead to a local file. */
  FILE *stream = file != 0 ? stream_of(fd, mode, flags) : CALL(fdopen)(fd, mode);
  if (stream == 0) close(fd);
  return stream;
}

CAUGHT FILE *fopen(const char *path, const char *mode) {
  if (__builtin_expect(is_plain(path), 1)) {
    if (__builtin_expect(kg_counting, 0)) kg_count_passed("fopen");
    return open_local(path, mode);
  }
  return open_slow(path, mode);
}
ALIAS(fopen, fopen64);
ALIAS(fopen, _IO_fopen);

CAUGHT FILE *fdopen(int fd, const char *mode) {
  struct kg_file *file = ours(fd);
  if (__builtin_expect(file == 0, 1)) return PASS(fdopen)(fd, mode);
  int flags = flags_of(mode), wanted = flags & O_ACCMODE;
  bool fits = file->access == O_RDWR || wanted == file->access;
  if (flags < 0 || !fits) {
    kg_fail(EINVAL);
    return 0;
  }
  if ((flags & O_APPEND) != 0 && !file->append) {
    kg_raw_fcntl(fd, F_SETFL, kg_raw_fcntl(fd, F_GETFL, 0) | O_APPEND);
    kg_set_append(file, true);
  }
  FILE *stream = stream_of(fd, mode, flags);
  return stream;
}
ALIAS(fdopen, _IO_fdopen);

/* The stream keeps its number, as libc has it; what could not be opened leaves it closed. */
__attribute__((noinline)) static FILE *reopen_slow(const char *path, const char *mode,
                                                   FILE *stream) {
  char plain[64];
  int flags = flags_of(mode), fd = -2;
  struct kg_file *old = stream->_fileno >= 0 ? ours(stream->_fileno) : 0;
  if (path == 0 && old != 0) fd = kg_reopen(old, flags & ~O_TRUNC);
  if (path != 0 && flags >= 0) fd = open_for(path, flags);
  if (stream->_fileno >= 0) kg_before_close(stream->_fileno);
  if (fd == -2) return CALL(freopen)(path, mode, stream);
  int problem = *__errno_location();
  mode_for_null(mode, plain);
  FILE *result = CALL(freopen)(fd >= 0 ? "/dev/null" : "/dev/null/", plain, stream);
  if (fd < 0) {
    kg_fail(problem);
    return 0;
  }
  if (result == 0) {
    close(fd);
    return 0;
  }
  if (ours(fd) != 0) return cover(result, fd, flags);
  kg_raw_dup3(fd, result->_fileno, flags & O_CLOEXEC);
  kg_raw_close(fd);
  return result;
}

CAUGHT FILE *freopen(const char *path, const char *mode, FILE *stream) {
  bool mine = stream->_fileno >= 0 && kg_is_perhaps(stream->_fileno);
  if (__builtin_expect(!mine && is_plain(path), 1)) return PASS(freopen)(path, mode, stream);
  return reopen_slow(path, mode, stream);
}
ALIAS(freopen, freopen64);

/* Only where the tables are not ours: what libc wrote by itself lies in the placeholder. */
CAUGHT int fclose(FILE *stream) {
  if (__builtin_expect(patched, 1)) return CALL(fclose)(stream);
  int fd = stream->_fileno;
  if (fd < 0 || !kg_is_perhaps(fd)) return CALL(fclose)(stream);
  int problem = fflush(stream);
  kg_before_close(fd);
  kg_locks_leave(fd);
  return CALL(fclose)(stream) != 0 ? EOF : problem;
}
ALIAS(fclose, _IO_fclose);
