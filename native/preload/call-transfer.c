/*
 * Calls that move bytes between two descriptors in the kernel, which has none of ours. sendfile is
 * done by reading and writing. The others fail as they do between file systems that cannot do it,
 * and every caller known has a loop of read and write for that case.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>
#include "data.h"
#include "raw.h"
#include "scope.h"

REAL(ssize_t, sendfile, (int, int, off_t *, size_t))
REAL(ssize_t, copy_file_range, (int, off64_t *, int, off64_t *, size_t, unsigned))
REAL(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned))
REAL(ssize_t, tee, (int, int, size_t, unsigned))
REAL(ssize_t, vmsplice, (int, const struct iovec *, size_t, unsigned))
REAL(int, vdprintf, (int, const char *, va_list))
REAL(int, __vdprintf_chk, (int, int, const char *, va_list))
REAL(ssize_t, read, (int, void *, size_t))
REAL(ssize_t, write, (int, const void *, size_t))
REAL(ssize_t, pread, (int, void *, size_t, off_t))

static ssize_t take(int in, struct kg_file *file, char *block, size_t want, off_t *offset) {
  if (offset != 0) {
    return file != 0 ? kg_read_at(file, block, want, *offset)
                     : CALL(pread)(in, block, want, *offset);
  }
  return file != 0 ? kg_read_next(in, file, block, want) : CALL(read)(in, block, want);
}

static ssize_t send_some(int out, struct kg_file *to, int in, struct kg_file *from, off_t *offset,
                         size_t count) {
  char block[32768];
  size_t done = 0;
  while (done < count) {
    size_t want = count - done < sizeof block ? count - done : sizeof block;
    ssize_t got = take(in, from, block, want, offset);
    if (got <= 0) return done > 0 ? (ssize_t)done : got;
    ssize_t put =
        to != 0 ? kg_write_next(out, to, block, (size_t)got) : CALL(write)(out, block, (size_t)got);
    ssize_t gone = put > 0 ? put : 0;
    if (offset != 0) {
      *offset += gone;
    } else if (gone < got) {
      kg_raw_lseek(in, gone - got, SEEK_CUR); /* what was not taken stays to be read */
    }
    done += (size_t)gone;
    if (gone < got) return done > 0 ? (ssize_t)done : put;
  }
  return (ssize_t)done;
}

CAUGHT ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
  struct kg_file *to = ours(out), *from = ours(in);
  if (__builtin_expect(to == 0 && from == 0, 1)) return PASS(sendfile)(out, in, offset, count);
  struct stat st;
  /* sendfile(2): the source must be a file, the target not an appended one. */
  if (from == 0 && (kg_raw_fstat(in, &st) != 0 || !S_ISREG(st.st_mode))) return kg_fail(EINVAL);
  if (to != 0 && to->append) return kg_fail(EINVAL);
  struct kg_scope scope = kg_enter();
  ssize_t result = send_some(out, to, in, from, offset, count);
  return kg_leave(scope, "sendfile", to != 0 ? to : from, result);
}
ALIAS(sendfile, sendfile64);

CAUGHT ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset,
                               size_t count, unsigned flags) {
  if (__builtin_expect(ours(in) == 0 && ours(out) == 0, 1)) {
    return PASS(copy_file_range)(in, in_offset, out, out_offset, count, flags);
  }
  return kg_fail(EXDEV);
}

CAUGHT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t count,
                      unsigned flags) {
  if (__builtin_expect(ours(in) == 0 && ours(out) == 0, 1)) {
    return PASS(splice)(in, in_offset, out, out_offset, count, flags);
  }
  return kg_fail(EINVAL);
}

CAUGHT ssize_t tee(int in, int out, size_t count, unsigned flags) {
  if (__builtin_expect(ours(in) == 0 && ours(out) == 0, 1)) return PASS(tee)(in, out, count, flags);
  return kg_fail(EINVAL);
}

CAUGHT ssize_t vmsplice(int fd, const struct iovec *parts, size_t count, unsigned flags) {
  if (__builtin_expect(ours(fd) == 0, 1)) return PASS(vmsplice)(fd, parts, count, flags);
  return kg_fail(EBADF);
}

/* Newer libcs write to the descriptor without a stream, so the text is made here. */
static int print(int fd, struct kg_file *file, const char *format, va_list values) {
  char small[1024], *text = small;
  va_list again;
  va_copy(again, values);
  int bytes = vsnprintf(small, sizeof small, format, values);
  if (bytes >= (int)sizeof small) bytes = vasprintf(&text, format, again);
  va_end(again);
  if (bytes < 0) return -1;
  struct kg_scope scope = kg_enter();
  ssize_t put = kg_write_next(fd, file, text, (size_t)bytes);
  kg_leave(scope, "dprintf", file, put);
  if (text != small) free(text);
  return put < 0 ? -1 : bytes;
}

CAUGHT int vdprintf(int fd, const char *format, va_list values) {
  struct kg_file *file = ours(fd);
  if (file == 0) return PASS(vdprintf)(fd, format, values);
  return print(fd, file, format, values);
}

CAUGHT int dprintf(int fd, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int bytes = vdprintf(fd, format, values);
  va_end(values);
  return bytes;
}

CAUGHT int __vdprintf_chk(int fd, int flag, const char *format, va_list values) {
  struct kg_file *file = ours(fd);
  if (file == 0) return PASS(__vdprintf_chk)(fd, flag, format, values);
  return print(fd, file, format, values);
}

CAUGHT int __dprintf_chk(int fd, int flag, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int bytes = __vdprintf_chk(fd, flag, format, values);
  va_end(values);
  return bytes;
}
