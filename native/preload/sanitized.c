/*
 * Only in the instrumented library (make asan): where AddressSanitizer writes its reports.
 *
 * ASAN_OPTIONS=log_path would be the way, but AddressSanitizer then looks for the directory while
 * it starts, by libc's names, which are ours, and instrumented code cannot run yet.
 * KANGAROO_SANITIZER_REPORTS names the file instead; the process id is put behind it.
 */
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
void __sanitizer_set_report_path(const char *path);

__attribute__((constructor(102))) static void set_report_path(void) {
  const char *path = getenv("KANGAROO_SANITIZER_REPORTS");
  if (path != NULL && path[0] != 0) __sanitizer_set_report_path(path);
}
#endif
