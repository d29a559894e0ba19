/* getline, ungetc, unlocked and block calls, with buffers of all kinds. */
#include "check.h"

static void test(void) {
  char *line = NULL, block[100];
  size_t room = 0;
  FILE *stream = fopen(in("f"), "w+");
  CHECK(stream != NULL && setvbuf(stream, NULL, _IOLBF, 0) == 0);
  CHECK(fputs("line\npart", stream) >= 0);
  HOLDS("f", "line\n");
  CHECK(fflush(NULL) == 0);
  HOLDS("f", "line\npart");
  rewind(stream);
  CHECK(getline(&line, &room, stream) == 5 && strcmp(line, "line\n") == 0);
  CHECK(ungetc('P', stream) == 'P' && getc_unlocked(stream) == 'P' &&
        fread(block, 1, 100, stream) == 4);
  CHECK(getline(&line, &room, stream) == -1);
  CHECK(fclose(stream) == 0 && (stream = fopen(in("f"), "w")) != NULL);
  CHECK(setvbuf(stream, NULL, _IONBF, 0) == 0 && fputc('u', stream) == 'u');
  HOLDS("f", "u");
  static char big[300000];
  memset(big, 'b', sizeof big);
  CHECK(fwrite_unlocked(big, 1, sizeof big, stream) == sizeof big && fclose(stream) == 0);
  size_t size;
  CHECK(content("f", &size)[300000] == 'b' && size == 300001);
  free(line);
}
