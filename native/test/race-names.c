/*
 * Several processes make files of the same names in one directory, exclusively: of each name one
 * succeeds, and it is there for all as soon as one of them knows of it. Each writes its number into
 * what it made, and appends to one file that all of them make without exclusion.
 *
 *   race-names DIRECTORY PROCESSES FILES
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *directory;

static void fail(const char *what, const char *path) {
  fprintf(stderr, "%s %s: errno %d\n", what, path, errno);
  _exit(1);
}

/* How many of the files this process made. */
static int make_all(int number, int files) {
  char path[4096], line[32];
  int made = 0;
  for (int i = 0; i < files; i++) {
    /* From both ends, so that they meet at different names. */
    int which = number % 2 == 0 ? i : files - 1 - i;
    snprintf(path, sizeof path, "%s/f%d", directory, which);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0640);
    if (fd < 0 && errno != EEXIST) fail("open", path);
    if (fd >= 0) {
      int bytes = snprintf(line, sizeof line, "%d\n", number);
      if (write(fd, line, (size_t)bytes) != bytes || close(fd) != 0) fail("write", path);
      made++;
    }
    struct stat facts;
    if (stat(path, &facts) != 0 || (facts.st_mode & 0777) != 0640) fail("stat", path);
    snprintf(path, sizeof path, "%s/log%d", directory, i % 7);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0 || write(fd, "one line\n", 9) != 9 || close(fd) != 0) fail("append", path);
  }
  return made;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  directory = argv[1];
  int processes = atoi(argv[2]), files = atoi(argv[3]), total = 0, failed = 0;
  if (mkdir(directory, 0755) != 0) fail("mkdir", directory);
  for (int i = 0; i < processes; i++) {
    pid_t pid = fork();
    if (pid < 0) fail("fork", "");
    if (pid != 0) continue;
    char path[4096];
    int made = make_all(i, files);
    snprintf(path, sizeof path, "%s/made%d", directory, i);
    FILE *out = fopen(path, "wx");
    if (out == NULL || fprintf(out, "%d\n", made) < 0 || fclose(out) != 0) fail("fopen", path);
    exit(0);
  }
  for (int i = 0; i < processes; i++) {
    int status;
    if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) failed++;
  }
  for (int i = 0; i < processes; i++) {
    char path[4096];
    int made = 0;
    snprintf(path, sizeof path, "%s/made%d", directory, i);
    FILE *in = fopen(path, "r");
    if (in == NULL || fscanf(in, "%d", &made) != 1) fail("read", path);
    fclose(in);
    total += made;
  }
  printf("%d made, %d failed\n", total, failed);
  return failed != 0;
}
