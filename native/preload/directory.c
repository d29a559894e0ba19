/*
 * The virtual working directory, and where a path leads.
 *
 * The kernel cannot stand in /kangaroo, so the library remembers that a program does, and keeps the
 * kernel in a directory of /proc meanwhile, where nothing can be made: a relative path that escapes
 * us fails aloud there instead of meaning another file. A child between vfork and exec has its
 * parent's memory but a directory of its own, so what it says is kept apart, by process id. What is
 * known here travels through exec in KANGAROO_CWD.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

REAL(int, chdir, (const char *path));
REAL(int, fchdir, (int fd));
REAL(char *, getcwd, (char *buffer, size_t size));
REAL(char *, get_current_dir_name, (void));
REAL(char *, getwd, (char *buffer));
REAL(ssize_t, readlink, (const char *path, char *buffer, size_t size));

#define DIRECTORY_MAX (KG_PATH_MAX + 512)
/* A reader may still hold the name before last; nobody changes directories this often. */
#define KEPT 8
#define BORROWERS 16

_Atomic int kg_adrift;

static char kept[KEPT][DIRECTORY_MAX];
static _Atomic unsigned kept_next;
static _Atomic(const char *) current;

/* Working directories of children that have borrowed this memory; pid 0: nobody's. */
static struct {
  _Atomic pid_t pid;
  bool is_virtual;
  char path[DIRECTORY_MAX];
} borrowers[BORROWERS];
static _Atomic int borrower_count;

void kg_directory_start(void) {
  if (!kg_settings.directory[0]) return;
  current = kg_settings.directory;
  kg_adrift = 1;
}

void kg_directory_after_fork(void) {
  pid_t self = getpid();
  for (int i = 0; i < BORROWERS; i++)
    if (borrowers[i].pid != self) borrowers[i].pid = 0;
  borrower_count = 0;
  kg_adrift = current != 0;
}

const char *kg_working_directory(void) {
  if (!kg_adrift) return NULL;
  if (borrower_count > 0) {
    pid_t self = getpid();
    for (int i = 0; i < BORROWERS; i++)
      if (borrowers[i].pid == self) return borrowers[i].is_virtual ? borrowers[i].path : NULL;
  }
  return current;
}

static int free_borrower(pid_t self) {
  for (int i = 0; i < BORROWERS; i++)
    if (borrowers[i].pid == self) return i;
  for (int i = 0; i < BORROWERS; i++) {
    pid_t nobody = 0;
    if (atomic_compare_exchange_strong(&borrowers[i].pid, &nobody, self)) {
      borrower_count++;
      return i;
    }
    /* One that was killed before its exec has left its entry behind. */
    if (kill(nobody, 0) < 0 && errno == ESRCH &&
        atomic_compare_exchange_strong(&borrowers[i].pid, &nobody, self))
      return i;
  }
  return -1;
}

/* NULL: the kernel knows where we are. */
static int set_directory(const char *path) {
  if (kg_is_borrowed()) {
    int i = free_borrower(getpid());
    if (i < 0) return EAGAIN;
    borrowers[i].is_virtual = path != NULL;
    if (path) strcpy(borrowers[i].path, path);
    kg_adrift = 1;
  } else {
    char *place = NULL;
    if (path) {
      place = kept[kept_next++ % KEPT];
      strcpy(place, path);
    }
    current = place;
    kg_adrift = place != NULL || borrower_count > 0;
  }
  if (path && CALL(chdir)("/proc/self/fdinfo") < 0) errno = 0;
  return 0;
}

int kg_directory_leave(void) {
  if (borrower_count <= 0) return -1;
  pid_t self = getpid();
  for (int i = 0; i < BORROWERS; i++)
    if (borrowers[i].pid == self) {
      borrowers[i].pid = 0;
      borrower_count--;
      kg_adrift = current != NULL || borrower_count > 0;
      return i;
    }
  return -1;
}

void kg_directory_return(int index) {
  pid_t nobody = 0;
  if (index < 0) return;
  if (!atomic_compare_exchange_strong(&borrowers[index].pid, &nobody, getpid())) return;
  borrower_count++;
  kg_adrift = 1;
}

void kg_directory_forget(void) {
  if (kg_adrift) set_directory(NULL);
}

int kg_place_open(const struct kg_file *file, struct kg_place *place) {
  place->name[0] = place->path[0] = 0;
  return KG_IS_TOP(file) ? 0 : kg_place_of(file->ref, place);
}

void kg_place_text(const struct kg_place *place, char *text) {
  char *end = stpcpy(text, "/kangaroo");
  if (!place->name[0]) return;
  *end++ = '/';
  end = stpcpy(end, place->name);
  if (!place->path[0]) return;
  *end++ = '/';
  strcpy(end, place->path);
}

/* `base` and `path` put together, without "." and ".."; false: too long. */
static bool join(const char *base, const char *path, char *out, size_t size) {
  size_t used = 0;
  for (int part = 0; part < 2; part++) {
    const char *at = part == 0 ? base : path;
    while (*at) {
      size_t length = strcspn(at, "/");
      if (length == 2 && at[0] == '.' && at[1] == '.') {
        while (used > 0 && out[--used] != '/') continue;
      } else if (length > 0 && !(length == 1 && at[0] == '.')) {
        if (used + length + 2 > size) return false;
        out[used++] = '/';
        memcpy(out + used, at, length);
        used += length;
      }
      at += length;
      while (*at == '/') at++;
    }
  }
  if (used == 0) out[used++] = '/';
  out[used] = 0;
  return true;
}

/* A relative path below a virtual directory is never the kernel's, also where it leads out. */
static void locate_below(const char *base, const char *path, struct kg_located *out) {
  if (!path[0]) {
    out->where = KG_BAD;
    out->problem = ENOENT;
    return;
  }
  kg_locate(path, base, out);
  if (out->where != KG_ELSEWHERE) return;
  out->where = KG_MAPPED;
  if (!join(base, path, out->local, sizeof out->local)) {
    out->where = KG_BAD;
    out->problem = ENAMETOOLONG;
  }
}

/* Only with mounts: they are looked up by absolute names, so a relative one is made absolute. */
__attribute__((noinline)) static void locate_mounted(int dirfd, const char *path,
                                                     struct kg_located *out) {
  char base[KG_PATH_MAX], whole[KG_PATH_MAX];
  kg_locate(path, NULL, out);
  if (out->where != KG_ELSEWHERE || !path[0]) return;
  if (dirfd == AT_FDCWD) {
    if (!CALL(getcwd)(base, sizeof base)) return;
  } else {
    char link[64] = "/proc/self/fd/";
    kg_decimal(link + strlen(link), (unsigned)dirfd);
    ssize_t got = CALL(readlink)(link, base, sizeof base - 1);
    if (got <= 0 || base[0] != '/') return;
    base[got] = 0;
  }
  if (join(base, path, whole, sizeof whole)) kg_locate(whole, NULL, out);
}

__attribute__((noinline)) static void locate_at_ours(struct kg_file *file, const char *path,
                                                     struct kg_located *out) {
  char base[DIRECTORY_MAX];
  int problem = file->kind == KG_DIRECTORY ? kg_place_open(file, &out->place) : ENOTDIR;
  if (problem) {
    out->where = KG_BAD;
    out->problem = problem;
    return;
  }
  kg_place_text(&out->place, base);
  locate_below(base, path, out);
}

/* Programs that walk a path component by component come from "/" to "kangaroo", which the kernel
   does not know. */
static bool is_top_from_root(int dirfd, const char *path) {
  static const char top[] = "kangaroo";
  if (strncmp(path, top, sizeof top - 1) != 0) return false;
  if (path[sizeof top - 1] != '/' && path[sizeof top - 1] != 0) return false;
  struct stat here, root;
  if (kg_raw(SYS_newfstatat, AT_FDCWD, (long)"/", (long)&root, 0, 0, 0) != 0) return false;
  long got = dirfd == AT_FDCWD
                 ? kg_raw(SYS_newfstatat, AT_FDCWD, (long)".", (long)&here, 0, 0, 0)
                 : kg_raw(SYS_newfstatat, dirfd, (long)"", (long)&here, AT_EMPTY_PATH, 0, 0);
  return got == 0 && here.st_dev == root.st_dev && here.st_ino == root.st_ino;
}

void kg_locate_at(int dirfd, const char *path, struct kg_located *out) {
  out->where = KG_ELSEWHERE;
  if (!path) return;
  int saved = errno;
  struct kg_file *file;
  if (path[0] == '/') {
    kg_locate(path, NULL, out);
  } else if (dirfd == AT_FDCWD) {
    const char *base = kg_working_directory();
    if (base)
      locate_below(base, path, out);
    else if (is_top_from_root(dirfd, path))
      kg_locate(path, "/", out);
    else if (kg_settings.mounts[0])
      locate_mounted(dirfd, path, out);
  } else if ((file = ours(dirfd)) != NULL) {
    locate_at_ours(file, path, out);
  } else if (is_top_from_root(dirfd, path)) {
    kg_locate(path, "/", out);
  } else if (kg_settings.mounts[0] && dirfd >= 0) {
    locate_mounted(dirfd, path, out);
  }
  errno = saved;
}

bool kg_is_ours_at(int dirfd, const char *path) {
  struct kg_located to;
  kg_locate_at(dirfd, path, &to);
  return to.where == KG_HERE || to.where == KG_TOP || to.where == KG_BAD;
}

static int enter_local(const char *path) {
  int result = CALL(chdir)(path);
  if (result == 0) kg_directory_forget();
  return result;
}

__attribute__((noinline)) static int enter(const char *path) {
  struct kg_located to;
  kg_locate_at(AT_FDCWD, path, &to);
  if (to.where == KG_ELSEWHERE) return enter_local(path);
  if (to.where == KG_MAPPED) return enter_local(to.local);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_TOP) to.place.name[0] = to.place.path[0] = 0;
  if (to.where == KG_HERE) {
    struct kg_facts facts = {0};
    int problem = kg_stat(&to.place, &facts);
    if (!problem && facts.kind == KG_ABSENT) problem = ENOENT;
    if (!problem && facts.kind != KG_DIRECTORY) problem = ENOTDIR;
    if (problem) return kg_fail(problem);
  }
  char text[DIRECTORY_MAX];
  kg_place_text(&to.place, text);
  int problem = set_directory(text);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int chdir(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return enter(path);
  if (kg_counting) kg_count_passed("chdir");
  return enter_local(path);
}

__attribute__((noinline)) static int enter_ours(struct kg_file *file) {
  struct kg_place place;
  char text[DIRECTORY_MAX];
  if (file->kind != KG_DIRECTORY) return kg_fail(ENOTDIR);
  int problem = kg_place_open(file, &place);
  if (problem) return kg_fail(problem);
  kg_place_text(&place, text);
  problem = set_directory(text);
  return problem ? kg_fail(problem) : 0;
}

CAUGHT int fchdir(int fd) {
  struct kg_file *file = ours(fd);
  if (file) return enter_ours(file);
  int result = PASS(fchdir)(fd);
  if (result == 0) kg_directory_forget();
  return result;
}

CAUGHT char *getcwd(char *buffer, size_t size) {
  const char *here = kg_working_directory();
  if (!here) return CALL(getcwd)(buffer, size);
  size_t needed = strlen(here) + 1;
  if (size == 0 && buffer)
    errno = EINVAL;
  else if (size != 0 && size < needed)
    errno = ERANGE;
  else {
    if (!buffer) buffer = malloc(size ? size : needed);
    return buffer ? memcpy(buffer, here, needed) : NULL;
  }
  return NULL;
}

CAUGHT char *__getcwd_chk(char *buffer, size_t size, size_t room) {
  if (size > room) kg_overflow();
  return getcwd(buffer, size);
}

CAUGHT char *get_current_dir_name(void) {
  const char *here = kg_working_directory();
  return here ? strdup(here) : CALL(get_current_dir_name)();
}

CAUGHT char *getwd(char *buffer) {
  const char *here = kg_working_directory();
  if (!here) return CALL(getwd)(buffer);
  if (strlen(here) < KG_PATH_MAX) return strcpy(buffer, here);
  errno = ENAMETOOLONG;
  return NULL;
}

CAUGHT char *__getwd_chk(char *buffer, size_t room) {
  const char *here = kg_working_directory();
  if (here && strlen(here) >= room) kg_overflow();
  if (here) return strcpy(buffer, here);
  char whole[KG_PATH_MAX];
  if (!CALL(getcwd)(whole, sizeof whole)) return NULL;
  if (strlen(whole) >= room) kg_overflow();
  return strcpy(buffer, whole);
}
