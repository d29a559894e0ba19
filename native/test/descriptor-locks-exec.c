/* Record locks stay over exec, as long as it does not close the file; and the new program's close
   ends them, as a failing exec does not. */
#include "check.h"

static bool is_locked(void) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
  int fd = open(in("f"), O_RDWR);
  CHECK(fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && close(fd) == 0);
  return lock.l_type != F_UNLCK;
}

static int to_child[2], from_child[2];

/* A child that locks the file by descriptor 9 and becomes a shell. */
static pid_t start(int flags, const char *script) {
  int exec_seen[2];
  char byte;
  CHECK(pipe(to_child) == 0 && pipe(from_child) == 0 && pipe2(exec_seen, O_CLOEXEC) == 0);
  pid_t child = fork();
  if (child == 0) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
    CHECK(fd >= 0 && dup2(fd, 20) == 20 && close(fd) == 0);
    CHECK(dup3(20, 9, flags) == 9 && close(20) == 0);
    CHECK(fcntl(9, F_SETLK, &lock) == 0);
    FAILS(execl("/nonexistent", "x", NULL), ENOENT);
    FAILS(execl("/dev/null", "x", NULL), EACCES);
    CHECK(dup2(to_child[0], 0) == 0 && dup2(from_child[1], 1) == 1);
    close(to_child[0]), close(to_child[1]), close(from_child[0]), close(from_child[1]);
    execl("/bin/sh", "sh", "-c", script, NULL);
    _exit(127);
  }
  CHECK(close(to_child[0]) == 0 && close(from_child[1]) == 0 && close(exec_seen[1]) == 0);
  CHECK(read(exec_seen[0], &byte, 1) == 0 && close(exec_seen[0]) == 0);
  return child;
}

static void finish(pid_t child) {
  CHECK(close(to_child[1]) == 0 && close(from_child[0]) == 0);
  ended_well(child);
  CHECK(!is_locked());
}

static void test(void) {
  char line[8];
  pid_t child = start(0, "echo a; read x; exec 9>&-; echo b; read y; exit 0");
  CHECK(is_locked());
  CHECK(read(from_child[0], line, 2) == 2 && line[0] == 'a' && is_locked());
  CHECK(write(to_child[1], "\n", 1) == 1 && read(from_child[0], line, 2) == 2 && line[0] == 'b');
  CHECK(!is_locked());
  CHECK(write(to_child[1], "\n", 1) == 1);
  finish(child);
  /* Through two programs. */
  child = start(0, "exec sh -c 'exec sh -c \"echo c; read x\"'");
  CHECK(read(from_child[0], line, 2) == 2 && line[0] == 'c' && is_locked());
  CHECK(write(to_child[1], "\n", 1) == 1);
  finish(child);
  child = start(O_CLOEXEC, "echo d; read x");
  CHECK(read(from_child[0], line, 2) == 2 && line[0] == 'd' && !is_locked());
  CHECK(write(to_child[1], "\n", 1) == 1);
  finish(child);
}
