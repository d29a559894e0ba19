/* freopen onto the file, away from it, and onto itself. */
#include "check.h"

static void test(void) {
  fflush(stdout);
  int before = dup(1);
  CHECK(freopen(in("f"), "w", stdout) == stdout && fileno(stdout) == 1);
  CHECK(printf("printed\n") == 8 && system("echo by child") == 0);
  CHECK(freopen(in("g"), "a", stdout) == stdout && puts("to g") >= 0 && fflush(stdout) == 0);
  HOLDS("g", "to g\n");
  CHECK(freopen("/dev/null", "w", stdout) == stdout && puts("nowhere") >= 0 && fflush(stdout) == 0);
  CHECK(dup2(before, 1) == 1);
  size_t size;
  char *all = content("f", &size);
  CHECK(size == 17 && strstr(all, "printed\n") != NULL && strstr(all, "by child\n") != NULL);
  FILE *stream = fopen(in("f"), "r");
  int number = fileno(stream);
  CHECK(freopen(in("g"), "r", stream) == stream && fileno(stream) == number &&
        fgetc(stream) == 't');
  CHECK(freopen(NULL, "r", stream) == stream && fgetc(stream) == 't' && fclose(stream) == 0);
  stream = fopen(in("f"), "r");
  CHECK(freopen(in("absent"), "r", stream) == NULL && errno == ENOENT);
}
