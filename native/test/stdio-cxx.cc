/* Streams of C++: its own files, and standard output that goes to one. */
#include <fstream>
#include <iostream>
#include <string>
#include "check.h"

static void test(void) {
  std::string path = in("f"), line;
  {
    std::ofstream out(path);
    CHECK(out.good());
    out << "number " << 42 << "\nsecond\n";
  }
  std::fstream both(path, std::ios::in | std::ios::out);
  CHECK(std::getline(both, line) && line == "number 42");
  both.seekp(0);
  both << "NUMBER";
  both.close();
  HOLDS("f", "NUMBER 42\nsecond\n");
  std::ofstream more(path, std::ios::app);
  more << "third" << std::flush;
  HOLDS("f", "NUMBER 42\nsecond\nthird");
  pid_t child = fork();
  if (child == 0) {
    int fd = open(in("g"), O_WRONLY | O_CREAT, 0644);
    dup2(fd, 1);
    std::cout << "cout" << std::endl;
    _exit(0);
  }
  ended_well(child);
  HOLDS("g", "cout\n");
}
