/* Streams in every mode read, write, seek and append as they should. */
#include "check.h"

static void test(void) {
  char line[64];
  FILE *stream = fopen(in("f"), "w");
  CHECK(stream != NULL && fprintf(stream, "one %d\n", 1) == 6 && fputs("two\n", stream) >= 0);
  CHECK(ftell(stream) == 10 && fflush(stream) == 0 && fclose(stream) == 0);
  HOLDS("f", "one 1\ntwo\n");
  CHECK((stream = fopen(in("f"), "r")) != NULL && fgets(line, sizeof line, stream) != NULL);
  CHECK(strcmp(line, "one 1\n") == 0 && ftell(stream) == 6 && fgetc(stream) == 't');
  CHECK(fseek(stream, -4, SEEK_END) == 0 && fgets(line, sizeof line, stream) != NULL);
  CHECK(strcmp(line, "two\n") == 0 && fgetc(stream) == EOF && feof(stream) && !ferror(stream));
  CHECK(fputc('x', stream) == EOF && ferror(stream));
  CHECK(fclose(stream) == 0);
  CHECK((stream = fopen(in("f"), "a")) != NULL && fputs("three\n", stream) >= 0 &&
        ftell(stream) == 16);
  CHECK(fclose(stream) == 0);
  CHECK((stream = fopen(in("f"), "r+")) != NULL && fputs("ONE", stream) >= 0);
  CHECK(fseek(stream, 0, SEEK_SET) == 0 && fscanf(stream, "%63s", line) == 1 &&
        strcmp(line, "ONE") == 0);
  CHECK(fclose(stream) == 0);
  HOLDS("f", "ONE 1\ntwo\nthree\n");
  CHECK((stream = fopen(in("f"), "a+")) != NULL && fgets(line, sizeof line, stream) != NULL);
  CHECK(strcmp(line, "ONE 1\n") == 0 && fseek(stream, 0, SEEK_SET) == 0 &&
        fputs("end", stream) >= 0);
  CHECK(fclose(stream) == 0);
  HOLDS("f", "ONE 1\ntwo\nthree\nend");
  CHECK(fopen(in("f"), "wx") == NULL && errno == EEXIST);
  CHECK(fopen(in("absent"), "r") == NULL && errno == ENOENT);
  CHECK((stream = fopen(in("f"), "w+e")) != NULL && fcntl(fileno(stream), F_GETFD) == FD_CLOEXEC);
  CHECK(fputs("abc", stream) >= 0 && (rewind(stream), fgetc(stream) == 'a') && fclose(stream) == 0);
  CHECK((stream = fopen(in("f"), "rm")) != NULL && fgetc(stream) == 'a' && fclose(stream) == 0);
}
