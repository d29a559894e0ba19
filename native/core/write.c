/*
 * Writes, truncations and attributes of open files: into the board, without asking anybody.
 *
 * A small payload is copied to the stack, since its owner may change it while its checksum is made,
 * then into the ring. A large one goes through a buffer of this process in pieces, with its
 * checksum made on the way, into a granted segment. The entries of a whole write are published
 * under one hold of the lock, up to BATCH of them, so that what several processes append does not
 * mix.
 */
#include "boards.h"
#include "cache.h"
#include "connection.h"
#include "core.h"
#include "crc32c.h"
#include "grant.h"
#include "interrupts.h"
#include "kernel.h"

#include <errno.h>
#include <string.h>

/* A server takes large payloads off the disk faster than out of the ring: while this much waits in
   the ring, only writes of up to SMALL_BYTES go into it. */
#define SMALL_BYTES 256u
#define BACKLOG_BYTES (1u << 20)
/* Beyond KG_INLINE_MAX it does not lie on the stack meanwhile. A file of a few such writes needs no
   grant, a stream of them goes into segments, whose records are longer. */
#define STAGED_BYTES (16u << 10)
#define STAGED_BACKLOG_BYTES (128u << 10)
#define BATCH 8
#define SIZE_MAX_BYTES ((1ull << 53) - 1)

struct target {
  struct kg_process *process;
  struct kg_board *board;
  struct kg_slot *slot;
  struct kg_ref ref;
  uint64_t signals; /* that were blocked before ours, once they are */
  uint64_t offset;
  bool append;
  bool is_shut;
};

/* Blocks signals: whoever waits, or whose program handles them. */
static void shut_out(struct target *target) {
  if (target->is_shut) return;
  target->signals = kg_signals_block();
  target->is_shut = true;
}

static void shut_out_handlers(struct target *target) {
  if (!kg_is_undisturbed(target->process)) shut_out(target);
}

static void let_in(const struct target *target) {
  if (target->is_shut) kg_signals_restore(target->signals);
}

static int wait_for_room(struct target *target) {
  shut_out(target);
  return kg_ring_wait(target->board, target->signals);
}

/* A buffer of this process; NULL: all are in use, and there is no memory for another. */
struct stage {
  uint8_t *bytes;
  int place; /* -1: mapped for this once */
};

static struct stage take_stage(struct kg_process *process) {
  uint8_t *memory = kg_stage_memory();
  uint32_t used = atomic_load(&process->stages);
  while (memory != NULL && used != (1u << KG_STAGES) - 1) {
    int place = __builtin_ctz(~used);
    if (atomic_compare_exchange_weak(&process->stages, &used, used | 1u << place))
      return (struct stage){memory + (size_t)place * KG_STAGE_BYTES, place};
  }
  return (struct stage){kg_map(KG_STAGE_BYTES, -1), -1};
}

static void give_stage(struct kg_process *process, struct stage stage) {
  if (stage.place >= 0)
    atomic_fetch_and(&process->stages, ~(1u << stage.place));
  else
    kg_unmap(stage.bytes, KG_STAGE_BYTES);
}

static int write_whole(int fd, const uint8_t *bytes, size_t count, uint64_t offset) {
  while (count > 0) {
    long written = kg_file_pwrite(fd, bytes, count, offset);
    if (written == -EINTR) continue;
    if (written <= 0) return written == 0 ? EIO : (int)-written;
    bytes += written;
    offset += (uint64_t)written;
    count -= (size_t)written;
  }
  return 0;
}

/* A piece of a segment with `bytes` in it, and its checksum. */
static int fill_piece(struct kg_process *process, const uint8_t *bytes, struct kg_piece *piece,
                      uint32_t *crc) {
  struct stage stage = take_stage(process);
  if (stage.bytes == NULL) return ENOMEM;
  int problem = 0;
  *crc = 0;
  for (uint32_t at = 0; at < piece->bytes && problem == 0; at += KG_STAGE_BYTES) {
    uint32_t part = piece->bytes - at < KG_STAGE_BYTES ? piece->bytes - at : KG_STAGE_BYTES;
    *crc = kg_crc32c_copy(*crc, stage.bytes, bytes + at, part);
    problem = write_whole(piece->fd, stage.bytes, part, piece->offset + at);
  }
  give_stage(process, stage);
  return problem;
}

struct batch {
  struct kg_piece pieces[BATCH];
  uint32_t crcs[BATCH];
  int count;
  uint64_t bytes;
};

static void give_back(struct batch *batch) {
  for (int i = 0; i < batch->count; i++) kg_piece_done(&batch->pieces[i]);
  batch->count = 0;
  batch->bytes = 0;
}

/* Fills pieces with as much of `bytes` as fits a batch. A disk that is full is the server's matter:
   it gives no room then, so a failure here is tried again with another grant. */
static int fill_batch(struct target *target, const uint8_t *bytes, size_t count,
                      struct batch *batch) {
  struct kg_process *process = target->process;
  int failures = 0;
  while (batch->count < BATCH && batch->bytes < count) {
    struct kg_piece *piece = &batch->pieces[batch->count];
    size_t left = count - batch->bytes;
    uint32_t wanted = left < KG_PAYLOAD_MAX ? (uint32_t)left : KG_PAYLOAD_MAX;
    if (!kg_piece_try(process, wanted, piece)) {
      shut_out(target);
      int problem = kg_piece_take(process, wanted, target->signals, piece);
      if (problem != 0) return problem;
    }
    int problem = fill_piece(process, bytes + batch->bytes, piece, &batch->crcs[batch->count]);
    if (problem != 0) {
      kg_piece_done(piece);
      if (problem == EFAULT || problem == ENOMEM || failures++ > 600) return problem;
      kg_grant_drop(process);
      shut_out(target);
      kg_signals_yield(target->signals);
      kg_sleep_ms(failures > 1 ? 500 : 1);
      continue;
    }
    batch->count++;
    batch->bytes += piece->bytes;
  }
  return 0;
}

enum outcome { PUBLISHED, FULL, VOID, WRONG };

/* The pieces of a batch behind one another, as many as there is room for; from *done on. */
static enum outcome publish(struct kg_board *board, struct kg_ref ref, const struct batch *batch,
                            uint64_t offset, int *done) {
  uint64_t incarnation = atomic_load(&board->header->incarnation);
  for (int i = *done; i < batch->count; i++)
    if (batch->pieces[i].incarnation != incarnation) return VOID;
  int64_t now_ns = kg_wall_ns();
  for (int i = 0; i < *done; i++) offset += batch->pieces[i].bytes;
  for (; *done < batch->count; ++*done) {
    const struct kg_piece *piece = &batch->pieces[*done];
    struct kg_put put = {.kind = KG_ENTRY_SEGMENT,
                         .ref = ref,
                         .offset = offset,
                         .count = piece->bytes,
                         .crc = batch->crcs[*done],
                         .segment = piece->segment,
                         .segment_offset = piece->offset};
    if (!kg_ring_put(board, &put, now_ns)) return FULL;
    offset += piece->bytes;
  }
  return PUBLISHED;
}

/* Is the slot still the file's? Under the lock. */
static bool is_live(const struct kg_board *board, struct kg_ref ref, const struct kg_slot *slot) {
  return kg_slot_of(board, ref) == slot &&
         (atomic_load_explicit(&slot->flags, memory_order_relaxed) & KG_SLOT_REMOVED) == 0;
}

/* Publishes a batch, waiting for room. *done pieces are in the ring then; the rest is void. */
static int publish_batch(struct target *target, struct batch *batch, int *done) {
  struct kg_board *board = target->board;
  enum outcome outcome = FULL;
  *done = 0;
  while (outcome == FULL) {
    int problem = kg_board_lock(board);
    if (problem != 0) return problem;
    if (!is_live(board, target->ref, target->slot)) {
      kg_board_unlock(board);
      return ESTALE;
    }
    if (target->append && *done == 0) target->offset = atomic_load(&target->slot->size);
    int first = *done;
    uint64_t before = atomic_load(&target->slot->version);
    outcome = publish(board, target->ref, batch, target->offset, done);
    uint64_t after = atomic_load(&target->slot->version);
    kg_board_unlock(board);
    if (outcome == PUBLISHED && after == before + (uint64_t)(batch->count - first))
      kg_cache_keep(target->process, board, target->ref, target->offset, batch->bytes, before,
                    after);
    if (outcome != FULL) break;
    problem = wait_for_room(target);
    if (problem != 0) return problem;
  }
  return 0;
}

static int write_large(struct target *target, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    struct batch batch = {.count = 0};
    int done = 0;
    int problem = fill_batch(target, bytes, count, &batch);
    if (problem == 0) problem = publish_batch(target, &batch, &done);
    uint64_t written = 0;
    for (int i = 0; i < done; i++) written += batch.pieces[i].bytes;
    bool is_void = done < batch.count;
    give_back(&batch);
    if (problem != 0) return problem;
    /* Another server: the payload has to lie in a grant of that one. */
    if (is_void) kg_grant_drop(target->process);
    bytes += written;
    count -= written;
    target->offset += written;
    kg_ring_nudge(target->board);
  }
  return 0;
}

static int write_small(struct target *target, const void *bytes, uint32_t count, uint32_t crc) {
  struct kg_board *board = target->board;
  struct kg_put put = {
      .kind = KG_ENTRY_INLINE, .ref = target->ref, .bytes = bytes, .count = count, .crc = crc};
  int64_t now_ns = kg_wall_ns();
  for (;;) {
    int problem = kg_board_lock(board);
    if (problem != 0) return problem;
    bool live = is_live(board, target->ref, target->slot);
    if (live && target->append) target->offset = atomic_load(&target->slot->size);
    put.offset = target->offset;
    uint64_t before = atomic_load_explicit(&target->slot->version, memory_order_relaxed);
    bool is_put = live && kg_ring_put(board, &put, now_ns);
    uint64_t after = atomic_load_explicit(&target->slot->version, memory_order_relaxed);
    kg_board_unlock(board);
    if (!live) return ESTALE;
    if (is_put) {
      if (after == before + 1)
        kg_cache_patch(target->process, board, target->ref, target->offset, bytes, count, before);
      target->offset += count;
      kg_ring_nudge(board);
      return 0;
    }
    problem = wait_for_room(target);
    if (problem != 0) return problem;
  }
}

/* With a buffer of this process for what a handler's stack may have no room for. */
static int write_staged(struct target *target, const void *bytes, uint32_t count) {
  struct stage stage = take_stage(target->process);
  if (stage.bytes == NULL) return ENOMEM;
  uint32_t crc = kg_crc32c_copy(0, stage.bytes, bytes, count);
  int problem = write_small(target, stage.bytes, count, crc);
  give_stage(target->process, stage);
  return problem;
}

static int begin(struct target *target, struct kg_ref ref) {
  target->process = kg_process();
  target->ref = ref;
  int problem = kg_slot_find(&target->ref, &target->board, &target->slot);
  if (problem != 0) return problem;
  if (target->slot->kind == KG_SLOT_DIRECTORY) return EISDIR;
  /* The end of a file that others changed is not what the slot says. */
  struct kg_facts facts;
  bool is_stale = (atomic_load(&target->slot->flags) & KG_SLOT_STALE) != 0;
  return is_stale && target->append ? kg_facts_of(target->ref, &facts) : 0;
}

static bool is_small(const struct kg_board *board, size_t count) {
  if (count <= SMALL_BYTES) return true;
  const struct kg_board_header *header = board->header;
  uint64_t backlog = atomic_load_explicit(&header->tail, memory_order_relaxed) -
                     atomic_load_explicit(&header->head, memory_order_relaxed);
  if (count <= KG_INLINE_MAX) return backlog < BACKLOG_BYTES;
  return count <= STAGED_BYTES && backlog < STAGED_BACKLOG_BYTES;
}

int kg_write(struct kg_ref ref, const void *bytes, size_t count, uint64_t offset, bool append,
             uint64_t *end) {
  struct target target = {.offset = offset, .append = append};
  int problem = begin(&target, ref);
  if (problem != 0) return problem;
  if (!append && (offset > SIZE_MAX_BYTES || count > SIZE_MAX_BYTES - offset)) return EFBIG;
  if (count == 0) {
    if (append) target.offset = atomic_load(&target.slot->size);
  } else {
    kg_note_change(target.process);
    bool small = is_small(target.board, count);
    if (small && count <= KG_INLINE_MAX) {
      uint8_t copy[KG_INLINE_MAX];
      memcpy(copy, bytes, count);
      shut_out_handlers(&target);
      problem = write_small(&target, copy, (uint32_t)count, 0);
    } else if (small) {
      shut_out_handlers(&target);
      problem = write_staged(&target, bytes, (uint32_t)count);
    } else {
      shut_out_handlers(&target);
      problem = write_large(&target, bytes, count);
    }
    let_in(&target);
  }
  if (problem == 0 && end != NULL) *end = target.offset;
  return problem;
}

/* An entry without payload. */
static int put_plain(struct target *target, struct kg_put *put) {
  kg_note_change(target->process);
  put->ref = target->ref;
  shut_out_handlers(target);
  int problem;
  for (;;) {
    problem = kg_board_lock(target->board);
    if (problem != 0) break;
    bool live = is_live(target->board, target->ref, target->slot);
    bool is_put = live && kg_ring_put(target->board, put, kg_wall_ns());
    kg_board_unlock(target->board);
    problem = live ? 0 : ESTALE;
    if (is_put) kg_ring_nudge(target->board);
    if (is_put || problem != 0) break;
    problem = wait_for_room(target);
    if (problem != 0) break;
  }
  let_in(target);
  return problem;
}

int kg_truncate(struct kg_ref ref, uint64_t size) {
  struct target target = {0};
  int problem = begin(&target, ref);
  if (problem != 0) return problem;
  if (size > SIZE_MAX_BYTES) return EFBIG;
  struct kg_put put = {.kind = KG_ENTRY_TRUNCATE, .offset = size};
  return put_plain(&target, &put);
}

int kg_set(struct kg_ref ref, uint32_t flags, uint32_t mode, int64_t mtime_ns, int64_t atime_ns) {
  struct target target = {0};
  int problem = begin(&target, ref);
  if (problem == EISDIR) {
    struct kg_place place;
    struct kg_change change = {
        .kind = KG_SET, .flags = flags, .mode = mode, .mtime_ns = mtime_ns, .atime_ns = atime_ns};
    problem = kg_place_of(ref, &place);
    return problem == 0 ? kg_change(&place, NULL, &change) : problem;
  }
  if (problem != 0) return problem;
  struct kg_put put = {.kind = KG_ENTRY_ATTRIBUTES,
                       .flags = (uint16_t)flags,
                       .mode = mode,
                       .segment = (uint64_t)mtime_ns,
                       .segment_offset = (uint64_t)atime_ns};
  return put_plain(&target, &put);
}
