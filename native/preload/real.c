/*
 * The next definition of a libc function behind ours: libc's own, or that of another preloaded
 * library.
 *
 * dlsym takes no memory when it finds what it looks for, so this works before any constructor has
 * run and in the middle of malloc. A function that this libc does not have fails with ENOSYS, as
 * its system call would; who must know beforehand asks kg_has.
 */
#include <dlfcn.h>
#include <errno.h>
#include "preload.h"

static long absent(void) { return kg_fail(ENOSYS); }

void *kg_next(const char *name) {
  int before = *__errno_location();
  void *found = dlsym(RTLD_NEXT, name);
  *__errno_location() = before;
  return found != 0 ? found : (void *)absent;
}

bool kg_has(const char *name) { return kg_next(name) != (void *)absent; }
