/*
 * Reads of open files: from what is kept, here or on the shelf of all programs, else from the
 * spool's own segments, else by one GET. Who reads in order gets more than it asked for, twice as
 * much each time, up to what one GET may have; who leaps about gets its pages. A large read goes
 * straight into the program's memory.
 */
#include "cache.h"
#include "connection.h"
#include "core.h"
#include "kernel.h"
#include "places.h"
#include "shelf.h"

#include <errno.h>
#include <string.h>

#define GET_BYTES_MAX (4u << 20)
#define DIRECT_BYTES (512u << 10)
/* A server is quickest with requests of about this much. */
#define WINDOW_LAST (2u << 20)
#define WINDOW_FIRST (64u << 10)
#define PAGE 4096u
/* From a segment it comes so fast that more would only push out of the processor's caches what is
   wanted next. */
#define PLACED_DIRECT_BYTES (64u << 10)
#define PLACED_WINDOW (128u << 10)
#define WHOLE ((1ull << 53) - 1)

struct direct {
  uint8_t *bytes;
  uint64_t offset, count;
};

static uint8_t *direct_at(void *context, uint64_t offset, uint32_t *room) {
  const struct direct *direct = context;
  if (offset < direct->offset || offset >= direct->offset + direct->count) return NULL;
  uint64_t at = offset - direct->offset;
  if (*room > direct->count - at) *room = (uint32_t)(direct->count - at);
  return direct->bytes + at;
}

static uint8_t *fill_at(void *context, uint64_t offset, uint32_t *room) {
  return kg_fill_at(context, offset, room);
}

/* One GET of [from, to); *end is where the bytes that came end. */
static int get(struct kg_ref ref, uint64_t from, uint64_t to,
               uint8_t *(*sink)(void *, uint64_t, uint32_t *), void *context, uint64_t *end) {
  struct kg_place place;
  for (int tries = 0;; tries++) {
    int problem = kg_place_of(ref, &place);
    if (problem != 0) return problem;
    struct kg_value values[] = {KG_B(place.name, strlen(place.name)),
                                KG_B(place.path, strlen(place.path)),
                                KG_N(from),
                                KG_N(to - from),
                                KG_N(0),
                                KG_N(0)};
    struct kg_value found[5];
    struct kg_call call;
    problem = kg_call_begin(&call, KG_FOR_CALLS);
    if (problem != 0) return problem;
    call.sink = sink;
    call.context = context;
    call.timeout_at = 4;
    problem = kg_call(&call, KG_GET, values, KG_FOUND, found);
    kg_call_end(&call);
    if (problem == 0) {
      *end = found[1].number < from ? from : found[1].number > to ? to : found[1].number;
      return 0;
    }
    /* It may just have been renamed: its slot has the new name then. */
    if (problem != ENOENT) return problem;
    if (tries == 3) return ESTALE;
  }
}

/* How much to fetch for a read of `count` at `offset`: what it wants, and what may come next. */
static uint64_t window_of(struct kg_process *process, struct kg_ref ref, uint64_t offset,
                          uint64_t count) {
  struct kg_reader *reader = &process->readers[ref.slot % KG_READERS];
  bool goes_on = atomic_load(&reader->slot) == ref.slot && atomic_load(&reader->next) == offset;
  if (!goes_on && offset != 0) {
    atomic_store(&reader->window, 0);
    return count;
  }
  uint64_t window = goes_on ? 2ull * atomic_load(&reader->window) : 0;
  if (window < WINDOW_FIRST) window = WINDOW_FIRST;
  if (window > WINDOW_LAST) window = WINDOW_LAST;
  atomic_store(&reader->window, (uint32_t)window);
  return window > count ? window : count;
}

static void note_read(struct kg_process *process, struct kg_ref ref, uint64_t next) {
  struct kg_reader *reader = &process->readers[ref.slot % KG_READERS];
  if (atomic_load_explicit(&reader->slot, memory_order_relaxed) != ref.slot) {
    atomic_store_explicit(&reader->slot, ref.slot, memory_order_relaxed);
    atomic_store_explicit(&reader->window, 0, memory_order_relaxed);
  }
  atomic_store_explicit(&reader->next, next, memory_order_relaxed);
}

static int read_direct(const struct kg_range *range, uint64_t offset, uint8_t *bytes,
                       uint64_t count, size_t *got) {
  if (count > GET_BYTES_MAX) count = GET_BYTES_MAX;
  struct direct direct = {bytes, offset, count};
  uint64_t end = offset;
  int problem = get(range->ref, offset, offset + count, direct_at, &direct, &end);
  *got = problem == 0 ? end - offset : 0;
  return problem;
}

/* Hands out what has come up to `end`. */
static size_t copy_filled(const struct kg_fill *fill, uint64_t end, uint64_t offset, uint8_t *bytes,
                          uint64_t count) {
  size_t got = 0;
  while (got < count && offset + got < end) {
    uint64_t left = end - offset - got;
    if (left > count - got) left = count - got;
    uint32_t room = (uint32_t)left;
    const uint8_t *there = kg_fill_at(fill, offset + got, &room);
    if (there == NULL) break;
    memcpy(bytes + got, there, room);
    got += room;
  }
  return got;
}

/* What has come up to `end`, for other programs and for later; not what somebody picks out. */
static void put_on_shelf(const struct kg_fill *fill, uint64_t end) {
  if (fill->from != 0 && end - fill->from < WINDOW_FIRST) return;
  for (uint64_t at = fill->from; at < end;) {
    uint32_t room = end - at < UINT32_MAX ? (uint32_t)(end - at) : UINT32_MAX;
    const uint8_t *there = kg_fill_at(fill, at, &room);
    if (there == NULL) break;
    kg_shelf_keep(fill->range, fill->version, at, there, room);
    at += room;
  }
}

/* The range of whole pages around a read; never behind `size`. */
static uint64_t pages_of(uint64_t offset, uint64_t window, uint64_t size, uint64_t *to) {
  uint64_t from = offset - offset % PAGE;
  *to = (offset + window + PAGE - 1) / PAGE * PAGE;
  if (*to > size) *to = size;
  if (*to - from > GET_BYTES_MAX) *to = from + GET_BYTES_MAX;
  return from;
}

/* From the spool's segments; 0: it does not lie there. */
static size_t fetch_placed(const struct kg_range *range, uint64_t offset, uint8_t *bytes,
                           uint64_t count, uint64_t size, uint64_t window) {
  if (count >= PLACED_DIRECT_BYTES) return kg_places_read(range, offset, bytes, count);
  if (window > PLACED_WINDOW) window = PLACED_WINDOW;
  uint64_t to, from = pages_of(offset, window, size, &to), end = from;
  struct kg_fill fill;
  if (!kg_fill_begin(&fill, range, from, to)) return kg_places_read(range, offset, bytes, count);
  while (end < fill.to) {
    uint32_t room = PLACED_WINDOW * 2;
    uint8_t *there = kg_fill_at(&fill, end, &room);
    size_t part = there == NULL ? 0 : kg_places_read(range, end, there, room);
    if (part == 0) break;
    end += part;
  }
  size_t got = copy_filled(&fill, end, offset, bytes, count);
  kg_fill_end(&fill, end);
  return got;
}

/* Fetches, keeps what came, and hands out what was asked for. `size`: where the file ends. */
static int fetch(const struct kg_range *range, uint64_t offset, uint8_t *bytes, uint64_t count,
                 uint64_t size, size_t *got) {
  uint64_t window = count < DIRECT_BYTES ? window_of(range->process, range->ref, offset, count) : 0;
  bool may = size != WHOLE && kg_places_may(range);
  *got = may ? fetch_placed(range, offset, bytes, count, size, window) : 0;
  if (*got > 0) return 0;
  if (count >= DIRECT_BYTES) return read_direct(range, offset, bytes, count, got);
  uint64_t to, from = pages_of(offset, window, size, &to);
  struct kg_fill fill;
  if (!kg_fill_begin(&fill, range, from, to)) return read_direct(range, offset, bytes, count, got);
  uint64_t end = from;
  int problem = get(range->ref, from, fill.to, fill_at, &fill, &end);
  if (problem != 0) end = from;
  *got = problem == 0 ? copy_filled(&fill, end, offset, bytes, count) : 0;
  put_on_shelf(&fill, end);
  kg_fill_end(&fill, end);
  return problem;
}

int kg_read(struct kg_ref ref, void *bytes, size_t count, uint64_t offset, size_t *got) {
  struct kg_range range = {.process = kg_process(), .ref = ref};
  *got = 0;
  int problem = kg_slot_find(&range.ref, &range.board, &range.slot);
  if (problem != 0) return problem;
  if (range.slot->kind == KG_SLOT_DIRECTORY) return EISDIR;
  while (*got < count && offset < WHOLE) {
    uint32_t flags = atomic_load(&range.slot->flags);
    uint64_t size = (flags & KG_SLOT_STALE) != 0 ? WHOLE : atomic_load(&range.slot->size);
    if (offset >= size) break;
    uint64_t part = count - *got < size - offset ? count - *got : size - offset;
    size_t have = kg_cache_copy(&range, offset, (char *)bytes + *got, part);
    if (have == 0) have = kg_shelf_copy(&range, offset, (char *)bytes + *got, part);
    if (have == 0) {
      problem = fetch(&range, offset, (uint8_t *)bytes + *got, part, size, &have);
      if (problem != 0) return *got > 0 && problem != EFAULT ? 0 : problem;
      if (have == 0) break;
    }
    *got += have;
    offset += have;
  }
  note_read(range.process, range.ref, offset);
  return 0;
}
