/*
 * scandir and its family, for a directory of ours: libc's own go past opendir and readdir by hidden
 * names. The entries come from malloc, one by one, because the program frees them so.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

typedef int (*choose)(const struct dirent *entry);
typedef int (*order)(const struct dirent **a, const struct dirent **b);

REAL(int, scandirat, (int at, const char *path, struct dirent ***list, choose wanted, order order));

static void drop(struct dirent **entries, size_t count) {
  for (size_t i = 0; i < count; i++) free(entries[i]);
  free(entries);
}

/* Appends a copy of `entry`; false: no memory. */
static bool keep(struct dirent ***entries, size_t *count, const struct dirent *entry) {
  if (*count % 64 == 0) {
    struct dirent **more = realloc(*entries, (*count + 64) * sizeof *more);
    if (!more) return false;
    *entries = more;
  }
  size_t size = offsetof(struct dirent, d_name) + strlen(entry->d_name) + 1;
  struct dirent *copy = malloc(size < sizeof *entry ? sizeof *entry : size);
  if (!copy) return false;
  memcpy(copy, entry, size);
  (*entries)[(*count)++] = copy;
  return true;
}

static int collect(DIR *stream, struct dirent ***list, choose wanted, order order) {
  struct dirent **entries = NULL, *entry;
  size_t count = 0;
  for (;;) {
    errno = 0;
    entry = readdir(stream);
    if (!entry) break;
    if (wanted && !wanted(entry)) continue;
    if (!keep(&entries, &count, entry)) {
      errno = ENOMEM;
      break;
    }
  }
  if (errno) {
    int problem = errno;
    drop(entries, count);
    return kg_fail(problem);
  }
  if (order && count > 1)
    qsort(entries, count, sizeof *entries, (int (*)(const void *, const void *))order);
  if (!entries) entries = malloc(sizeof *entries);
  *list = entries;
  return (int)count;
}

__attribute__((noinline)) static int scan(int at, const char *path, struct dirent ***list,
                                          choose wanted, order order) {
  int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  DIR *stream = fdopendir(fd);
  if (!stream) {
    int problem = errno;
    close(fd);
    return kg_fail(problem);
  }
  int saved = errno;
  int count = collect(stream, list, wanted, order);
  if (count >= 0) errno = saved;
  int problem = errno;
  closedir(stream);
  errno = problem;
  return count;
}

CAUGHT int scandirat(int at, const char *path, struct dirent ***list, choose wanted, order order) {
  if (!kg_plainly_local(at, path)) return scan(at, path, list, wanted, order);
  return PASS(scandirat)(at, path, list, wanted, order);
}

CAUGHT int scandir(const char *path, struct dirent ***list, choose wanted, order order) {
  return scandirat(AT_FDCWD, path, list, wanted, order);
}

CAUGHT int scandirat64(int at, const char *path, struct dirent64 ***list,
                       int (*wanted)(const struct dirent64 *),
                       int (*order_of)(const struct dirent64 **, const struct dirent64 **)) {
  return scandirat(at, path, (struct dirent ***)list, (choose)wanted, (order)order_of);
}

CAUGHT int scandir64(const char *path, struct dirent64 ***list,
                     int (*wanted)(const struct dirent64 *),
                     int (*order_of)(const struct dirent64 **, const struct dirent64 **)) {
  return scandirat64(AT_FDCWD, path, list, wanted, order_of);
}
