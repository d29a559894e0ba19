/*
 * Rows of known names: see known.h. A reader copies a row and looks whether its turn stood still.
 */
#include "known.h"

#include "board.h"

#define START 0xcbf29ce484222325ull
#define PRIME 0x100000001b3ull
#define ODD 0x9e3779b97f4a7c15ull
/* More rows in use than this, and looking for one that is not there takes long. */
#define USED_MAX (KG_ROWS / 4 * 3)
/* A writer that is preempted keeps its row odd for so many looks at most. */
#define LOOKS_MAX 64

static struct kg_key with(struct kg_key key, uint8_t byte) {
  key.key = (key.key ^ byte) * PRIME;
  key.check = (key.check + byte + 1) * ODD;
  key.check ^= key.check >> 29;
  return key;
}

struct kg_keys kg_keys_of(const char *name, size_t name_bytes, const char *path,
                          size_t path_bytes) {
  struct kg_keys keys = {.has_parent = path_bytes > 0};
  struct kg_key key = {START, ODD};
  for (size_t i = 0; i < name_bytes; i++) key = with(key, (uint8_t)name[i]);
  key = with(key, '/');
  keys.parent = key;
  for (size_t i = 0; i < path_bytes; i++) {
    if (path[i] == '/') keys.parent = key;
    key = with(key, (uint8_t)path[i]);
  }
  keys.name = key;
  return keys;
}

uint64_t kg_ino_of(struct kg_key key) {
  uint64_t ino = key.key & ((1ull << 52) - 1);
  return ino == 0 ? 1 : ino;
}

static struct kg_board_header *header_of(const void *board) {
  return (struct kg_board_header *)(uintptr_t)board;
}

static struct kg_row *row_at(const void *board, uint64_t at) {
  return (struct kg_row *)((uintptr_t)board + header_of(board)->rows_at +
                           (at & (KG_ROWS - 1)) * sizeof(struct kg_row));
}

bool kg_known_fits(const void *board, size_t bytes) {
  const uint64_t rows = (uint64_t)KG_ROWS * sizeof(struct kg_row);
  if (bytes < KG_HEADER_BYTES || bytes < rows) return false;
  uint64_t at = header_of(board)->rows_at;
  return at % 8 == 0 && at >= KG_HEADER_BYTES && at <= bytes - rows;
}

/* A copy of the row as it stood at one time. False: it is being written, or its writer died. */
static bool copy_row(const struct kg_row *row, struct kg_row *out) {
  for (int look = 0; look < LOOKS_MAX; look++) {
    uint32_t turn = atomic_load_explicit(&row->turn, memory_order_acquire);
    if ((turn & 1) != 0) continue;
    __builtin_memcpy(out, row, sizeof *out);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&row->turn, memory_order_relaxed) == turn) return true;
  }
  return false;
}

bool kg_known_row(const void *board, struct kg_key key, struct kg_known *out) {
  uint32_t epoch = atomic_load_explicit(&header_of(board)->epoch, memory_order_acquire);
  for (uint64_t i = 0; i < KG_ROWS; i++) {
    const struct kg_row *row = row_at(board, key.check + i);
    struct kg_row copy;
    if (!copy_row(row, &copy)) {
      /* Perhaps the one that is looked for: then it says nothing, and nothing may be concluded. */
      *out = (struct kg_known){0};
      return true;
    }
    if (copy.epoch != epoch) return false;
    if (copy.key != key.key || copy.check != key.check) continue;
    *out = (struct kg_known){.until_ms = copy.until_ms,
                             .names_until_ms = copy.names_until_ms,
                             .size = copy.size,
                             .mtime_ns = copy.mtime_ns,
                             .slot = copy.slot,
                             .generation = copy.generation,
                             .mode = copy.mode,
                             .kind = copy.kind,
                             .flags = copy.flags};
    return true;
  }
  return false;
}

/* The row of that name, or a free one for it. */
static struct kg_row *find(void *board, struct kg_key key) {
  struct kg_board_header *header = header_of(board);
  if (header->rows_used >= USED_MAX) kg_known_clear(board);
  uint32_t epoch = atomic_load_explicit(&header->epoch, memory_order_relaxed);
  for (uint64_t i = 0;; i++) {
    struct kg_row *row = row_at(board, key.check + i);
    if (row->epoch != epoch) {
      header->rows_used++;
      return row;
    }
    if (row->key == key.key && row->check == key.check) return row;
  }
}

void kg_known_put(void *board, struct kg_key key, const struct kg_known *known) {
  struct kg_row *row = find(board, key);
  uint32_t turn = atomic_load_explicit(&row->turn, memory_order_relaxed) | 1;
  atomic_store_explicit(&row->turn, turn, memory_order_relaxed);
  atomic_thread_fence(memory_order_seq_cst);
  row->epoch = atomic_load_explicit(&header_of(board)->epoch, memory_order_relaxed);
  row->key = key.key;
  row->check = key.check;
  row->until_ms = known->until_ms;
  row->names_until_ms = known->names_until_ms;
  row->size = known->size;
  row->mtime_ns = known->mtime_ns;
  row->slot = known->slot;
  row->generation = known->generation;
  row->mode = known->mode;
  row->kind = known->kind;
  row->flags = known->flags;
  atomic_store_explicit(&row->turn, turn + 1, memory_order_release);
}

void kg_known_ask(void *board, struct kg_key key) {
  const struct kg_known nothing = {0};
  kg_known_put(board, key, &nothing);
}

void kg_known_clear(void *board) {
  struct kg_board_header *header = header_of(board);
  atomic_fetch_add(&header->epoch, 1);
  header->rows_used = 0;
}
