/*
 * Chunks of files in this process: see cache.h.
 */
#include "cache.h"

#include "kernel.h"

#include <string.h>

static bool is_of(const struct kg_chunk *chunk, const struct kg_board *board, struct kg_ref ref) {
  return chunk->slot == ref.slot && chunk->generation == ref.generation &&
         chunk->board == (uintptr_t)board && chunk->to != 0;
}

static uint8_t *memory_of(const struct kg_process *process, const struct kg_chunk *chunk) {
  uint8_t *start = kg_chunk_memory();
  return start == NULL ? NULL : start + (size_t)(chunk - process->chunks) * KG_CHUNK_BYTES;
}

/* Has it alone from here on; false: somebody else has. */
static bool take(struct kg_chunk *chunk) {
  uint32_t turn = atomic_load(&chunk->turn);
  return (turn & 1) == 0 && atomic_compare_exchange_strong(&chunk->turn, &turn, turn + 1);
}

static void give(struct kg_chunk *chunk) {
  atomic_fetch_add_explicit(&chunk->turn, 1, memory_order_release);
}

size_t kg_cache_copy(const struct kg_range *range, uint64_t offset, void *bytes, size_t count) {
  struct kg_process *process = range->process;
  uint64_t number = offset / KG_CHUNK_BYTES;
  uint32_t at = (uint32_t)(offset % KG_CHUNK_BYTES);
  uint64_t version = atomic_load(&range->slot->version);
  for (unsigned i = 0; i < KG_CHUNKS; i++) {
    struct kg_chunk *chunk = &process->chunks[i];
    uint32_t turn = atomic_load_explicit(&chunk->turn, memory_order_acquire);
    if ((turn & 1) != 0 || chunk->number != number || !is_of(chunk, range->board, range->ref))
      continue;
    uint32_t from = chunk->from, to = chunk->to;
    if (chunk->version != version || at < from || at >= to) continue;
    const uint8_t *memory = memory_of(process, chunk);
    if (to > KG_CHUNK_BYTES || memory == NULL) continue;
    size_t part = count < to - at ? count : to - at;
    memcpy(bytes, memory + at, part);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&chunk->turn, memory_order_relaxed) != turn) continue;
    uint64_t now = atomic_fetch_add_explicit(&process->clock, 1, memory_order_relaxed);
    atomic_store_explicit(&chunk->used, now, memory_order_relaxed);
    return part;
  }
  return 0;
}

/* The chunk with that number of the file, else the one that was not used for the longest time. */
static struct kg_chunk *take_chunk(const struct kg_fill *fill, uint64_t number) {
  struct kg_process *process = fill->range->process;
  for (unsigned i = 0; i < KG_CHUNKS; i++) {
    struct kg_chunk *chunk = &process->chunks[i];
    if (chunk->number != number || !is_of(chunk, fill->range->board, fill->range->ref)) continue;
    if (take(chunk)) return chunk;
  }
  for (int tries = 0; tries < KG_CHUNKS; tries++) {
    struct kg_chunk *oldest = NULL;
    for (unsigned i = 0; i < KG_CHUNKS; i++) {
      struct kg_chunk *chunk = &process->chunks[i];
      if ((atomic_load(&chunk->turn) & 1) != 0) continue;
      if (oldest == NULL || atomic_load(&chunk->used) < atomic_load(&oldest->used)) oldest = chunk;
    }
    if (oldest == NULL) return NULL;
    if (take(oldest)) return oldest;
  }
  return NULL;
}

bool kg_fill_begin(struct kg_fill *fill, const struct kg_range *range, uint64_t from, uint64_t to) {
  struct kg_process *process = range->process;
  *fill = (struct kg_fill){.range = range, .from = from, .to = to};
  fill->memory = kg_chunk_memory();
  if (fill->memory == NULL) return false;
  atomic_fetch_or(&process->slots_read, 1ull << (range->ref.slot % 64));
  fill->version = atomic_load(&range->slot->version);
  uint64_t first = from / KG_CHUNK_BYTES, last = (to - 1) / KG_CHUNK_BYTES;
  for (uint64_t number = first; number <= last && fill->count < KG_FILL_CHUNKS; number++) {
    struct kg_chunk *chunk = take_chunk(fill, number);
    if (chunk == NULL) break;
    bool is_same = chunk->number == number && chunk->version == fill->version &&
                   is_of(chunk, range->board, range->ref);
    if (!is_same) chunk->from = chunk->to = 0;
    chunk->slot = range->ref.slot;
    chunk->generation = range->ref.generation;
    chunk->board = (uintptr_t)range->board;
    chunk->number = number;
    chunk->version = fill->version;
    atomic_store(&chunk->used, atomic_fetch_add(&process->clock, 1));
    fill->chunks[fill->count++] = chunk;
  }
  uint64_t end = (first + (uint64_t)fill->count) * KG_CHUNK_BYTES;
  if (fill->to > end) fill->to = end;
  return fill->count > 0;
}

uint8_t *kg_fill_at(const struct kg_fill *fill, uint64_t offset, uint32_t *room) {
  if (offset < fill->from || offset >= fill->to) return NULL;
  const struct kg_chunk *chunk =
      fill->chunks[offset / KG_CHUNK_BYTES - fill->from / KG_CHUNK_BYTES];
  uint32_t at = (uint32_t)(offset % KG_CHUNK_BYTES);
  uint64_t left = KG_CHUNK_BYTES - at;
  if (left > fill->to - offset) left = fill->to - offset;
  if (*room > left) *room = (uint32_t)left;
  return memory_of(fill->range->process, chunk) + at;
}

/* Adds [from, to) to what is good in a chunk; what does not touch it is given up for it. */
static void add(struct kg_chunk *chunk, uint32_t from, uint32_t to) {
  bool touches = chunk->to != 0 && from <= chunk->to && to >= chunk->from;
  if (!touches) {
    chunk->from = from;
    chunk->to = to;
    return;
  }
  if (from < chunk->from) chunk->from = from;
  if (to > chunk->to) chunk->to = to;
}

void kg_fill_end(struct kg_fill *fill, uint64_t end) {
  if (end > fill->to) end = fill->to;
  for (int i = 0; i < fill->count; i++) {
    struct kg_chunk *chunk = fill->chunks[i];
    uint64_t start = chunk->number * KG_CHUNK_BYTES;
    uint64_t from = fill->from > start ? fill->from : start;
    uint64_t to = end < start + KG_CHUNK_BYTES ? end : start + KG_CHUNK_BYTES;
    if (from < to) add(chunk, (uint32_t)(from - start), (uint32_t)(to - start));
    /* What was half received lies over what was good before. */
    else if (end <= fill->from)
      chunk->from = chunk->to = 0;
    give(chunk);
  }
}

void kg_cache_patch(struct kg_process *process, const struct kg_board *board, struct kg_ref ref,
                    uint64_t offset, const void *bytes, size_t count, uint64_t before) {
  uint64_t read = atomic_load_explicit(&process->slots_read, memory_order_relaxed);
  if (__builtin_expect((read >> (ref.slot % 64) & 1) == 0, 1)) return;
  for (unsigned i = 0; i < KG_CHUNKS; i++) {
    struct kg_chunk *chunk = &process->chunks[i];
    if (!is_of(chunk, board, ref) || chunk->version != before || !take(chunk)) continue;
    if (is_of(chunk, board, ref) && chunk->version == before) {
      uint64_t start = chunk->number * KG_CHUNK_BYTES;
      uint64_t from = offset > start ? offset : start;
      uint64_t to = offset + count;
      if (to > start + KG_CHUNK_BYTES) to = start + KG_CHUNK_BYTES;
      bool touches = from < to && from - start <= chunk->to && to - start >= chunk->from;
      uint8_t *memory = memory_of(process, chunk);
      if (touches && memory != NULL) {
        memcpy(memory + (from - start), (const char *)bytes + (from - offset), to - from);
        add(chunk, (uint32_t)(from - start), (uint32_t)(to - start));
      }
      chunk->version = before + 1;
    }
    give(chunk);
  }
}

void kg_cache_keep(struct kg_process *process, const struct kg_board *board, struct kg_ref ref,
                   uint64_t offset, uint64_t count, uint64_t before, uint64_t after) {
  uint64_t read = atomic_load_explicit(&process->slots_read, memory_order_relaxed);
  if (__builtin_expect((read >> (ref.slot % 64) & 1) == 0, 1)) return;
  for (unsigned i = 0; i < KG_CHUNKS; i++) {
    struct kg_chunk *chunk = &process->chunks[i];
    if (!is_of(chunk, board, ref) || chunk->version != before || !take(chunk)) continue;
    if (is_of(chunk, board, ref) && chunk->version == before) {
      uint64_t from = chunk->number * KG_CHUNK_BYTES + chunk->from;
      uint64_t to = chunk->number * KG_CHUNK_BYTES + chunk->to;
      if (offset >= to || offset + count <= from) chunk->version = after;
    }
    give(chunk);
  }
}
