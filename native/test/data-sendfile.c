/* sendfile from, to and within, and the calls that callers fall back from. */
#include "check.h"
#include <sys/sendfile.h>

static void test(void) {
  int from = open(in("from"), O_RDWR | O_CREAT, 0644),
      to = open(in("to"), O_WRONLY | O_CREAT, 0644);
  char local[] = "/tmp/kangaroo-test-XXXXXX";
  int file = mkstemp(local);
  CHECK(from >= 0 && to >= 0 && file >= 0 && unlink(local) == 0);
  CHECK(write(from, "0123456789", 10) == 10 && lseek(from, 2, SEEK_SET) == 2);
  CHECK(sendfile(to, from, NULL, 3) == 3 && lseek(from, 0, SEEK_CUR) == 5);
  off_t at = 7;
  CHECK(sendfile(to, from, &at, 100) == 3 && at == 10 && lseek(from, 0, SEEK_CUR) == 5);
  HOLDS("to", "234789");
  CHECK(sendfile(file, from, NULL, 100) == 5 && lseek(file, 0, SEEK_SET) == 0);
  CHECK(sendfile(to, file, NULL, 2) == 2 && lseek(file, 0, SEEK_CUR) == 2);
  HOLDS("to", "23478956");
  off64_t start = 0;
  ssize_t copied = copy_file_range(from, &start, file, NULL, 4, 0);
  int problem = errno;
  CHECK(copied == 4 || (copied == -1 && (problem == EXDEV || problem == EOPNOTSUPP)));
}
