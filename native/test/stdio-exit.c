/* What streams hold at the end of a program is written. */
#include "check.h"

static void at_end(void) { printf("at exit\n"); }

static void test(void) {
  pid_t child = fork();
  if (child == 0) {
    freopen(in("f"), "w", stdout);
    FILE *other = fopen(in("g"), "w");
    fputs("held", other);
    atexit(at_end);
    printf("main\n");
    exit(0);
  }
  ended_well(child);
  HOLDS("f", "main\nat exit\n");
  HOLDS("g", "held");
  child = fork();
  if (child == 0) {
    freopen(in("f"), "w", stdout);
    printf("never\n");
    _exit(0);
  }
  ended_well(child);
  HOLDS("f", "");
  child = fork();
  if (child == 0) {
    dup2(open(in("f"), O_RDWR | O_TRUNC), 1);
    execlp("sh", "sh", "-c", "echo a; exec /bin/echo b", NULL);
    _exit(127);
  }
  ended_well(child);
  HOLDS("f", "a\nb\n");
}
