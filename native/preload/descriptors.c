/*
 * Which descriptors are Kangaroo's. The kernel is the truth, what is kept here saves asking it.
 *
 * A placeholder is a memfd, empty for ever, whose name tells board, slot and access (ADAPTER.md).
 * For each number of a descriptor there is a bit that says "perhaps ours" and a kg_file. A bit is
 * set by whoever makes, copies or receives a descriptor. It is never taken away by close or dup2,
 * which may run in a vfork child whose descriptors are not its parent's; only a look that finds
 * something else takes it away, and not in such a child. Nothing is locked and nothing comes from
 * malloc: two threads that look at the same descriptor write the same.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include "locks.h"
#include "placeholder.h"
#include "preload.h"
#include "raw.h"

enum { CHUNK = 1024, CHUNKS = 1024 };
/* Private descriptors have larger numbers; that saves a look at most others. */
enum { PROGRAMS_OWN = 15 };

/* Until the start has looked, the low ones may all be ours: a constructor may write first. */
_Atomic uint64_t kg_perhaps[KG_PERHAPS_MAX / 64] = {~0ull};

static struct kg_file first_chunk[CHUNK];
static struct kg_file *_Atomic chunks[CHUNKS] = {first_chunk};
/* The device of all memfds, once one of ours was seen. */
static _Atomic uint64_t memory_dev;

struct kg_file *kg_file_at(int fd) {
  if (fd < 0 || fd >= CHUNK * CHUNKS) return 0;
  struct kg_file *_Atomic *place = &chunks[fd / CHUNK];
  struct kg_file *chunk = atomic_load(place);
  if (chunk == 0) {
    long bytes = sizeof(struct kg_file) * CHUNK;
    long made =
        kg_raw(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made < 0 && made > -4096) return 0;
    if (atomic_compare_exchange_strong(place, &chunk, (struct kg_file *)made)) {
      chunk = (struct kg_file *)made;
    } else {
      kg_raw(SYS_munmap, made, bytes, 0, 0, 0, 0);
    }
  }
  return &chunk[fd % CHUNK];
}

void kg_note(int fd) {
  if (fd < 0 || fd >= KG_PERHAPS_MAX) return;
  atomic_fetch_or_explicit(&kg_perhaps[fd / 64], 1ull << (fd % 64), memory_order_relaxed);
}

static void forget(int fd) {
  if (fd < 0 || fd >= KG_PERHAPS_MAX || kg_is_borrowed()) return;
  atomic_fetch_and_explicit(&kg_perhaps[fd / 64], ~(1ull << (fd % 64)), memory_order_relaxed);
}

static void fill(struct kg_file *file, const struct kg_file *from) {
  atomic_store(&file->ino, 0); /* matches nothing while the rest is written */
  atomic_store(&file->at, 0);
  file->dev = from->dev;
  file->ref = from->ref;
  file->kind = from->kind;
  file->access = from->access;
  file->append = from->append;
  file->synced = from->synced;
  file->path_only = from->path_only;
  atomic_store(&file->ino, atomic_load(&from->ino));
}

/* Refs of another board mean other files here: one that no slot has makes every use fail. */
static void check_board(struct kg_file *file, const char *board) {
  char hex[33];
  if (KG_IS_TOP(file)) return;
  if (kg_board_id(hex) == 0 && memcmp(hex, board, 32) == 0) return;
  file->ref.slot = KG_TOP_SLOT - 1;
  file->ref.generation = 0;
}

static struct kg_file *learn(int fd, const struct stat *st) {
  struct kg_placeholder parts;
  struct kg_file *file = kg_file_at(fd);
  if (file == 0 || !kg_placeholder_of(fd, &parts)) {
    forget(fd);
    return 0;
  }
  int flags = kg_raw_fcntl(fd, F_GETFL, 0);
  struct kg_file fresh = {
      .dev = st->st_dev,
      .ino = st->st_ino,
      .ref = parts.ref,
      .kind = parts.directory ? KG_DIRECTORY : KG_FILE,
      .access = parts.access,
      .append = (flags & O_APPEND) != 0,
      .synced = (flags & O_DSYNC) != 0,
      .path_only = parts.path_only,
  };
  check_board(&fresh, parts.board);
  atomic_store(&memory_dev, st->st_dev);
  fill(file, &fresh);
  kg_note(fd);
  return file;
}

static bool is_memory(const struct stat *st) {
  uint64_t dev = atomic_load_explicit(&memory_dev, memory_order_relaxed);
  return S_ISREG(st->st_mode) && (dev == 0 || dev == st->st_dev);
}

struct kg_file *kg_file_slow(int fd) {
  struct stat st;
  if (__builtin_expect(!kg_started, 0)) kg_start();
  if (kg_raw_fstat(fd, &st) != 0 || !is_memory(&st)) {
    forget(fd);
    return 0;
  }
  struct kg_file *file = kg_file_at(fd);
  if (file == 0 || atomic_load_explicit(&file->ino, memory_order_acquire) != st.st_ino ||
      file->dev != st.st_dev) {
    file = learn(fd, &st);
  }
  if (file != 0 && __builtin_expect(st.st_size != 0, 0)) kg_rescue(fd, file);
  return file;
}

int kg_place_holder(struct kg_ref ref, enum kg_kind kind, int flags) {
  struct kg_placeholder parts = {
      .ref = ref,
      .access = flags & O_ACCMODE,
      .directory = kind == KG_DIRECTORY,
      .path_only = (flags & O_PATH) != 0,
  };
  if (parts.path_only) parts.access = O_RDONLY;
  int problem = kg_board_id(parts.board);
  if (problem != 0 && ref.slot != KG_TOP_SLOT) return kg_fail(problem);
  if (problem != 0) memset(parts.board, '0', 32);
  int fd = kg_placeholder_make(&parts, flags);
  if (fd < 0) return kg_fail(-fd);
  struct stat st;
  struct kg_file *file = kg_file_at(fd);
  if (file == 0 || kg_raw_fstat(fd, &st) != 0) {
    kg_raw_close(fd);
    return kg_fail(EMFILE);
  }
  struct kg_file fresh = {
      .dev = st.st_dev,
      .ino = st.st_ino,
      .ref = ref,
      .kind = kind,
      .access = parts.access,
      .append = (flags & O_APPEND) != 0,
      .synced = (flags & O_DSYNC) != 0,
      .path_only = parts.path_only,
  };
  atomic_store(&memory_dev, st.st_dev);
  fill(file, &fresh);
  kg_note(fd);
  return fd;
}

void kg_note_copy(int fd, int copy) {
  struct kg_file *from = kg_file_at(fd);
  struct kg_file *file = kg_file_at(copy);
  if (fd != copy && from != 0 && file != 0) fill(file, from);
  kg_note(copy);
}

void kg_set_append(struct kg_file *file, bool append) {
  uint64_t dev = file->dev, ino = atomic_load(&file->ino);
  for (int i = 0; i < CHUNKS; i++) {
    struct kg_file *chunk = atomic_load(&chunks[i]);
    for (int j = 0; chunk != 0 && j < CHUNK; j++) {
      if (atomic_load(&chunk[j].ino) == ino && chunk[j].dev == dev) chunk[j].append = append;
    }
  }
}

/* Asks nobody but the kernel, and only for descriptors whose bit is set. */
void kg_before_close(int fd) {
  struct stat st;
  if (fd < 0 || !kg_started) return;
  if (fd < KG_PERHAPS_MAX && (kg_perhaps[fd / 64] >> (fd % 64) & 1) == 0) return;
  struct kg_file *file = kg_file_at(fd);
  if (file != 0) atomic_store_explicit(&file->at, 0, memory_order_relaxed);
  if (kg_raw_fstat(fd, &st) == 0 && is_memory(&st) && st.st_size != 0) kg_file_slow(fd);
}

void kg_rescue_all(void) {
  for (int word = 0; word < KG_PERHAPS_MAX / 64; word++) {
    uint64_t bits = atomic_load_explicit(&kg_perhaps[word], memory_order_relaxed);
    for (; bits != 0; bits &= bits - 1) kg_before_close(word * 64 + __builtin_ctzll(bits));
  }
}

static int number_of(const char *text) {
  int number = 0;
  if (*text == 0) return -1;
  for (; *text != 0; text++) {
    if (*text < '0' || *text > '9' || number > 100000000) return -1;
    number = number * 10 + (*text - '0');
  }
  return number;
}

void kg_adopt_all(void) {
  struct {
    uint64_t ino;
    int64_t next;
    uint16_t bytes;
    uint8_t type;
    char name[];
  } * entry;
  char buffer[4096] __attribute__((aligned(8)));
  atomic_store(&kg_perhaps[0], 0);
  int list = kg_raw_open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  for (;;) {
    long got = list < 0 ? 0 : kg_raw(SYS_getdents64, list, (long)buffer, sizeof buffer, 0, 0, 0);
    if (got <= 0) break;
    for (long at = 0; at < got; at += entry->bytes) {
      entry = (void *)(buffer + at);
      int fd = number_of(entry->name);
      struct kg_placeholder parts;
      struct stat st;
      if (fd < 0 || fd == list) continue;
      if (!kg_placeholder_of(fd, &parts)) {
        if (fd > PROGRAMS_OWN) kg_locks_adopt(fd);
        continue;
      }
      if (kg_raw_fstat(fd, &st) == 0) atomic_store(&memory_dev, st.st_dev);
      kg_note(fd);
    }
  }
  if (list >= 0) kg_raw_close(list);
}
