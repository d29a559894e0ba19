/*
 * File actions of posix_spawn. libc carries them out in the child by hidden calls, so one that
 * names a path of ours is turned into one that does not: a file is opened when the action is
 * added, and becomes a dup2; a directory is remembered, and becomes the new program's
 * KANGAROO_CWD.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

#define ACTIONS_MAX 64
#define OPENED_MAX 8

typedef posix_spawn_file_actions_t actions_t;

REAL(int, posix_spawn_file_actions_init, (actions_t * actions));
REAL(int, posix_spawn_file_actions_destroy, (actions_t * actions));
REAL(int, posix_spawn_file_actions_addopen,
     (actions_t * actions, int fd, const char *path, int flags, mode_t mode));
REAL(int, posix_spawn_file_actions_adddup2, (actions_t * actions, int fd, int to));
REAL(int, posix_spawn_file_actions_addchdir_np, (actions_t * actions, const char *path));
REAL(int, posix_spawn_file_actions_addfchdir_np, (actions_t * actions, int fd));

static struct noted {
  const void *actions;
  int opened[OPENED_MAX];
  int opened_count;
  bool has_directory;
  char directory[KG_PATH_MAX + 512]; /* "": the kernel's */
} noted[ACTIONS_MAX];
static _Atomic int noted_count;
static pthread_mutex_t noted_lock = PTHREAD_MUTEX_INITIALIZER;

/* What is noted of `actions`, or a free place for it if `make`. Under the lock. */
static struct noted *find(const void *actions, bool make) {
  struct noted *empty = NULL;
  for (int i = 0; i < ACTIONS_MAX; i++) {
    if (noted[i].actions == actions) return &noted[i];
    if (!noted[i].actions && !empty) empty = &noted[i];
  }
  if (!make || !empty) return NULL;
  empty->actions = actions;
  empty->opened_count = 0;
  empty->has_directory = false;
  noted_count++;
  return empty;
}

static void drop(const void *actions) {
  if (noted_count == 0) return;
  pthread_mutex_lock(&noted_lock);
  struct noted *note = find(actions, false);
  if (note) {
    for (int i = 0; i < note->opened_count; i++) close(note->opened[i]);
    note->actions = NULL;
    noted_count--;
  }
  pthread_mutex_unlock(&noted_lock);
}

bool kg_actions_directory(const void *actions, const char **directory) {
  if (!actions || noted_count == 0) return false;
  pthread_mutex_lock(&noted_lock);
  struct noted *note = find(actions, false);
  bool found = note && note->has_directory;
  if (found) *directory = note->directory[0] ? note->directory : NULL;
  pthread_mutex_unlock(&noted_lock);
  return found;
}

CAUGHT int posix_spawn_file_actions_init(actions_t *actions) {
  drop(actions);
  return CALL(posix_spawn_file_actions_init)(actions);
}

CAUGHT int posix_spawn_file_actions_destroy(actions_t *actions) {
  drop(actions);
  return CALL(posix_spawn_file_actions_destroy)(actions);
}

static int note_opened(actions_t *actions, int fd) {
  pthread_mutex_lock(&noted_lock);
  struct noted *note = find(actions, true);
  bool room = note && note->opened_count < OPENED_MAX;
  if (room) note->opened[note->opened_count++] = fd;
  pthread_mutex_unlock(&noted_lock);
  return room ? 0 : ENOMEM;
}

CAUGHT int posix_spawn_file_actions_addopen(actions_t *actions, int fd, const char *path, int flags,
                                            mode_t mode) {
  if (kg_plainly_local(AT_FDCWD, path))
    return CALL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode);
  int before = errno;
  int made = open(path, flags | O_CLOEXEC, mode);
  /* What cannot be opened fails in the child, as it would have. */
  if (made < 0) {
    errno = before;
    return CALL(posix_spawn_file_actions_addopen)(actions, fd, path, flags, mode);
  }
  int high = fcntl(made, F_DUPFD_CLOEXEC, 400);
  if (high >= 0)
    close(made);
  else
    high = made;
  int problem = note_opened(actions, high);
  if (!problem) problem = CALL(posix_spawn_file_actions_adddup2)(actions, high, fd);
  errno = before;
  return problem;
}

static int note_directory(actions_t *actions, const char *directory) {
  pthread_mutex_lock(&noted_lock);
  struct noted *note = find(actions, true);
  if (note) {
    note->has_directory = true;
    strcpy(note->directory, directory);
  }
  pthread_mutex_unlock(&noted_lock);
  return note ? 0 : ENOMEM;
}

__attribute__((noinline)) static int add_directory(actions_t *actions, const char *path) {
  struct kg_located to;
  char text[KG_PATH_MAX + 512] = "";
  kg_locate_at(AT_FDCWD, path, &to);
  if (to.where == KG_BAD) return to.problem;
  if (to.where == KG_TOP) to.place.name[0] = to.place.path[0] = 0;
  if (to.where == KG_TOP || to.where == KG_HERE) {
    kg_place_text(&to.place, text);
    path = "/proc/self/fdinfo";
  } else if (to.where == KG_MAPPED) {
    path = to.local;
  }
  int problem = note_directory(actions, text);
  return problem ? problem : CALL(posix_spawn_file_actions_addchdir_np)(actions, path);
}

CAUGHT int posix_spawn_file_actions_addchdir_np(actions_t *actions, const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path) || kg_adrift) return add_directory(actions, path);
  return CALL(posix_spawn_file_actions_addchdir_np)(actions, path);
}

__attribute__((noinline)) static int add_open_directory(actions_t *actions, struct kg_file *file) {
  struct kg_place place;
  char text[KG_PATH_MAX + 512];
  int problem = kg_place_open(file, &place);
  if (problem) return problem;
  kg_place_text(&place, text);
  problem = note_directory(actions, text);
  return problem ? problem
                 : CALL(posix_spawn_file_actions_addchdir_np)(actions, "/proc/self/fdinfo");
}

CAUGHT int posix_spawn_file_actions_addfchdir_np(actions_t *actions, int fd) {
  struct kg_file *file = ours(fd);
  if (file) return add_open_directory(actions, file);
  if (kg_adrift) {
    int problem = note_directory(actions, "");
    if (problem) return problem;
  }
  return CALL(posix_spawn_file_actions_addfchdir_np)(actions, fd);
}
