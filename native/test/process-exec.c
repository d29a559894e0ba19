/* Programs and scripts that lie in the directory run, and what cannot run says why. */
#include "check.h"

static void copy_program(const char *from, const char *to) {
  static char bytes[1 << 16];
  int in_fd = open(from, O_RDONLY), out = open(in(to), O_WRONLY | O_CREAT, 0755);
  ssize_t got;
  while ((got = read(in_fd, bytes, sizeof bytes)) > 0) CHECK(write(out, bytes, (size_t)got) == got);
  CHECK(close(in_fd) == 0 && close(out) == 0);
}

static void put(const char *name, const char *text, mode_t mode) {
  int fd = open(in(name), O_WRONLY | O_CREAT, mode);
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static int status_of(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void test(void) {
  char path[4200];
  copy_program("/bin/false", "false");
  copy_program("/bin/cat", "cat");
  put("script", "#!/bin/sh -e\necho \"$0 $1\" > \"$2\"\nexit 7\n", 0755);
  put("plain", "exit 9\n", 0755);
  put("not", "#!/bin/sh\n", 0644);
  pid_t child = fork();
  if (child == 0) _exit(execl(in("false"), "false", NULL) + 100);
  CHECK(status_of(child) == 1);
  child = fork();
  if (child == 0) _exit(execl(in("script"), "script", "one", in("said"), NULL) + 100);
  CHECK(status_of(child) == 7);
  snprintf(path, sizeof path, "%s one\n", in("script"));
  HOLDS("said", path);
  child = fork();
  if (child == 0) _exit(execlp(in("plain"), "plain", NULL) + 100);
  CHECK(status_of(child) == 9);
  child = vfork();
  if (child == 0) {
    execl(in("plain"), "plain", NULL);
    _exit(errno == ENOEXEC ? 0 : 1);
  }
  CHECK(status_of(child) == 0);
  FAILS(execl(in("not"), "not", NULL), EACCES);
  FAILS(execl(in("none"), "none", NULL), ENOENT);
  FAILS(execl(directory, "d", NULL), EACCES);
  snprintf(path, sizeof path, "%s:/usr/bin:/bin", directory);
  CHECK(setenv("PATH", path, 1) == 0);
  child = fork();
  if (child == 0) _exit(execlp("script", "script", "two", in("said2"), NULL) + 100);
  CHECK(status_of(child) == 7);
  child = fork();
  if (child == 0) {
    int fd = open(in("false"), O_RDONLY | O_CLOEXEC);
    char *words[] = {"false", NULL}, *none[] = {NULL};
    _exit(fexecve(fd, words, none) + 100);
  }
  CHECK(status_of(child) == 1);
}
