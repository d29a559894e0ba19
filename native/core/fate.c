/*
 * The end of a program whose data cannot be vouched for any more, and what is said about it.
 *
 * A signal and no exit status: no program catches SIGKILL, and a batch system takes it for a
 * failure of the machine. `kangaroo run` reads the verdict and ends with its number.
 */
#include "fate.h"

#include "core.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

/* Joins up to the end of `line`, leaving room for the line's end. */
static size_t add(char *line, size_t length, const char *text) {
  while (*text != '\0' && length < LINE_MAX_BYTES - 2) {
    char c = *text++;
    line[length++] = (unsigned char)c < ' ' ? '?' : c;
  }
  return length;
}

const char *kg_fate_words(char *out, size_t size, ...) {
  va_list texts;
  size_t length = 0;
  va_start(texts, size);
  for (const char *text; (text = va_arg(texts, const char *)) != NULL;)
    while (*text != '\0' && length + 1 < size) out[length++] = *text++;
  va_end(texts);
  out[length] = '\0';
  return out;
}

/* Is descriptor 2 one of our placeholders? What is written there by force would be lost. */
static bool is_placeholder(void) {
  char target[32];
  long length = KG_KERNEL4(SYS_readlinkat, AT_FDCWD, "/proc/self/fd/2", target, sizeof target);
  static const char ours[] = "/memfd:kangaroo:";
  return length >= (long)sizeof ours - 1 && memcmp(target, ours, sizeof ours - 1) == 0;
}

void kg_fate_tell(const char *text) {
  char line[LINE_MAX_BYTES];
  size_t length = add(line, 0, "kangaroo: ");
  length = add(line, length, text);
  line[length++] = '\n';
  if (!is_placeholder()) kg_file_write(2, line, length);
}

static void give_verdict(const char *number, const char *reason) {
  if (kg_settings.verdict[0] == '\0') return;
  int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;
  int fd = kg_file_open(kg_settings.verdict, flags, 0600);
  if (fd < 0) return;
  char line[LINE_MAX_BYTES];
  size_t length = add(line, 0, number);
  length = add(line, length, reason);
  line[length++] = '\n';
  kg_file_write(fd, line, length);
  kg_close(fd);
}

void kg_fate_again(const char *reason) {
  if (!kg_is_dirty()) return;
  give_verdict("75 ", reason);
  kg_fate_tell(reason);
  for (;;) {
    KG_KERNEL2(SYS_kill, kg_pid(), SIGKILL);
    kg_sleep_ms(10);
  }
}

int kg_fate_never(const char *reason, int problem) {
  static _Atomic int told;
  if (atomic_exchange(&told, 1) == 0) {
    give_verdict("78 ", reason);
    kg_fate_tell(reason);
  }
  return problem;
}
