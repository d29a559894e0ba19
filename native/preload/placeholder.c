/*
 * Making and reading the names of placeholders. A placeholder is open for writing only, so that a
 * read that escapes us fails loudly; one that may not be written is sealed, so that a write does.
 */
#include <string.h>
#include <sys/mman.h>
#include "placeholder.h"
#include "raw.h"

static const char prefix[] = "/memfd:kangaroo:";

static char *put_number(char *at, uint32_t number) {
  char digits[10];
  int count = 0;
  do digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) *at++ = digits[--count];
  return at;
}

static const char *get_number(const char *at, uint32_t *number) {
  uint64_t value = 0;
  const char *start = at;
  for (; *at >= '0' && *at <= '9' && at - start < 10; at++)
    value = value * 10 + (uint64_t)(*at - '0');
  *number = (uint32_t)value;
  return at == start || value > UINT32_MAX ? 0 : at;
}

static void proc_path(char *out, int fd) {
  static const char start[] = "/proc/self/fd/";
  memcpy(out, start, sizeof start - 1);
  *put_number(out + sizeof start - 1, (uint32_t)fd) = 0;
}

bool kg_placeholder_of(int fd, struct kg_placeholder *out) {
  char path[32];
  proc_path(path, fd);
  return kg_placeholder_at(path, out);
}

bool kg_placeholder_at(const char *path, struct kg_placeholder *out) {
  char name[160];
  int64_t bytes = kg_raw_readlink(path, name, sizeof name - 1);
  if (bytes < (int64_t)sizeof prefix + 33) return false;
  name[bytes] = 0;
  if (memcmp(name, prefix, sizeof prefix - 1) != 0) return false;
  const char *at = name + sizeof prefix - 1;
  memcpy(out->board, at, 32);
  out->board[32] = 0;
  if (at[32] != ':' || (at = get_number(at + 33, &out->ref.slot)) == 0 || *at != '.') return false;
  if ((at = get_number(at + 1, &out->ref.generation)) == 0 || *at != ':') return false;
  at++;
  out->path_only = *at == 'p';
  out->access = at[0] == 'r' && at[1] == 'w' ? O_RDWR : at[0] == 'w' ? O_WRONLY : O_RDONLY;
  at += out->access == O_RDWR ? 2 : 1;
  out->directory = *at == 'd';
  return true;
}

static void name_of(const struct kg_placeholder *parts, char *out) {
  const char *start = prefix + sizeof "/memfd:" - 1;
  size_t bytes = strlen(start);
  memcpy(out, start, bytes);
  char *at = out + bytes;
  memcpy(at, parts->board, 32);
  at += 32;
  *at++ = ':';
  at = put_number(at, parts->ref.slot);
  *at++ = '.';
  at = put_number(at, parts->ref.generation);
  *at++ = ':';
  if (parts->path_only)
    *at++ = 'p';
  else if (parts->access != O_WRONLY)
    *at++ = 'r';
  if (!parts->path_only && parts->access != O_RDONLY) *at++ = 'w';
  if (parts->directory) *at++ = 'd';
  *at = 0;
}

int kg_placeholder_make(const struct kg_placeholder *parts, int flags) {
  const int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
  char name[128], path[32];
  name_of(parts, name);
  int cloexec = flags & O_CLOEXEC;
  int status = flags & (O_APPEND | O_NONBLOCK | O_SYNC);
  long memory = kg_raw(SYS_memfd_create, (long)name, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0, 0, 0);
  if (memory < 0) return (int)memory;
  int fd = (int)memory;
  if (parts->access == O_RDONLY) kg_raw_fcntl(fd, F_ADD_SEALS, seals);
  proc_path(path, fd);
  /* The first number is the lowest, so the one for writing only moves there. */
  int writer = kg_raw_open(path, O_WRONLY | status);
  if (writer >= 0) {
    kg_raw_dup3(writer, fd, cloexec);
    kg_raw_close(writer);
    return fd;
  }
  /* No second number, or no /proc: then a read that escapes gets nothing instead of an error. */
  kg_raw_fcntl(fd, F_SETFL, status);
  kg_raw_fcntl(fd, F_SETFD, cloexec != 0 ? FD_CLOEXEC : 0);
  return fd;
}
