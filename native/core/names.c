/*
 * From a path to a place: normalises it as text, follows the mounts, and takes it apart.
 *
 * Text is all there is to go by: `..` takes the component before it away, no symbolic link is
 * looked at. What is not ours is told by its first bytes, so that other programs' files cost
 * nothing. Mounts with a relative LOGICAL mean the path as the program writes it ("output.txt").
 */
#include "names.h"

#include "fate.h"
#include "known.h"

#include <errno.h>
#include <string.h>

#define MOUNTS_MAX 64

struct mount {
  const char *logical; /* normalised; no '/' at its end, "" is the root */
  size_t logical_bytes;
  const char *target; /* absolute, no '/' at its end */
  size_t target_bytes;
};

static struct mount mounts[MOUNTS_MAX];
static unsigned mount_count;
static bool has_relative;
static char mount_text[sizeof kg_settings.mounts + 2 * MOUNTS_MAX];

/* Adds the components of `path` to the `length` bytes in `to`. Returns the new length; -1: no room,
   -2: a '..' that has nothing to take away from a relative path. */
static long add_components(char *to, long length, size_t size, const char *path, bool absolute) {
  while (*path != '\0') {
    while (*path == '/') path++;
    const char *end = strchrnul(path, '/');
    size_t bytes = (size_t)(end - path);
    const char *component = path;
    path = end;
    if (bytes == 0 || (bytes == 1 && component[0] == '.')) continue;
    if (bytes == 2 && component[0] == '.' && component[1] == '.') {
      if (length == 0 && !absolute) return -2;
      while (length > 0 && to[length - 1] != '/') length--;
      if (length > 0) length--;
      continue;
    }
    if ((size_t)length + bytes + 2 > size) return -1;
    if (length > 0 || absolute) to[length++] = '/';
    memcpy(to + length, component, bytes);
    length += (long)bytes;
  }
  to[length] = '\0';
  return length;
}

/* NULL, or why it is no mount. */
static const char *add_mount(const char *pair, size_t bytes, char **room) {
  static const char no_pair[] = "is not LOGICAL=/TARGET", too_long[] = "is too long";
  const char *middle = memchr(pair, '=', bytes);
  if (middle == NULL || middle == pair || middle[1] != '/') return no_pair;
  if (mount_count == MOUNTS_MAX) return "is one too many";
  char text[KG_PATH_MAX + 1];
  size_t logical_bytes = (size_t)(middle - pair), target_bytes = bytes - logical_bytes - 1;
  if (logical_bytes >= sizeof text || target_bytes >= sizeof text) return too_long;
  struct mount *mount = &mounts[mount_count];
  size_t left = sizeof mount_text - (size_t)(*room - mount_text);
  memcpy(text, pair, logical_bytes);
  text[logical_bytes] = '\0';
  long length = add_components(*room, 0, left, text, text[0] == '/');
  if (length == -1) return too_long;
  if (length < 0 || (length == 0 && text[0] != '/')) return "has a LOGICAL that leads nowhere";
  mount->logical = *room;
  mount->logical_bytes = (size_t)length;
  char *target = *room + length + 1;
  memcpy(text, middle + 1, target_bytes);
  text[target_bytes] = '\0';
  long second = add_components(target, 0, left - (size_t)length - 1, text, true);
  if (second < 0) return too_long;
  mount->target = target;
  mount->target_bytes = (size_t)second;
  *room = target + second + 1;
  mount_count++;
  if (mount->logical_bytes > 0 && mount->logical[0] != '/') has_relative = true;
  return NULL;
}

static void tell(const char *pair, size_t bytes, const char *why) {
  char line[512], shown[256];
  size_t length = bytes < sizeof shown ? bytes : sizeof shown - 1;
  memcpy(shown, pair, length);
  shown[length] = '\0';
  kg_fate_tell(kg_fate_words(line, sizeof line, "KANGAROO_MOUNTS: '", shown, "' ", why,
                             ", going on without it", NULL));
}

void kg_names_read_mounts(const char *text) {
  char *room = mount_text;
  mount_count = 0;
  has_relative = false;
  while (*text != '\0') {
    const char *end = strchrnul(text, ':');
    size_t bytes = (size_t)(end - text);
    const char *why = bytes == 0 ? NULL : add_mount(text, bytes, &room);
    if (why != NULL) tell(text, bytes, why);
    text = *end == ':' ? end + 1 : end;
  }
}

/* The mount with the longest LOGICAL that `path` is at or below; of equals the first. */
static const struct mount *mount_of(const char *path, size_t length, bool absolute) {
  const struct mount *best = NULL;
  for (unsigned i = 0; i < mount_count; i++) {
    const struct mount *mount = &mounts[i];
    size_t bytes = mount->logical_bytes;
    if (bytes > length || (best != NULL && bytes <= best->logical_bytes)) continue;
    if (bytes == 0 && !absolute) continue;
    if (memcmp(path, mount->logical, bytes) != 0) continue;
    if (path[bytes] == '/' || path[bytes] == '\0') best = mount;
  }
  return best;
}

static const char top[] = "/kangaroo";
#define TOP_BYTES (sizeof top - 1)

/* Of a normalised path. */
static bool is_below_top(const char *path) {
  return strncmp(path, top, TOP_BYTES) == 0 && (path[TOP_BYTES] == '/' || path[TOP_BYTES] == '\0');
}

/* Is the first component of this absolute path "kangaroo"? */
static bool starts_ours(const char *path) {
  for (;;) {
    while (*path == '/') path++;
    if (path[0] != '.' || path[1] != '/') break;
    path++;
  }
  if (strncmp(path, top + 1, TOP_BYTES - 1) != 0) return false;
  return path[TOP_BYTES - 1] == '/' || path[TOP_BYTES - 1] == '\0';
}

/* May this absolute path be ours, when there are no mounts? */
static bool may_be_ours(const char *path) {
  if (starts_ours(path)) return true;
  const char *up = strstr(path, "..");
  return up != NULL && strstr(up, top + 1) != NULL;
}

static void bad(struct kg_located *out, int problem) {
  out->where = KG_BAD;
  out->problem = problem;
}

static bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* `path` is normalised and below /kangaroo. */
static void take_apart(const char *path, struct kg_located *out) {
  const char *name = path + TOP_BYTES;
  if (*name == '\0') {
    out->where = KG_TOP;
    return;
  }
  name++;
  const char *end = strchrnul(name, '/');
  size_t name_bytes = (size_t)(end - name);
  if (name_bytes > KG_NAME_MAX) return bad(out, ENAMETOOLONG);
  if (!is_letter_or_digit(name[0])) return bad(out, ENOENT);
  for (size_t i = 1; i < name_bytes; i++)
    if (!is_letter_or_digit(name[i]) && name[i] != '.' && name[i] != '-') return bad(out, ENOENT);
  memcpy(out->place.name, name, name_bytes);
  out->place.name[name_bytes] = '\0';
  const char *rest = *end == '/' ? end + 1 : end;
  size_t rest_bytes = strlen(rest);
  for (const char *at = rest; *at != '\0';) {
    const char *stop = strchrnul(at, '/');
    if (stop - at > 255) return bad(out, ENAMETOOLONG);
    at = *stop == '/' ? stop + 1 : stop;
  }
  memcpy(out->place.path, rest, rest_bytes + 1);
  out->where = KG_HERE;
}

/* `out->local` has the path as a mount or `..` has made it. */
static void go_local(struct kg_located *out) {
  size_t length = strlen(out->local);
  if (length == 0)
    memcpy(out->local, "/", 2);
  else if (out->slash && length + 1 < sizeof out->local)
    memcpy(out->local + length, "/", 2);
  out->where = KG_MAPPED;
}

/* What lies behind a mount, in `out->local`. */
static bool follow(const struct mount *mount, size_t length, struct kg_located *out) {
  size_t rest = length - mount->logical_bytes;
  if (mount->target_bytes + rest >= sizeof out->local) return false;
  memmove(out->local + mount->target_bytes, out->local + mount->logical_bytes, rest + 1);
  memcpy(out->local, mount->target, mount->target_bytes);
  return true;
}

static __attribute__((noinline)) void locate(const char *path, const char *base,
                                             struct kg_located *out) {
  bool absolute = path[0] == '/';
  bool based = !absolute && base != NULL;
  size_t given = strlen(path);
  out->slash = given > 0 &&
               (path[given - 1] == '/' || (given > 1 && memcmp(path + given - 2, "/.", 2) == 0) ||
                (given > 2 && memcmp(path + given - 3, "/..", 3) == 0));
  if (based && given == 0) return bad(out, ENOENT);
  long length = 0;
  if (based) length = add_components(out->local, 0, sizeof out->local, base, true);
  if (length >= 0)
    length = add_components(out->local, length, sizeof out->local, path, absolute || based);
  bool ours = based || (absolute && may_be_ours(path));
  if (length == -1 && ours) return bad(out, ENAMETOOLONG);
  if (length < 0 || given == 0) return;
  const struct mount *mount =
      mount_count == 0 ? NULL : mount_of(out->local, (size_t)length, absolute || based);
  if (mount != NULL && !follow(mount, (size_t)length, out)) return bad(out, ENAMETOOLONG);
  if (is_below_top(out->local)) return take_apart(out->local, out);
  /* The kernel cannot walk through what is not there: it gets the path without the detour. */
  if (mount != NULL || based || (absolute && starts_ours(path))) go_local(out);
}

void kg_locate(const char *path, const char *base, struct kg_located *out) {
  out->where = KG_ELSEWHERE;
  if (path == NULL) return;
  if (path[0] == '/') {
    if (mount_count == 0 && !may_be_ours(path)) return;
  } else if (base == NULL && !has_relative) {
    return;
  }
  locate(path, base, out);
}

uint64_t kg_names_ino(const char *name, const char *path, size_t path_bytes) {
  return kg_ino_of(kg_keys_of(name, strlen(name), path, path_bytes).name);
}

/* Bytes of the character at `at`, or 0 when it is none of UTF-8. */
static int character(const uint8_t *at) {
  if (at[0] < 0x80) return 1;
  int more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : 1;
  if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
  for (int i = 1; i <= more; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f)) return 0;
  if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) return 0;
  return more + 1;
}

size_t kg_names_address(const struct kg_place *place, char *out) {
  static const char scheme[] = "kangaroo://";
  size_t length = sizeof scheme - 1, name_bytes = strlen(place->name);
  memcpy(out, scheme, length);
  memcpy(out + length, place->name, name_bytes);
  length += name_bytes;
  out[length++] = '/';
  size_t start = length, directory = length;
  const uint8_t *at = (const uint8_t *)place->path;
  while (*at != '\0') {
    int bytes = character(at);
    if (bytes == 0) {
      length = directory;
      break;
    }
    if (*at == '/') directory = length;
    memcpy(out + length, at, (size_t)bytes);
    length += (size_t)bytes;
    at += bytes;
  }
  if (length > start && out[length - 1] == '/') length--;
  out[length] = '\0';
  return length;
}
