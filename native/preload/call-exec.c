/*
 * The exec family. libc's own variants reach each other and execve by hidden names, so each is
 * here, and all end in kg_exec: the environment is completed, what was written is committed when
 * the exec is going to happen and the memory is ours to speak for, and a program in /kangaroo is
 * fetched.
 *
 * No memory from malloc: this is what a vfork child calls. The environment lies on the stack.
 */
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "locks.h"
#include "preload.h"
#include "processes.h"
#include "raw.h"

REAL(int, execve, (const char *path, char *const argv[], char *const envp[]));

#define INTERPRETERS_MAX 5

/* An exec that fails for want of a file must not commit: PATH is searched by failing. */
static bool will_happen(int at, const char *path, int flags) {
  if (flags & AT_EMPTY_PATH && !path[0]) return true;
  return kg_raw(SYS_faccessat, at, (long)path, X_OK, 0, 0, 0) == 0;
}

static int execute(int at, const char *path, char *const argv[], char *const envp[], int flags) {
  struct kg_environment_needs needs = kg_environment_needs(envp);
  char *pointers[needs.pointers];
  char bytes[needs.bytes];
  char **made = kg_environment_make(envp, kg_working_directory(), pointers, bytes);
  bool is_last = will_happen(at, path, flags);
  if (is_last) kg_finish_for_exec();
  if (is_last && !kg_is_borrowed()) kg_locks_hand_on();
  int left = kg_directory_leave();
  int result;
  if (at == AT_FDCWD && flags == 0) {
    result = CALL(execve)(path, argv, made);
  } else {
    long code = kg_raw(SYS_execveat, at, (long)path, (long)argv, (long)made, flags, 0);
    result = code < 0 ? kg_fail((int)-code) : 0;
  }
  kg_directory_return(left);
  if (is_last && !kg_is_borrowed()) kg_locks_take_back();
  return result;
}

static size_t count_words(char *const argv[]) {
  size_t count = 0;
  while (argv && argv[count]) count++;
  return count;
}

static int execute_script(const struct kg_program *program, char *const argv[], char *const envp[],
                          int depth) {
  size_t own = count_words(argv), at = 0;
  char *words[own + 4];
  for (; at < program->extra; at++) words[at] = program->words[at];
  for (size_t i = 1; i < own; i++) words[at++] = argv[i];
  words[at] = NULL;
  return kg_exec(AT_FDCWD, words[0], words, envp, 0, depth + 1);
}

__attribute__((noinline)) static int
execute_ours(const struct kg_located *located, char *const argv[], char *const envp[], int depth) {
  struct kg_program program;
  int problem = kg_program_open(located, &program);
  if (problem) return kg_fail(problem);
  if (program.fd < 0) return execute_script(&program, argv, envp, depth);
  int result = execute(program.fd, "", argv, envp, AT_EMPTY_PATH);
  problem = errno;
  kg_raw_close(program.fd);
  errno = problem;
  return result;
}

__attribute__((noinline)) static int execute_located(int at, const char *path, char *const argv[],
                                                     char *const envp[], int flags, int depth) {
  struct kg_located to;
  kg_locate_at(at, path, &to);
  if (to.where == KG_ELSEWHERE) return execute(at, path, argv, envp, flags);
  if (to.where == KG_MAPPED) return execute(AT_FDCWD, to.local, argv, envp, flags);
  if (to.where == KG_BAD) return kg_fail(to.problem);
  if (to.where == KG_TOP) return kg_fail(EACCES);
  return execute_ours(&to, argv, envp, depth);
}

/* A descriptor of ours, by fexecve or execveat. */
__attribute__((noinline)) static int execute_open(struct kg_file *file, char *const argv[],
                                                  char *const envp[]) {
  struct kg_located to = {.where = KG_HERE};
  int problem = kg_place_open(file, &to.place);
  if (problem) return kg_fail(problem);
  return file->kind == KG_FILE ? execute_ours(&to, argv, envp, 0) : kg_fail(EACCES);
}

int kg_exec(int at, const char *path, char *const argv[], char *const envp[], int flags,
            int depth) {
  if (depth > INTERPRETERS_MAX) return kg_fail(ELOOP);
  if (kg_is_null(path)) return kg_fail(EFAULT);
  if (flags & AT_EMPTY_PATH && !path[0] && at >= 0) {
    struct kg_file *file = ours(at);
    if (file) return execute_open(file, argv, envp);
  }
  if (kg_plainly_local(at, path)) return execute(at, path, argv, envp, flags);
  return execute_located(at, path, argv, envp, flags, depth);
}

CAUGHT int execve(const char *path, char *const argv[], char *const envp[]) {
  return kg_exec(AT_FDCWD, path, argv, envp, 0, 0);
}

CAUGHT int execv(const char *path, char *const argv[]) {
  return kg_exec(AT_FDCWD, path, argv, environ, 0, 0);
}

CAUGHT int execveat(int at, const char *path, char *const argv[], char *const envp[], int flags) {
  return kg_exec(at, path, argv, envp, flags, 0);
}

CAUGHT int fexecve(int fd, char *const argv[], char *const envp[]) {
  if (fd < 0 || kg_is_null(argv) || kg_is_null(envp)) return kg_fail(EINVAL);
  return kg_exec(fd, "", argv, envp, AT_EMPTY_PATH, 0);
}

/* A file that the kernel knows no format of is a script for sh, says execvp. */
static int execute_or_shell(const char *path, char *const argv[], char *const envp[]) {
  kg_exec(AT_FDCWD, path, argv, envp, 0, 0);
  if (errno != ENOEXEC) return -1;
  size_t own = count_words(argv), at = 0;
  char *words[own + 3];
  words[at++] = (char *)_PATH_BSHELL;
  words[at++] = (char *)path;
  for (size_t i = 1; i < own; i++) words[at++] = argv[i];
  words[at] = NULL;
  return kg_exec(AT_FDCWD, words[0], words, envp, 0, 0);
}

CAUGHT int execvpe(const char *file, char *const argv[], char *const envp[]) {
  if (!*file) return kg_fail(ENOENT);
  if (strchr(file, '/')) return execute_or_shell(file, argv, envp);
  const char *path = getenv("PATH");
  if (!path) path = "/bin:/usr/bin";
  size_t length = strlen(file);
  bool denied = false;
  char whole[KG_PATH_MAX];
  for (;; path++) {
    size_t part = strcspn(path, ":");
    if (part + length + 2 <= sizeof whole) {
      memcpy(whole, path, part);
      if (part > 0) whole[part] = '/';
      memcpy(whole + part + (part > 0), file, length + 1);
      execute_or_shell(whole, argv, envp);
      if (errno == EACCES)
        denied = true;
      else if (errno != ENOENT && errno != ESTALE && errno != ENOTDIR && errno != ENODEV &&
               errno != ETIMEDOUT)
        return -1;
    }
    path += part;
    if (!*path) break;
  }
  return kg_fail(denied ? EACCES : ENOENT);
}

CAUGHT int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }

/* The words of an execl call, its NULL included, are counted and then laid out. */
#define WORDS_OF(first, count)                               \
  do {                                                       \
    va_list list;                                            \
    va_start(list, first);                                   \
    for (count = 1; va_arg(list, char *); count++) continue; \
    va_end(list);                                            \
  } while (0)

#define LAY_OUT(first, words, count, more)                             \
  va_list list;                                                        \
  va_start(list, first);                                               \
  words[0] = (char *)first;                                            \
  for (size_t i = 1; i <= count; i++) words[i] = va_arg(list, char *); \
  more;                                                                \
  va_end(list)

CAUGHT int execl(const char *path, const char *first, ...) {
  size_t count;
  WORDS_OF(first, count);
  char *words[count + 1];
  LAY_OUT(first, words, count, (void)0);
  return kg_exec(AT_FDCWD, path, words, environ, 0, 0);
}

CAUGHT int execlp(const char *file, const char *first, ...) {
  size_t count;
  WORDS_OF(first, count);
  char *words[count + 1];
  LAY_OUT(first, words, count, (void)0);
  return execvpe(file, words, environ);
}

CAUGHT int execle(const char *path, const char *first, ...) {
  size_t count;
  WORDS_OF(first, count);
  char *words[count + 1];
  char *const *envp;
  LAY_OUT(first, words, count, envp = va_arg(list, char *const *));
  return kg_exec(AT_FDCWD, path, words, envp, 0, 0);
}
