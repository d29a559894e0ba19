/*
 * Copies of files of ours for those who need one of the kernel's: the loader (dlopen, dlmopen) and
 * exec.
 *
 * A shared object is loaded from a memfd by its name in /proc. The descriptor is kept, so that the
 * same object loaded twice is one, as it is by name. The loader looks at who called dlopen, so a
 * path that is not ours must be passed on by a jump: nothing may stand on the stack then.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

REAL(void *, dlopen, (const char *path, int mode));
REAL(void *, dlmopen, (Lmid_t space, const char *path, int mode));

#define COPY_CHUNK (256u << 10)
#define OBJECTS_MAX 256
#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

static struct {
  uint64_t ino, size;
  int64_t mtime_ns;
  int fd;
} objects[OBJECTS_MAX];
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

/* Newer kernels want to be told that a memfd may be run; older ones do not know the flag. */
static int make_memory(void) {
  long fd = kg_raw(SYS_memfd_create, (long)"kangaroo-copy", MFD_CLOEXEC | MFD_EXEC, 0, 0, 0, 0);
  if (fd == -EINVAL) fd = kg_raw(SYS_memfd_create, (long)"kangaroo-copy", MFD_CLOEXEC, 0, 0, 0, 0);
  if (fd < 0) return (int)fd;
  /* Out of the way of the numbers that programs give to their own descriptors. */
  int high = kg_raw_fcntl((int)fd, F_DUPFD_CLOEXEC, 500);
  if (high < 0) return (int)fd;
  kg_raw_close((int)fd);
  return high;
}

static int copy_to(struct kg_ref ref, int fd, uint64_t size) {
  if (size == 0) return 0;
  int64_t done = kg_raw(SYS_ftruncate, fd, (long)size, 0, 0, 0, 0);
  if (done < 0) return (int)-done;
  long map = kg_raw(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map < 0 && map > -4096) return (int)-map;
  int problem = 0;
  for (uint64_t at = 0; at < size && !problem;) {
    size_t got = 0, wanted = size - at < COPY_CHUNK ? size - at : COPY_CHUNK;
    problem = kg_read(ref, (char *)map + at, wanted, at, &got);
    if (got == 0) break;
    at += got;
  }
  kg_raw(SYS_munmap, map, (long)size, 0, 0, 0, 0);
  return problem;
}

/* The file is held open while it is copied. */
static int open_source(const struct kg_located *located, bool program, struct kg_file **file,
                       struct kg_facts *facts) {
  int source = kg_open_located(located, O_RDONLY | O_CLOEXEC, 0);
  if (source < 0) return -errno;
  *file = ours(source);
  int problem = *file ? kg_facts_open(*file, facts) : EIO;
  if (!problem && facts->kind != KG_FILE) problem = program ? EACCES : EISDIR;
  if (!problem && program && (facts->mode & 0111) == 0) problem = EACCES;
  if (!problem) return source;
  close(source);
  return -problem;
}

static int copy_open(struct kg_file *file, const struct kg_facts *facts) {
  int fd = make_memory();
  if (fd < 0) return fd;
  int problem = copy_to(file->ref, fd, facts->size);
  if (!problem) return fd;
  kg_raw_close(fd);
  return -problem;
}

int kg_fetch(const struct kg_located *located, bool program) {
  struct kg_file *file;
  struct kg_facts facts = {0};
  int source = open_source(located, program, &file, &facts);
  if (source < 0) return kg_fail(-source);
  int fd = copy_open(file, &facts);
  close(source);
  return fd < 0 ? kg_fail(-fd) : fd;
}

/* The kept copy of an object, or a new one; -errno. Under the lock. */
static int object_of(struct kg_file *file, const struct kg_facts *facts) {
  int place = -1;
  for (int i = 0; i < OBJECTS_MAX; i++) {
    if (objects[i].ino == 0) {
      place = i;
      break;
    }
    if (objects[i].ino == facts->ino && objects[i].size == facts->size &&
        objects[i].mtime_ns == facts->mtime_ns)
      return objects[i].fd;
  }
  int fd = copy_open(file, facts);
  if (fd >= 0 && place >= 0) {
    objects[place].ino = facts->ino;
    objects[place].size = facts->size;
    objects[place].mtime_ns = facts->mtime_ns;
    objects[place].fd = fd;
  }
  return fd;
}

/* `name`: what the loader is to open instead of `path`. */
__attribute__((noinline)) static void stand_in(const char *path, char name[KG_PATH_MAX]) {
  struct kg_located to;
  struct kg_file *file;
  struct kg_facts facts = {0};
  kg_locate_at(AT_FDCWD, path, &to);
  strncpy(name, to.where == KG_MAPPED ? to.local : path, KG_PATH_MAX - 1);
  name[KG_PATH_MAX - 1] = 0;
  if (to.where != KG_HERE) return;
  int source = open_source(&to, false, &file, &facts);
  if (source < 0) return;
  pthread_mutex_lock(&objects_lock);
  int fd = object_of(file, &facts);
  pthread_mutex_unlock(&objects_lock);
  close(source);
  if (fd >= 0) kg_decimal(stpcpy(name, "/proc/self/fd/"), (unsigned long)fd);
}

__attribute__((noinline)) static void *load(const char *path, int mode) {
  char name[KG_PATH_MAX];
  stand_in(path, name);
  return CALL(dlopen)(name, mode);
}

__attribute__((noinline)) static void *load_into(Lmid_t space, const char *path, int mode) {
  char name[KG_PATH_MAX];
  stand_in(path, name);
  return CALL(dlmopen)(space, name, mode);
}

/* A name without a slash is looked for by the loader, whatever the working directory. */
static inline bool is_for_the_loader(const char *path) {
  if (kg_is_null(path) || kg_plainly_local(AT_FDCWD, path)) return true;
  for (; *path; path++)
    if (*path == '/') return false;
  return true;
}

CAUGHT void *dlopen(const char *path, int mode) {
  if (__builtin_expect(is_for_the_loader(path), 1)) return CALL(dlopen)(path, mode);
  return load(path, mode);
}

CAUGHT void *dlmopen(Lmid_t space, const char *path, int mode) {
  if (__builtin_expect(is_for_the_loader(path), 1)) return CALL(dlmopen)(space, path, mode);
  return load_into(space, path, mode);
}
