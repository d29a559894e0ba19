/*
 * KANGAROO_REPORT: the profile of a program's input and output, printed when it exits or execs.
 *
 * Calls are counted by their name, with bytes, time and how many passed by to the kernel, and by
 * the name of the file. The tables are fixed; what they have no room for is counted in their last
 * row. Counting takes no lock and no memory, so it is done in handlers too; without
 * KANGAROO_REPORT it is the test of one flag. Each process prints one table with one write, so the
 * tables of many processes in one file do not mix.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"
#include "raw.h"

#define CALLS_MAX 160
#define FILES_MAX 256
#define NAME_SHOWN 200

bool kg_counting;

/* `key` is taken by compare-and-swap; the last row of a table is everybody else's. */
static struct call_row {
  _Atomic(const char *) key;
  _Atomic uint64_t count, bytes, ns, passed;
} calls[CALLS_MAX];

static struct file_row {
  _Atomic uint64_t key;
  _Atomic uint64_t count, read, written, ns;
  char name[NAME_SHOWN];
} files[FILES_MAX];

static int64_t started;
/* Standard error as it was at the start: many programs close theirs before they exit. */
static int error_fd = 2;
static char program[64];

int64_t kg_clock(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void kg_report_start(void) {
  if (!kg_settings.report[0]) return;
  int fd = kg_raw_open("/proc/self/comm", O_RDONLY);
  int64_t got = fd < 0 ? 0 : kg_raw_pread(fd, program, sizeof program - 1, 0);
  if (fd >= 0) kg_raw_close(fd);
  program[got > 0 ? got - 1 : 0] = 0;
  if (strcmp(kg_settings.report, "-") == 0) {
    error_fd = kg_raw_fcntl(2, F_DUPFD_CLOEXEC, 700);
    if (error_fd < 0) error_fd = 2;
  }
  started = kg_clock();
  kg_counting = true;
}

static void clear(void) {
  memset(calls, 0, sizeof calls);
  memset(files, 0, sizeof files);
}

void kg_report_after_fork(void) {
  if (!kg_counting) return;
  clear();
  started = kg_clock();
}

static struct call_row *call_row(const char *call) {
  int i = 0;
  for (; i < CALLS_MAX - 1; i++) {
    const char *there = calls[i].key;
    if (!there && atomic_compare_exchange_strong(&calls[i].key, &there, call)) break;
    if (there == call || strcmp(there, call) == 0) break;
  }
  return &calls[i];
}

static struct file_row *file_row(uint64_t key, bool *fresh) {
  int i = 0;
  *fresh = false;
  for (; i < FILES_MAX - 1; i++) {
    uint64_t there = files[i].key;
    if (there == 0 && atomic_compare_exchange_strong(&files[i].key, &there, key)) {
      *fresh = true;
      break;
    }
    if (there == key) break;
  }
  return &files[i];
}

static uint64_t key_of(const struct kg_place *place) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char *at = place->name; *at; at++) hash = (hash ^ (uint8_t)*at) * 0x100000001b3ull;
  hash = (hash ^ '/') * 0x100000001b3ull;
  for (const char *at = place->path; *at; at++) hash = (hash ^ (uint8_t)*at) * 0x100000001b3ull;
  return hash | 1;
}

static void add(struct call_row *row, uint64_t bytes, int64_t ns) {
  row->count++;
  row->bytes += bytes;
  row->ns += (uint64_t)(ns > 0 ? ns : 0);
}

static void add_file(const struct kg_place *place, const char *call, uint64_t bytes, int64_t ns) {
  bool fresh;
  struct file_row *row = file_row(key_of(place), &fresh);
  if (fresh) {
    char text[KG_PATH_MAX + 512];
    kg_place_text(place, text);
    size_t length = strlen(text);
    /* The end of a long name tells files apart, its beginning does not. */
    strcpy(row->name, length < NAME_SHOWN ? text : text + length - (NAME_SHOWN - 1));
  }
  row->count++;
  row->ns += (uint64_t)(ns > 0 ? ns : 0);
  if (strstr(call, "write"))
    row->written += bytes;
  else
    row->read += bytes;
}

__attribute__((noinline)) void kg_count_place(const char *call, const struct kg_place *place,
                                              uint64_t bytes, int64_t ns) {
  if (!kg_counting) return;
  add(call_row(call), bytes, ns);
  add_file(place, call, bytes, ns);
}

void kg_count_passed(const char *call) {
  if (kg_counting) call_row(call)->passed++;
}

void kg_count(const char *call, struct kg_file *file, uint64_t bytes, int64_t ns) {
  struct kg_place place;
  if (!kg_counting) return;
  if (!file) {
    kg_count_passed(call);
    return;
  }
  add(call_row(call), bytes, ns);
  if (kg_place_open(file, &place) == 0) add_file(&place, call, bytes, ns);
}

/* The text of one report; what does not fit is cut off. */
static struct {
  size_t used;
  char bytes[96 << 10];
} text;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  va_list list;
  size_t room = sizeof text.bytes - text.used;
  va_start(list, format);
  int length = vsnprintf(text.bytes + text.used, room, format, list);
  va_end(list);
  if (length > 0) text.used += (size_t)length < room ? (size_t)length : room - 1;
}

typedef unsigned long long number;

static int by_time(const void *a, const void *b) {
  const struct call_row *x = *(struct call_row *const *)a, *y = *(struct call_row *const *)b;
  if (x->ns != y->ns) return x->ns < y->ns ? 1 : -1;
  uint64_t more = x->count + x->passed, less = y->count + y->passed;
  return more < less ? 1 : more > less ? -1 : 0;
}

static void say_calls(void) {
  struct call_row *rows[CALLS_MAX];
  int count = 0;
  for (int i = 0; i < CALLS_MAX; i++)
    if (calls[i].count || calls[i].passed) rows[count++] = &calls[i];
  qsort(rows, (size_t)count, sizeof *rows, by_time);
  say("%-24s %10s %16s %12s %12s\n", "call", "caught", "bytes", "seconds", "passed by");
  for (int i = 0; i < count; i++)
    say("%-24s %10llu %16llu %12.6f %12llu\n", rows[i]->key ? rows[i]->key : "others",
        (number)rows[i]->count, (number)rows[i]->bytes, (double)rows[i]->ns / 1e9,
        (number)rows[i]->passed);
}

static void say_files(void) {
  bool any = false;
  for (int i = 0; i < FILES_MAX; i++) {
    if (!files[i].count) continue;
    if (!any) say("%10s %16s %16s %12s  %s\n", "calls", "read", "written", "seconds", "file");
    any = true;
    say("%10llu %16llu %16llu %12.6f  %s\n", (number)files[i].count, (number)files[i].read,
        (number)files[i].written, (double)files[i].ns / 1e9,
        files[i].name[0] ? files[i].name : "others");
  }
}

void kg_report_print(const char *why) {
  if (!kg_counting) return;
  text.used = 0;
  say("kangaroo: report of process %d (%s) at its %s, after %.3f s\n", (int)getpid(), program, why,
      (double)(kg_clock() - started) / 1e9);
  say_calls();
  say_files();
  say("\n");
  bool to_error = strcmp(kg_settings.report, "-") == 0;
  long fd = to_error ? error_fd
                     : kg_raw(SYS_openat, AT_FDCWD, (long)kg_settings.report,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644, 0, 0);
  if (fd < 0) return;
  kg_counting = false;
  /* Standard error may be a file of ours. */
  kg_note((int)fd);
  if (write((int)fd, text.bytes, text.used) < 0) text.used = 0;
  if (!to_error) kg_raw_close((int)fd);
  clear();
}
