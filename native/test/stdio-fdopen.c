/* A stream on a descriptor that is open already. */
#include "check.h"

static void test(void) {
  char line[16];
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644), reader = open(in("f"), O_RDONLY);
  FILE *stream = fdopen(fd, "r+");
  CHECK(stream != NULL && fileno(stream) == fd && fputs("hello\n", stream) >= 0 &&
        fflush(stream) == 0);
  CHECK(lseek(fd, 0, SEEK_CUR) == 6 && write(fd, "there\n", 6) == 6);
  CHECK(fseek(stream, 0, SEEK_SET) == 0 && fgets(line, sizeof line, stream) != NULL);
  CHECK(strcmp(line, "hello\n") == 0 && fclose(stream) == 0);
  FAILS(write(fd, "x", 1), EBADF);
  CHECK(fdopen(reader, "w") == NULL && errno == EINVAL);
  CHECK((stream = fdopen(reader, "r")) != NULL && fgetc(stream) == 'h');
  int copy = dup(fileno(stream));
  CHECK(copy >= 0 && fclose(stream) == 0 && lseek(copy, 0, SEEK_SET) == 0);
  CHECK((stream = fdopen(copy, "r")) != NULL && fread(line, 1, 12, stream) == 12 &&
        fclose(stream) == 0);
  CHECK(fdopen(copy, "r") == NULL && errno == EBADF);
}
