/*
 * posix_spawn, system and popen: other programs that get our environment, and programs that lie in
 * /kangaroo. The real calls do the work.
 *
 * system and popen take the environment from `environ`, so it is replaced while they run, and only
 * when something is missing in it: usually nothing is.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

typedef posix_spawn_file_actions_t actions_t;

REAL(int, posix_spawn,
     (pid_t * pid, const char *path, const actions_t *actions, const posix_spawnattr_t *attributes,
      char *const argv[], char *const envp[]));
REAL(int, posix_spawnp,
     (pid_t * pid, const char *file, const actions_t *actions, const posix_spawnattr_t *attributes,
      char *const argv[], char *const envp[]));
REAL(int, system, (const char *command));
REAL(FILE *, popen, (const char *command, const char *mode));

/* The words of one posix_spawn, as they go from hand to hand. */
struct spawn {
  pid_t *pid;
  const actions_t *actions;
  const posix_spawnattr_t *attributes;
  char *const *argv;
  char *const *envp;
  bool by_path; /* PATH is to be searched */
};

static int spawn_at(const struct spawn *spawn, const char *path) {
  const char *directory = kg_working_directory();
  kg_actions_directory(spawn->actions, &directory);
  struct kg_environment_needs needs = kg_environment_needs(spawn->envp);
  char *pointers[needs.pointers];
  char bytes[needs.bytes];
  char **made = kg_environment_make(spawn->envp, directory, pointers, bytes);
  if (spawn->by_path)
    return CALL(posix_spawnp)(spawn->pid, path, spawn->actions, spawn->attributes, spawn->argv,
                              made);
  return CALL(posix_spawn)(spawn->pid, path, spawn->actions, spawn->attributes, spawn->argv, made);
}

static int spawn_any(const struct spawn *spawn, const char *path, int depth);

static int spawn_program(const struct spawn *spawn, const struct kg_program *program, int depth) {
  char name[64];
  if (program->fd >= 0) {
    kg_decimal(stpcpy(name, "/proc/self/fd/"), (unsigned long)program->fd);
    int problem = spawn_at(spawn, name);
    kg_raw_close(program->fd);
    return problem;
  }
  size_t own = 0, at = 0;
  while (spawn->argv && spawn->argv[own]) own++;
  char *words[own + 4];
  for (; at < program->extra; at++) words[at] = program->words[at];
  for (size_t i = 1; i < own; i++) words[at++] = spawn->argv[i];
  words[at] = NULL;
  struct spawn other = *spawn;
  other.argv = words;
  return spawn_any(&other, words[0], depth + 1);
}

__attribute__((noinline)) static int spawn_located(const struct spawn *spawn, const char *path,
                                                   int depth) {
  struct kg_located to;
  struct kg_program program;
  kg_locate_at(AT_FDCWD, path, &to);
  if (to.where == KG_ELSEWHERE) return spawn_at(spawn, path);
  if (to.where == KG_MAPPED) return spawn_at(spawn, to.local);
  if (to.where == KG_BAD) return to.problem;
  if (to.where == KG_TOP) return EACCES;
  int problem = kg_program_open(&to, &program);
  return problem ? problem : spawn_program(spawn, &program, depth);
}

static int spawn_any(const struct spawn *spawn, const char *path, int depth) {
  if (depth > 5) return ELOOP;
  if (kg_plainly_local(AT_FDCWD, path)) return spawn_at(spawn, path);
  return spawn_located(spawn, path, depth);
}

CAUGHT int posix_spawn(pid_t *pid, const char *path, const actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[],
                       char *const envp[]) {
  struct spawn spawn = {pid, actions, attributes, argv, envp, false};
  int before = errno;
  int problem = spawn_any(&spawn, path, 0);
  errno = before;
  return problem;
}

/* A program of ours that PATH leads to, in `whole`; false: the real call finds what there is. */
static bool find_ours(const char *file, char *whole, size_t size) {
  const char *path = getenv("PATH");
  size_t length = strlen(file);
  if (!path || (!strstr(path, "/kangaroo") && !kg_settings.mounts[0] && !kg_adrift)) return false;
  for (;; path++) {
    size_t part = strcspn(path, ":");
    if (part + length + 2 <= size) {
      memcpy(whole, path, part);
      if (part > 0) whole[part] = '/';
      memcpy(whole + part + (part > 0), file, length + 1);
      if (access(whole, X_OK) == 0) return !kg_plainly_local(AT_FDCWD, whole);
    }
    path += part;
    if (!*path) return false;
  }
}

CAUGHT int posix_spawnp(pid_t *pid, const char *file, const actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[],
                        char *const envp[]) {
  struct spawn spawn = {pid, actions, attributes, argv, envp, false};
  char whole[KG_PATH_MAX];
  int before = errno, problem;
  if (strchr(file, '/')) {
    problem = kg_plainly_local(AT_FDCWD, file) ? -1 : spawn_located(&spawn, file, 0);
  } else {
    problem = find_ours(file, whole, sizeof whole) ? spawn_located(&spawn, whole, 0) : -1;
  }
  if (problem < 0) {
    spawn.by_path = true;
    problem = spawn_at(&spawn, file);
  }
  errno = before;
  return problem;
}

/* The environment that stands in for `environ`; it stays until the next one is made. */
static char **stand_in(void) {
  static char *room;
  static size_t room_size;
  struct kg_environment_needs needs = kg_environment_needs(environ);
  size_t size = needs.pointers * sizeof(char *) + needs.bytes;
  if (room) kg_raw(SYS_munmap, (long)room, (long)room_size, 0, 0, 0, 0);
  long made =
      kg_raw(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  room = made < 0 && made > -4096 ? NULL : (char *)made;
  room_size = size;
  if (!room) return environ;
  return kg_environment_make(environ, kg_working_directory(), (char **)room,
                             room + needs.pointers * sizeof(char *));
}

static pthread_mutex_t environ_lock = PTHREAD_MUTEX_INITIALIZER;

CAUGHT int system(const char *command) {
  if (!kg_environment_lacks(environ, kg_working_directory())) return CALL(system)(command);
  pthread_mutex_lock(&environ_lock);
  char **before = environ;
  environ = stand_in();
  int result = CALL(system)(command);
  environ = before;
  pthread_mutex_unlock(&environ_lock);
  return result;
}

CAUGHT FILE *popen(const char *command, const char *mode) {
  if (!kg_environment_lacks(environ, kg_working_directory())) return CALL(popen)(command, mode);
  pthread_mutex_lock(&environ_lock);
  char **before = environ;
  environ = stand_in();
  FILE *stream = CALL(popen)(command, mode);
  environ = before;
  pthread_mutex_unlock(&environ_lock);
  return stream;
}
ALIAS(popen, _IO_popen);
