/*
 * The C core by hand: reads commands from standard input, answers each with one line.
 *
 *   open N PATH FLAGS MODE      ok KIND SIZE MODE        flags are KG_OPEN_*; N names it from now
 * on write N OFFSET COUNT SEED   ok END                   bytes are pattern(SEED, place in the
 * file) append N COUNT SEED         ok END text N WORD                 ok END appends the word and
 * a line's end read N OFFSET COUNT         ok GOT CRC check N OFFSET COUNT SEED   ok GOT, or bad
 * OFFSET    is it the pattern? cut N SIZE | set N FLAGS MODE MTIME | facts N | place N stat PATH |
 * list PATH | mkdir PATH | rmdir PATH | unlink PATH | rename PATH PATH | push PATH commit | dirty |
 * pid | fork | quit | privates | farewell
 *
 * "fork" goes on in the child; the parent waits for it and ends. What fails answers with the errno.
 */
#include "../core/core.h"
#include "../core/crc32c.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define FILES 64
static struct kg_ref files[FILES];

static uint8_t pattern(uint64_t seed, uint64_t at) {
  return (uint8_t)(seed * 31 + at * 7 + (at >> 8) * 13 + (at >> 20) * 5);
}

static struct kg_place place_of(const char *path) {
  static struct kg_located located;
  kg_locate(path, NULL, &located);
  if (located.where != KG_HERE) {
    fprintf(stderr, "%s is no place\n", path);
    exit(2);
  }
  return located.place;
}

static void say(int problem, const char *text) {
  if (problem == 0)
    printf("ok%s\n", text);
  else
    printf("%s\n", strerrorname_np(problem));
}

static void say_facts(int problem, const struct kg_facts *facts) {
  char text[200];
  snprintf(text, sizeof text, " %d %llu %o %lld %llu", facts->kind, (unsigned long long)facts->size,
           facts->mode, (long long)facts->mtime_ns, (unsigned long long)facts->ino);
  say(problem, text);
}

static void say_number(int problem, uint64_t number) {
  char text[40];
  snprintf(text, sizeof text, " %llu", (unsigned long long)number);
  say(problem, text);
}

static void do_open(char **words) {
  struct kg_place place = place_of(words[2]);
  struct kg_facts facts = {0};
  int problem = kg_open(&place, (uint32_t)atoi(words[3]), (uint32_t)strtol(words[4], NULL, 8),
                        &files[atoi(words[1])], &facts);
  say_facts(problem, &facts);
}

static void do_write(char **words, bool append) {
  struct kg_ref ref = files[atoi(words[1])];
  uint64_t offset = append ? 0 : strtoull(words[2], NULL, 10);
  size_t count = strtoull(words[append ? 2 : 3], NULL, 10);
  uint64_t seed = strtoull(words[append ? 3 : 4], NULL, 10), end = 0;
  uint8_t *bytes = malloc(count + 1);
  for (size_t i = 0; i < count; i++) bytes[i] = pattern(seed, append ? i : offset + i);
  int problem = kg_write(ref, bytes, count, offset, append, &end);
  say_number(problem, end);
  free(bytes);
}

static void do_text(char **words) {
  char line[4096];
  uint64_t end = 0;
  int length = snprintf(line, sizeof line, "%s\n", words[2]);
  int problem = kg_write(files[atoi(words[1])], line, (size_t)length, 0, true, &end);
  say_number(problem, end);
}

static void do_read(char **words, bool check) {
  uint64_t offset = strtoull(words[2], NULL, 10);
  size_t count = strtoull(words[3], NULL, 10), got = 0;
  uint8_t *bytes = malloc(count + 1);
  int problem = kg_read(files[atoi(words[1])], bytes, count, offset, &got);
  if (problem != 0) {
    say(problem, "");
  } else if (check) {
    uint64_t seed = strtoull(words[4], NULL, 10);
    size_t i = 0;
    while (i < got && bytes[i] == pattern(seed, offset + i)) i++;
    if (i < got)
      printf("bad %llu\n", (unsigned long long)(offset + i));
    else
      say_number(0, got);
  } else {
    printf("ok %zu %08x\n", got, kg_crc32c(0, bytes, got));
  }
  free(bytes);
}

static void each(void *context, const char *name, const struct kg_facts *facts) {
  (void)context;
  printf(" %s:%d:%llu", name, facts->kind, (unsigned long long)facts->size);
}

static void do_list(const char *path) {
  struct kg_place place = place_of(path);
  bool more = false;
  printf("ok");
  int problem = kg_list(&place, "", &more, each, NULL);
  if (problem != 0)
    printf(" %s\n", strerrorname_np(problem));
  else
    printf(more ? " more\n" : "\n");
}

static void do_change(enum kg_change_kind kind, const char *path, const char *to) {
  struct kg_place from = place_of(path), second;
  struct kg_change change = {.kind = kind, .mode = 0755};
  if (to != NULL) second = place_of(to);
  say(kg_change(&from, to == NULL ? NULL : &second, &change), "");
}

static void do_fork(void) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    kg_after_fork();
    printf("ok %d\n", getpid());
    return;
  }
  int status = 0;
  waitpid(child, &status, 0);
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* How many descriptors are the core's, and how many of those are open. */
static void do_privates(void) {
  int ours = 0, open = 0;
  for (int fd = 3; fd < 5000; fd++) {
    if (!kg_is_private(fd)) continue;
    ours++;
    if (fcntl(fd, F_GETFD) >= 0) open++;
  }
  printf("ok %d %d\n", ours, open);
}

static void do_one(char **words) {
  const char *verb = words[0];
  int n = words[1] == NULL ? 0 : atoi(words[1]);
  struct kg_facts facts = {0};
  struct kg_place place;
  if (strcmp(verb, "open") == 0)
    do_open(words);
  else if (strcmp(verb, "write") == 0)
    do_write(words, false);
  else if (strcmp(verb, "append") == 0)
    do_write(words, true);
  else if (strcmp(verb, "text") == 0)
    do_text(words);
  else if (strcmp(verb, "read") == 0)
    do_read(words, false);
  else if (strcmp(verb, "check") == 0)
    do_read(words, true);
  else if (strcmp(verb, "cut") == 0)
    say(kg_truncate(files[n], strtoull(words[2], NULL, 10)), "");
  else if (strcmp(verb, "set") == 0)
    say(kg_set(files[n], (uint32_t)atoi(words[2]), (uint32_t)strtol(words[3], NULL, 8),
               strtoll(words[4], NULL, 10), 0),
        "");
  else if (strcmp(verb, "facts") == 0) {
    int problem = kg_facts_of(files[n], &facts);
    say_facts(problem, &facts);
  } else if (strcmp(verb, "place") == 0) {
    int problem = kg_place_of(files[n], &place);
    if (problem == 0)
      printf("ok %s %s\n", place.name, place.path);
    else
      say(problem, "");
  } else if (strcmp(verb, "stat") == 0) {
    place = place_of(words[1]);
    int problem = kg_stat(&place, &facts);
    say_facts(problem, &facts);
  } else if (strcmp(verb, "list") == 0)
    do_list(words[1]);
  else if (strcmp(verb, "mkdir") == 0)
    do_change(KG_MKDIR, words[1], NULL);
  else if (strcmp(verb, "rmdir") == 0)
    do_change(KG_RMDIR, words[1], NULL);
  else if (strcmp(verb, "unlink") == 0)
    do_change(KG_UNLINK, words[1], NULL);
  else if (strcmp(verb, "rename") == 0)
    do_change(KG_RENAME, words[1], words[2]);
  else if (strcmp(verb, "push") == 0) {
    place = place_of(words[1]);
    say(kg_push(&place), "");
  } else if (strcmp(verb, "commit") == 0)
    say(kg_commit(), "");
  else if (strcmp(verb, "dirty") == 0)
    say_number(0, kg_is_dirty());
  else if (strcmp(verb, "pid") == 0)
    say_number(0, (uint64_t)getpid());
  else if (strcmp(verb, "fork") == 0)
    do_fork();
  else if (strcmp(verb, "farewell") == 0) {
    kg_farewell();
    say(0, "");
  } else if (strcmp(verb, "privates") == 0)
    do_privates();
  else if (strcmp(verb, "quit") == 0)
    exit(0);
  else
    printf("what?\n");
}

int main(void) {
  static char line[8192];
  kg_settings_read(environ);
  /* Unbuffered, so that a child of a fork goes on where its parent was. */
  setvbuf(stdin, NULL, _IONBF, 0);
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *words[8] = {0};
    int count = 0;
    for (char *word = strtok(line, " \n"); word != NULL && count < 7; word = strtok(NULL, " \n"))
      words[count++] = word;
    if (count > 0) do_one(words);
    fflush(stdout);
  }
  return 0;
}
