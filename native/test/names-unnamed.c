/* A file that is unlinked while it is open goes on, for its process and for the children of it. */
#include "check.h"
#include <sys/mman.h>

static int make(const char *name, int flags) {
  int fd = open(in(name), flags | O_CREAT | O_EXCL, 0640);
  CHECK(fd >= 0 && write(fd, "hello", 5) == 5);
  return fd;
}

static void test(void) {
  char bytes[16] = {0};
  struct stat facts;
  int fd = make("a", O_RDWR), copy = dup(fd), other = open(in("a"), O_RDONLY);
  CHECK(read(other, bytes, 2) == 2 && fcntl(copy, F_SETFD, FD_CLOEXEC) == 0);
  CHECK(unlink(in("a")) == 0);
  FAILS(access(in("a"), F_OK), ENOENT);
  CHECK(write(fd, " ", 1) == 1 && lseek(fd, 0, SEEK_CUR) == 6 && lseek(other, 0, SEEK_CUR) == 2);
  CHECK(write(fd, "there", 5) == 5 && lseek(copy, 0, SEEK_CUR) == 11);
  CHECK(read(other, bytes, 16) == 9 && memcmp(bytes, "llo there", 9) == 0);
  FAILS(write(other, "x", 1), EBADF);
  CHECK(fstat(fd, &facts) == 0 && facts.st_size == 11 && (facts.st_mode & 07777) == 0640);
  CHECK(fcntl(copy, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFD) == 0);
  CHECK(ftruncate(fd, 4096) == 0);
  char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED && map[0] == 'h');
  map[1] = 'E';
  CHECK(msync(map, 4096, MS_SYNC) == 0 && pread(other, bytes, 2, 0) == 2 && bytes[1] == 'E');
  CHECK(munmap(map, 4096) == 0);
  /* The name is free for another file. */
  int again = make("a", O_WRONLY | O_APPEND);
  CHECK(pread(fd, bytes, 5, 0) == 5 && memcmp(bytes, "hEllo", 5) == 0);
  HOLDS("a", "hello");
  pid_t child = fork();
  if (child == 0) {
    CHECK(dup2(fd, 1) == 1 && lseek(1, 4096, SEEK_SET) == 4096);
    execlp("sh", "sh", "-c", "echo from child", NULL);
    _exit(127);
  }
  ended_well(child);
  CHECK(pread(copy, bytes, 10, 4096) == 10 && memcmp(bytes, "from child", 10) == 0);
  CHECK(close(fd) == 0 && close(copy) == 0 && close(other) == 0);
  CHECK(unlink(in("a")) == 0 && write(again, "!", 1) == 1 && close(again) == 0);

  FILE *stream = fopen(in("s"), "w+");
  CHECK(stream != NULL && fputs("first ", stream) >= 0 && unlink(in("s")) == 0);
  CHECK(fputs("second", stream) >= 0 && fflush(stream) == 0);
  rewind(stream);
  CHECK(fgets(bytes, sizeof bytes, stream) != NULL && strcmp(bytes, "first second") == 0);
  CHECK(fclose(stream) == 0);

  /* The same for the one that a rename takes away. */
  fd = make("old", O_RDWR);
  CHECK(close(make("new", O_WRONLY)) == 0 && rename(in("new"), in("old")) == 0);
  CHECK(write(fd, "!", 1) == 1 && pread(fd, bytes, 16, 0) == 6 && bytes[5] == '!');
  HOLDS("old", "hello");
  CHECK(rename(in("old"), in("old")) == 0 && close(fd) == 0);
  fd = open(in("old"), O_WRONLY | O_APPEND);
  FAILS(rename(in("absent"), in("old")), ENOENT);
  CHECK(rename(in("old"), in("old")) == 0 && write(fd, "?", 1) == 1 && close(fd) == 0);
  HOLDS("old", "hello?");

  FAILS(unlink(in("absent")), ENOENT);
  fd = open(directory, O_RDONLY | O_DIRECTORY);
  CHECK(fd >= 0);
  FAILS(unlink(directory), EISDIR);
  CHECK(fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode) && close(fd) == 0);
}
