/*
 * What the environment says, read once at the start: a program may change its environment later,
 * and a handler or a vfork child must not read it while another thread does.
 *
 * A value that cannot be understood is as if it were not there. Of a mount that is said, since a
 * program without it writes to another place.
 */
#include "core.h"
#include "fate.h"
#include "names.h"
#include "process.h"

#include <string.h>

struct kg_settings kg_settings = {.timeout_ms = 300000};

/* The value of `name` in the environment, or NULL when it is empty or not there. */
static const char *value_of(char *const *environment, const char *name) {
  size_t length = strlen(name);
  for (; environment != NULL && *environment != NULL; environment++) {
    if (strncmp(*environment, name, length) != 0 || (*environment)[length] != '=') continue;
    const char *value = *environment + length + 1;
    return *value == '\0' ? NULL : value;
  }
  return NULL;
}

/* Copies; what does not fit is not there at all, since half a path is another path. */
static void copy(char *to, size_t size, const char *from) {
  size_t length = from == NULL ? 0 : strlen(from);
  if (length >= size) length = 0;
  if (length > 0) memcpy(to, from, length);
  to[length] = '\0';
}

static void join(char *to, size_t size, const char *directory, const char *rest) {
  size_t first = strlen(directory), second = strlen(rest);
  if (first + second >= size) {
    to[0] = '\0';
    return;
  }
  memcpy(to, directory, first);
  memcpy(to + first, rest, second + 1);
}

/* Milliseconds of '500ms', '30s', '1.5m' or '2h'; a bare number is seconds. -1: not a duration. */
static int64_t duration_of(const char *text) {
  int64_t thousandths = 0, fraction = 100;
  const char *at = text;
  if (*at < '0' || *at > '9') return -1;
  for (; *at >= '0' && *at <= '9'; at++) {
    if (thousandths > INT64_C(1000000000000000)) return -1;
    thousandths = thousandths * 10 + (*at - '0') * 1000;
  }
  if (*at == '.')
    for (at++; *at >= '0' && *at <= '9'; at++, fraction /= 10)
      thousandths += (*at - '0') * fraction;
  if (strcmp(at, "ms") == 0) return thousandths / 1000;
  if (*at == '\0' || strcmp(at, "s") == 0) return thousandths;
  if (strcmp(at, "m") == 0) return thousandths * 60;
  if (strcmp(at, "h") == 0) return thousandths * 3600;
  return -1;
}

/* As src/client/locate.ts: the server that was named is the only candidate. */
static void read_server(char *const *environment) {
  struct kg_settings *settings = &kg_settings;
  const char *named = value_of(environment, "KANGAROO_SERVER");
  copy(settings->server, sizeof settings->server, named);
  settings->otherwise[0] = '\0';
  if (named != NULL) return;
  const char *runtime = value_of(environment, "XDG_RUNTIME_DIR");
  const char *home = value_of(environment, "HOME");
  if (runtime != NULL)
    join(settings->server, sizeof settings->server, runtime, "/kangaroo/server.sock");
  if (home != NULL)
    join(settings->otherwise, sizeof settings->otherwise, home, "/.kangaroo/server.sock");
  if (settings->server[0] != '\0') return;
  copy(settings->server, sizeof settings->server, settings->otherwise);
  settings->otherwise[0] = '\0';
}

void kg_settings_read(char *const *environment) {
  struct kg_settings *settings = &kg_settings;
  read_server(environment);
  const char *timeout = value_of(environment, "KANGAROO_TIMEOUT");
  int64_t timeout_ms = timeout == NULL ? -1 : duration_of(timeout);
  settings->timeout_ms = timeout_ms < 0 ? 300000 : timeout_ms;
  const char *fsync = value_of(environment, "KANGAROO_FSYNC");
  settings->fsync_is_commit = fsync != NULL && strcmp(fsync, "commit") == 0;
  copy(settings->report, sizeof settings->report, value_of(environment, "KANGAROO_REPORT"));
  const char *mounts = value_of(environment, "KANGAROO_MOUNTS");
  copy(settings->mounts, sizeof settings->mounts, mounts);
  if (mounts != NULL && settings->mounts[0] == '\0')
    kg_fate_tell("KANGAROO_MOUNTS is too long, going on without it");
  copy(settings->directory, sizeof settings->directory, value_of(environment, "KANGAROO_CWD"));
  copy(settings->verdict, sizeof settings->verdict, value_of(environment, "KANGAROO_VERDICT"));
  kg_names_read_mounts(settings->mounts);
  kg_process();
}
