/*
 * The environment that a program of ours hands to the next one: LD_PRELOAD with this library in it,
 * whatever the program has done to it, the KANGAROO_ variables it was started with, and the virtual
 * working directory.
 *
 * Foreign entries of LD_PRELOAD stay, in their order; a program that has thrown the variable away
 * gets the one it was started with. Nothing is allocated: the caller, who may be a vfork child, has
 * the room on its stack.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "preload.h"
#include "processes.h"

#define PRELOAD "LD_PRELOAD="
#define DIRECTORY "KANGAROO_CWD="
#define OWN "KANGAROO_"
#define SAVED_MAX 64

static char library[KG_PATH_MAX];
/* "LD_PRELOAD=..." as it was at the start, or made of `library`. */
static char first_preload[2 * KG_PATH_MAX];
/* KANGAROO_ variables of the start. */
static const char *saved[SAVED_MAX];
static size_t saved_count;
static char saved_bytes[48 << 10];

static bool begins(const char *text, const char *with) {
  return strncmp(text, with, strlen(with)) == 0;
}

/* Is this library, by its file name, an entry of the value of LD_PRELOAD? */
static bool has_library(const char *list) {
  const char *name = strrchr(library, '/');
  name = name ? name + 1 : library;
  size_t length = strlen(name);
  while (*list) {
    size_t entry = strcspn(list, ": ");
    if (entry >= length && memcmp(list + entry - length, name, length) == 0 &&
        (entry == length || list[entry - length - 1] == '/'))
      return true;
    list += entry;
    list += strspn(list, ": ");
  }
  return false;
}

/* What every program of ours is to have; of an instrumented library also the sanitizers' own. */
static bool is_kept(const char *variable) {
#ifdef __SANITIZE_ADDRESS__
  if (begins(variable, "ASAN_OPTIONS=") || begins(variable, "UBSAN_OPTIONS=")) return true;
#endif
  return begins(variable, OWN) && !begins(variable, DIRECTORY);
}

static void save(const char *variable) {
  static size_t used;
  size_t size = strlen(variable) + 1;
  if (saved_count == SAVED_MAX || used + size > sizeof saved_bytes) return;
  saved[saved_count++] = memcpy(saved_bytes + used, variable, size);
  used += size;
}

void kg_environment_start(char *const *environment) {
  Dl_info info;
  const char *preload = NULL;
  if (dladdr((void *)kg_environment_start, &info) && info.dli_fname[0] == '/' &&
      strlen(info.dli_fname) < sizeof library)
    strcpy(library, info.dli_fname);
  for (; environment && *environment; environment++) {
    if (begins(*environment, PRELOAD))
      preload = *environment;
    else if (is_kept(*environment))
      save(*environment);
  }
  if (preload && has_library(preload + strlen(PRELOAD)) && strlen(preload) < sizeof first_preload)
    strcpy(first_preload, preload);
  else if (library[0])
    strcpy(stpcpy(first_preload, PRELOAD), library);
}

struct kg_environment_needs kg_environment_needs(char *const *environment) {
  struct kg_environment_needs needs = {.pointers = saved_count + 3, .bytes = 64};
  for (; environment && *environment; environment++) {
    needs.pointers++;
    if (begins(*environment, PRELOAD)) needs.bytes += strlen(*environment) + strlen(library) + 2;
  }
  needs.bytes += KG_PATH_MAX + 512 + sizeof DIRECTORY;
  return needs;
}

static bool same_name(const char *a, const char *b) {
  size_t length = strcspn(a, "=");
  return strncmp(a, b, length) == 0 && b[length] == '=';
}

static bool is_there(const char *variable, char *const *environment) {
  for (; environment && *environment; environment++)
    if (same_name(variable, *environment)) return true;
  return false;
}

char **kg_environment_make(char *const *environment, const char *directory, char **pointers,
                           char *bytes) {
  char **out = pointers;
  bool preload_seen = false;
  for (char *const *each = environment; each && *each; each++) {
    /* An empty list is none: what the program was started with comes in its place. */
    if (begins(*each, DIRECTORY) || strcmp(*each, PRELOAD) == 0) continue;
    *out = *each;
    if (begins(*each, PRELOAD) && library[0]) {
      preload_seen = true;
      if (!has_library(*each + strlen(PRELOAD))) {
        *out = bytes;
        bytes = stpcpy(bytes, *each);
        *bytes++ = ':';
        bytes = stpcpy(bytes, library) + 1;
      }
    }
    out++;
  }
  if (!preload_seen && first_preload[0]) *out++ = first_preload;
  for (size_t i = 0; i < saved_count; i++)
    if (!is_there(saved[i], environment)) *out++ = (char *)saved[i];
  if (directory) {
    *out++ = bytes;
    strcpy(stpcpy(bytes, DIRECTORY), directory);
  }
  *out = NULL;
  return pointers;
}

bool kg_environment_lacks(char *const *environment, const char *directory) {
  bool preload_good = !library[0], directory_good = directory == NULL;
  for (char *const *each = environment; each && *each; each++) {
    if (begins(*each, PRELOAD)) preload_good = has_library(*each + strlen(PRELOAD));
    if (!begins(*each, DIRECTORY)) continue;
    directory_good = directory && strcmp(*each + strlen(DIRECTORY), directory) == 0;
    if (!directory_good) return true;
  }
  for (size_t i = 0; i < saved_count; i++)
    if (!is_there(saved[i], environment)) return true;
  return !preload_good || !directory_good;
}
