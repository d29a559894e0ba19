/*
 * The writers' side of the ring: see board.h for its layout and for how the last entry grows.
 *
 * Order of the steps under the lock, each of which may be the last of a process that is killed: the
 * entry is written beyond the tail; `unsettled` says where it is; the tail moves, from here on it
 * counts; `last` follows; the slot is brought up to date; `unsettled` is cleared. Whoever finds it
 * set does the rest again from what stands in the ring.
 */
#include "boards.h"

#include "connection.h"
#include "core.h"
#include "crc32c.h"
#include "fate.h"
#include "kernel.h"

#include <errno.h>
#include <string.h>

static struct kg_entry *entry_at(const struct kg_board *board, uint64_t position) {
  const struct kg_board_header *header = board->header;
  return (struct kg_entry *)((char *)header + header->ring_at +
                             (position & (header->ring_bytes - 1)));
}

/* The last entry of the ring while nothing is behind it; NULL when it cannot be told. */
static struct kg_entry *last_entry(const struct kg_board *board, uint64_t tail) {
  const struct kg_board_header *header = board->header;
  uint64_t last = header->last;
  if (last >= tail || tail - last > header->ring_bytes / 2) return NULL;
  uint64_t left = header->ring_bytes - (last & (header->ring_bytes - 1));
  if (left < sizeof(struct kg_entry) || tail - last > left) return NULL;
  struct kg_entry *entry = entry_at(board, last);
  return entry->bytes == tail - last ? entry : NULL;
}

/* Does `put` go on where that write ends, in the file and in what holds the payload? */
static bool continues(const struct kg_entry *entry, uint64_t state, const struct kg_put *put) {
  if (entry->kind != put->kind || put->kind > KG_ENTRY_INLINE) return false;
  if (entry->slot != put->ref.slot || entry->generation != put->ref.generation) return false;
  return entry->offset + KG_STATE_BYTES(state) == put->offset;
}

/* Makes the last entry longer by this write. False: it needs an entry of its own. */
static bool grow(struct kg_entry *entry, const struct kg_put *put) {
  uint64_t state = atomic_load(&entry->state);
  if ((state & KG_SEALED) != 0) return false;
  uint32_t bytes = KG_STATE_BYTES(state), crc = KG_STATE_CRC(state);
  if (put->kind == KG_ENTRY_INLINE) {
    if (bytes > entry->room || put->count > entry->room - bytes) return false;
    memcpy((char *)(entry + 1) + bytes, put->bytes, put->count);
    crc = put->count > KG_INLINE_MAX ? kg_crc32c_join(crc, put->crc, put->count)
                                     : kg_crc32c(crc, put->bytes, put->count);
  } else {
    if (put->count > KG_PAYLOAD_MAX - bytes || entry->segment != put->segment) return false;
    if (entry->segment_offset + bytes != put->segment_offset) return false;
    crc = kg_crc32c_join(crc, put->crc, put->count);
  }
  return atomic_compare_exchange_strong(&entry->state, &state, KG_STATE(crc, bytes + put->count));
}

/* Room for an inline payload: its own, or twice what the one that it continues has used. */
static uint32_t room_for(const struct kg_entry *last, uint64_t state, const struct kg_put *put) {
  if (put->kind != KG_ENTRY_INLINE) return 0;
  uint32_t room = put->count;
  if (last != NULL && continues(last, state, put)) {
    uint32_t twice = 2 * KG_STATE_BYTES(state);
    if (twice > KG_INLINE_ROOM_MAX) twice = KG_INLINE_ROOM_MAX;
    if (twice > room) room = twice;
  }
  return (room + 7) & ~7u;
}

static void fill_entry(struct kg_entry *entry, const struct kg_put *put, uint32_t room,
                       uint64_t seq) {
  bool has_crc = put->kind != KG_ENTRY_INLINE || put->count > KG_INLINE_MAX;
  uint32_t crc = has_crc ? put->crc : kg_crc32c(0, put->bytes, put->count);
  entry->bytes = (uint32_t)sizeof *entry + room;
  entry->kind = put->kind;
  entry->flags = put->flags;
  entry->seq = seq;
  entry->slot = put->ref.slot;
  entry->generation = put->ref.generation;
  entry->offset = put->offset;
  atomic_store_explicit(&entry->state, KG_STATE(crc, put->count), memory_order_relaxed);
  entry->segment = put->segment;
  entry->segment_offset = put->segment_offset;
  entry->room = room;
  entry->mode = put->mode;
  if (put->kind == KG_ENTRY_INLINE) memcpy(entry + 1, put->bytes, put->count);
}

/* Brings a slot up to date with a write that ends at `end`, a truncation or new attributes. */
static void settle(struct kg_slot *slot, const struct kg_entry *entry, uint64_t end,
                   int64_t now_ns) {
  if (entry->kind == KG_ENTRY_CREATE) return;
  if (entry->kind == KG_ENTRY_ATTRIBUTES) {
    if ((entry->flags & KG_SET_MODE) != 0) slot->mode = entry->mode;
    if ((entry->flags & KG_SET_MTIME) != 0) slot->mtime_ns = (int64_t)entry->segment;
    return;
  }
  uint64_t size = atomic_load_explicit(&slot->size, memory_order_relaxed);
  if (entry->kind == KG_ENTRY_TRUNCATE) end = entry->offset;
  if (end > size || entry->kind == KG_ENTRY_TRUNCATE)
    atomic_store_explicit(&slot->size, end, memory_order_relaxed);
  slot->mtime_ns = now_ns;
  atomic_fetch_add(&slot->version, 1);
}

/* Where an entry of `bytes` may begin, behind what must be skipped; false: no room. */
static bool place_entry(struct kg_board *board, uint32_t bytes, uint64_t *position) {
  struct kg_board_header *header = board->header;
  uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
  uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
  uint64_t left = header->ring_bytes - (tail & (header->ring_bytes - 1));
  uint64_t skip = left < bytes ? left : 0;
  if (tail - head + skip + bytes > header->ring_bytes) return false;
  if (skip >= 8) {
    struct kg_entry *skipped = entry_at(board, tail);
    skipped->bytes = (uint32_t)skip;
    skipped->kind = KG_ENTRY_SKIP;
    skipped->flags = 0;
  }
  *position = tail + skip;
  return true;
}

/* The spare slot of an entry that makes a file is nobody else's to take. */
static void take_spare(struct kg_board_header *header, const struct kg_entry *entry) {
  const uint32_t *spares = (const uint32_t *)((char *)header + header->spares_at);
  if (entry->kind != KG_ENTRY_CREATE || header->spares_taken == header->spares_given) return;
  if (spares[header->spares_taken % KG_SPARES] == entry->slot) header->spares_taken++;
}

bool kg_ring_put(struct kg_board *board, const struct kg_put *put, int64_t now_ns) {
  struct kg_board_header *header = board->header;
  struct kg_slot *slot = kg_slot_at(board, put->ref.slot);
  uint64_t tail = atomic_load_explicit(&header->tail, memory_order_relaxed);
  struct kg_entry *last = last_entry(board, tail);
  uint64_t state = last == NULL ? 0 : atomic_load_explicit(&last->state, memory_order_relaxed);
  uint64_t end = put->offset + put->count;
  if (last != NULL && (state & KG_SEALED) == 0 && continues(last, state, put)) {
    header->unsettled = header->last + 1;
    atomic_signal_fence(memory_order_seq_cst);
    if (grow(last, put)) {
      settle(slot, last, end, now_ns);
      atomic_signal_fence(memory_order_seq_cst);
      header->unsettled = 0;
      return true;
    }
  }
  uint32_t room = room_for(last, state, put);
  uint64_t position;
  if (!place_entry(board, (uint32_t)sizeof(struct kg_entry) + room, &position)) {
    room = put->kind == KG_ENTRY_INLINE ? (put->count + 7) & ~7u : 0;
    if (!place_entry(board, (uint32_t)sizeof(struct kg_entry) + room, &position)) {
      header->unsettled = 0;
      return false;
    }
  }
  header->unsettled = tail + 1;
  struct kg_entry *entry = entry_at(board, position);
  fill_entry(entry, put, room, header->next_seq);
  atomic_signal_fence(memory_order_seq_cst);
  header->next_seq++;
  atomic_store(&header->tail, position + entry->bytes);
  header->last = position;
  settle(slot, entry, end, now_ns);
  take_spare(header, entry);
  atomic_signal_fence(memory_order_seq_cst);
  header->unsettled = 0;
  return true;
}

void kg_ring_mend(struct kg_board *board) {
  struct kg_board_header *header = board->header;
  uint64_t tail = atomic_load(&header->tail), at = header->unsettled - 1;
  if (at > tail || tail - at > header->ring_bytes) at = tail;
  while (at < tail) {
    uint64_t left = header->ring_bytes - (at & (header->ring_bytes - 1));
    struct kg_entry *entry = entry_at(board, at);
    if (left < sizeof *entry || entry->kind == KG_ENTRY_SKIP) {
      at += left;
      continue;
    }
    if (entry->bytes < sizeof *entry || entry->bytes > tail - at) break;
    struct kg_ref ref = {entry->slot, entry->generation};
    struct kg_slot *slot = kg_slot_of(board, ref);
    uint64_t end = entry->offset + KG_STATE_BYTES(atomic_load(&entry->state));
    if (slot != NULL) settle(slot, entry, end, kg_wall_ns());
    take_spare(header, entry);
    header->last = at;
    at += entry->bytes;
  }
  header->unsettled = 0;
}

/* Is there a server that answers? Waits as long as a call may. */
static int ask_for_life(uint64_t signals) {
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_CALLS);
  if (problem != 0) return problem;
  call.outer = signals;
  problem = kg_call_connect(&call);
  if (problem == 0) kg_call_tell(&call, KG_NUDGE);
  kg_call_end(&call);
  return problem;
}

int kg_ring_wait(struct kg_board *board, uint64_t signals) {
  struct kg_board_header *header = board->header;
  uint64_t head = atomic_load(&header->head);
  kg_ring_nudge(board);
  for (int turn = 1;; turn++) {
    uint32_t room = atomic_load(&header->room);
    if (atomic_load(&header->head) != head) return 0;
    kg_futex_wait(&header->room, room, 200);
    if (atomic_load(&header->head) != head) return 0;
    kg_signals_yield(signals);
    /* A server that is there and has a full spool is waited for; one that is gone, for a while. */
    if (turn % 10 != 0) continue;
    int problem = ask_for_life(signals);
    if (kg_board() != board) return ESTALE;
    if (problem == 0) continue;
    kg_fate_again("the server is gone, and there is no room for what the program writes");
    return problem;
  }
}

void kg_ring_nudge(struct kg_board *board) {
  static _Atomic int64_t not_before_ms;
  struct kg_board_header *header = board->header;
  atomic_thread_fence(memory_order_seq_cst);
  if (__builtin_expect(atomic_load_explicit(&header->asleep, memory_order_relaxed) == 0, 1)) return;
  int64_t now = kg_now_ms();
  if (now < atomic_load(&not_before_ms)) return;
  struct kg_call call;
  if (kg_call_begin(&call, KG_FOR_CALLS) != 0) return;
  /* Who would only promise to tell, and died, would leave the server asleep with nobody to wake it:
     the connection comes first, since its end wakes the server too. */
  if (!kg_call_connect_once(&call))
    atomic_store(&not_before_ms, now + 100);
  else if (atomic_exchange(&header->asleep, 0) == 1)
    kg_call_tell(&call, KG_NUDGE);
  kg_call_end(&call);
}
