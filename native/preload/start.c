/*
 * Start and end of the library in a process.
 *
 * The start is the constructor, or the first call that needs it, whichever is sooner: constructors
 * of other libraries may open and write before ours. The end is a destructor; what is written after
 * it, when exit() empties the streams, is committed write by write.
 */
#include <stdatomic.h>
#include <unistd.h>
#include "preload.h"
#include "raw.h"

_Atomic int kg_started;
bool kg_ending;

static void start(char *const *environment) {
  static atomic_flag begun = ATOMIC_FLAG_INIT;
  int before = *__errno_location();
  if (atomic_flag_test_and_set(&begun)) return;
  kg_settings_read(environment);
  kg_process_start(environment);
  kg_directory_start();
  /* From here on kg_file_slow may be asked; before, it would start again. */
  atomic_store(&kg_started, 1);
  kg_adopt_all();
  if (!kg_stdio_start()) {
    static const char note[] =
        "kangaroo: this libc's streams are unknown, they are served slowly\n";
    kg_raw(SYS_write, 2, (long)note, sizeof note - 1, 0, 0, 0);
  }
  *__errno_location() = before;
}

void kg_start(void) {
  static char *const none[] = {0};
  start(environ != 0 ? environ : none);
}

__attribute__((constructor(101))) static void construct(int count, char **words,
                                                        char **environment) {
  (void)count;
  (void)words;
  start(environment);
}

__attribute__((destructor(101))) static void destruct(void) {
  int before = *__errno_location();
  kg_stdio_flush();
  kg_ending = true;
  kg_finish();
  *__errno_location() = before;
}
