/* Parts of a shared map: unmapped in the middle, protected, moved and made longer. */
#include "check.h"
#include <sys/mman.h>

enum { PAGE = 4096 };

static void test(void) {
  size_t size;
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644);
  CHECK(ftruncate(fd, 8 * PAGE) == 0);
  char *map = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  for (int i = 0; i < 8; i++) map[i * PAGE] = (char)('0' + i);
  CHECK(munmap(map + 3 * PAGE, 2 * PAGE) == 0);
  for (int i = 0; i < 8; i++)
    if (i != 3 && i != 4) map[i * PAGE + 1] = (char)('a' + i);
  CHECK(munmap(map, 3 * PAGE) == 0 && munmap(map + 5 * PAGE, 3 * PAGE) == 0);
  char *text = content("f", &size);
  for (int i = 0; i < 8; i++) {
    CHECK(text[i * PAGE] == '0' + i);
    CHECK(text[i * PAGE + 1] == (i == 3 || i == 4 ? 0 : 'a' + i));
  }
  map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED && mprotect(map, PAGE, PROT_READ | PROT_WRITE) == 0);
  map[9] = 'p';
  CHECK(mprotect(map, PAGE, PROT_READ) == 0);
  char *longer = mremap(map, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
  CHECK(longer != MAP_FAILED && longer[9] == 'p' && longer[2 * PAGE] == '2');
  CHECK(mprotect(longer, 3 * PAGE, PROT_READ | PROT_WRITE) == 0);
  longer[2 * PAGE + 9] = 'q';
  CHECK(munmap(longer, 3 * PAGE) == 0);
  text = content("f", &size);
  CHECK(size == 8 * PAGE && text[9] == 'p' && text[2 * PAGE + 9] == 'q');
}
