/* close_range and closefrom close what is there, and the files work on. */
#include "check.h"

static void test(void) {
  int low = open(in("low"), O_WRONLY | O_CREAT, 0644),
      first = open(in("f"), O_WRONLY | O_CREAT, 0644);
  int second = open(in("g"), O_WRONLY | O_CREAT, 0644);
  CHECK(write(first, "f", 1) == 1 && write(second, "g", 1) == 1);
  CHECK(close_range((unsigned)first, (unsigned)second, 0) == 0);
  FAILS(write(first, "x", 1), EBADF);
  FAILS(write(second, "x", 1), EBADF);
  CHECK(write(low, "low", 3) == 3);
  HOLDS("f", "f");
  int again = open(in("again"), O_WRONLY | O_CREAT, 0644);
  CHECK(again == first && write(again, "again", 5) == 5);
  closefrom(first);
  FAILS(write(again, "x", 1), EBADF);
  CHECK(write(low, "er", 2) == 2);
  HOLDS("again", "again");
  HOLDS("low", "lower");
  CHECK(close_range(3, ~0u, 0) == 0);
  HOLDS("low", "lower");
}
