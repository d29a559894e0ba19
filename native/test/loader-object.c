/* A shared object in the directory is loaded, once however often it is asked for. */
#include "check.h"
#include <dlfcn.h>

static void test(void) {
  static char bytes[1 << 16];
  Dl_info info;
  void *math = dlopen("libm.so.6", RTLD_NOW);
  CHECK(math != NULL && dladdr(dlsym(math, "cos"), &info) != 0);
  int from = open(info.dli_fname, O_RDONLY), to = open(in("own.so"), O_WRONLY | O_CREAT, 0755);
  ssize_t got;
  while ((got = read(from, bytes, sizeof bytes)) > 0) CHECK(write(to, bytes, (size_t)got) == got);
  CHECK(close(to) == 0);
  void *own = dlopen(in("own.so"), RTLD_NOW | RTLD_LOCAL);
  CHECK(own != NULL && own != math);
  double (*root)(double) = (double (*)(double))dlsym(own, "sqrt");
  CHECK(root != NULL && root(9) == 3);
  CHECK(dlopen(in("own.so"), RTLD_NOW) == own);
  CHECK(dlopen(in("none.so"), RTLD_NOW) == NULL);
}
