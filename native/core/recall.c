/*
 * Names without the server: see recall.h and known.h.
 *
 * A file is made under the lock of the board: its row, which says from then on that the name has to
 * be asked for; its entry in the ring, with which it exists; then the row says what it is. Who dies
 * in between has made the file or not, and a name that is asked for is right either way.
 */
#include "recall.h"

#include "boards.h"
#include "kernel.h"
#include "known.h"
#include "process.h"

#include <errno.h>
#include <string.h>

static struct kg_keys keys_of(const struct kg_place *place) {
  return kg_keys_of(place->name, strlen(place->name), place->path, strlen(place->path));
}

/* The slot counts before its row. False: it is not that file's any more, or not up to date. */
static bool ask_slot(const struct kg_board *board, struct kg_ref ref, struct kg_facts *facts) {
  struct kg_slot *slot = kg_slot_of(board, ref);
  if (slot == NULL || slot->kind == KG_SLOT_FREE || atomic_load(&slot->flags) != 0) return false;
  facts->size = atomic_load(&slot->size);
  facts->mode = slot->mode & 07777;
  facts->mtime_ns = slot->mtime_ns;
  return true;
}

static enum kg_recalled recall(const struct kg_board *board, const struct kg_keys *keys,
                               struct kg_facts *facts, struct kg_ref *ref) {
  struct kg_known known;
  int64_t now_ms = kg_now_ms();
  if (!kg_known_row(board->header, keys->name, &known)) {
    bool is_known = keys->has_parent && kg_known_row(board->header, keys->parent, &known) &&
                    known.kind == KG_DIRECTORY && known.names_until_ms > now_ms;
    return is_known ? KG_RECALLED_ABSENT : KG_ASK;
  }
  if (known.until_ms <= now_ms) return KG_ASK;
  if (known.kind == KG_ABSENT) return KG_RECALLED_ABSENT;
  *facts = (struct kg_facts){.kind = (enum kg_kind)known.kind,
                             .size = known.size,
                             .mode = known.mode & 07777,
                             .mtime_ns = known.mtime_ns,
                             .ino = kg_ino_of(keys->name)};
  *ref = (struct kg_ref){known.slot, known.generation};
  return ref->generation == 0 || ask_slot(board, *ref, facts) ? KG_RECALLED : KG_ASK;
}

enum kg_recalled kg_recall(const struct kg_place *place, struct kg_facts *facts,
                           struct kg_ref *ref) {
  const struct kg_board *board = kg_board();
  struct kg_keys keys = keys_of(place);
  return board == NULL ? KG_ASK : recall(board, &keys, facts, ref);
}

/* May a file be made there? Under the lock. `unsure`: a destination nobody could ask has it. */
static bool may_make(const struct kg_board *board, const struct kg_keys *keys, bool *unsure) {
  struct kg_known parent, known;
  int64_t now_ms = kg_now_ms();
  if (!keys->has_parent || !kg_known_row(board->header, keys->parent, &parent)) return false;
  if (parent.kind != KG_DIRECTORY) return false;
  bool has_all = parent.names_until_ms > now_ms;
  *unsure = (parent.flags & KG_ROW_UNSURE) != 0;
  if (!kg_known_row(board->header, keys->name, &known)) return has_all;
  *unsure = *unsure || (known.flags & KG_ROW_UNSURE) != 0;
  if (known.until_ms <= now_ms || known.kind != KG_ABSENT) return false;
  return has_all || parent.until_ms > now_ms;
}

/* A spare slot becomes that file's. NULL: there is none. */
static struct kg_slot *fill_slot(const struct kg_board *board, const struct kg_place *place,
                                 uint32_t mode, uint64_t ino, uint32_t *number) {
  struct kg_board_header *header = board->header;
  if (header->spares_taken == header->spares_given) return NULL;
  const uint32_t *spares = (const uint32_t *)((char *)header + header->spares_at);
  *number = spares[header->spares_taken % KG_SPARES];
  size_t name = strlen(place->name), path = strlen(place->path);
  struct kg_slot *slot = kg_slot_at(board, *number);
  if (*number >= header->slot_count || path >= sizeof slot->path) return NULL;
  memcpy(slot->name, place->name, name + 1);
  memcpy(slot->path, place->path, path + 1);
  slot->name_bytes = (uint16_t)name;
  slot->path_bytes = (uint16_t)path;
  slot->ino = ino;
  slot->mode = mode;
  slot->mtime_ns = kg_wall_ns();
  atomic_store(&slot->size, 0);
  atomic_store(&slot->flags, 0);
  atomic_store(&slot->opened_ms, kg_now_ms());
  /* Who dies here leaves a slot that stands for nothing, and is the next one's to fill. */
  slot->kind = KG_SLOT_FILE;
  return slot;
}

/* Under the lock; EAGAIN when it cannot be done here. */
static int make(struct kg_board *board, const struct kg_place *place, uint32_t flags, uint32_t mode,
                struct kg_ref *ref, struct kg_facts *facts) {
  struct kg_keys keys = keys_of(place);
  bool unsure;
  uint32_t number;
  if (atomic_load(&board->header->incarnation) == 0) return EAGAIN;
  if (!may_make(board, &keys, &unsure)) return EAGAIN;
  struct kg_slot *slot = fill_slot(board, place, mode, kg_ino_of(keys.name), &number);
  if (slot == NULL) return EAGAIN;
  *ref = (struct kg_ref){number, atomic_load(&slot->generation)};
  kg_known_ask(board->header, keys.name);
  bool cuts = unsure && (flags & KG_OPEN_TRUNCATE) != 0;
  struct kg_put put = {
      .kind = KG_ENTRY_CREATE, .flags = cuts ? KG_CUT_FIRST : 0, .mode = mode, .ref = *ref};
  if (!kg_ring_put(board, &put, slot->mtime_ns)) {
    slot->kind = KG_SLOT_FREE;
    return EAGAIN;
  }
  *facts = (struct kg_facts){
      .kind = KG_FILE, .mode = mode, .mtime_ns = slot->mtime_ns, .ino = slot->ino};
  struct kg_known known = {.until_ms = kg_now_ms() + KG_LEASE_MS,
                           .mtime_ns = slot->mtime_ns,
                           .slot = number,
                           .generation = ref->generation,
                           .mode = mode,
                           .kind = KG_FILE};
  kg_known_put(board->header, keys.name, &known);
  return 0;
}

bool kg_is_current(struct kg_ref ref) {
  const struct kg_board *board = kg_board();
  atomic_thread_fence(memory_order_seq_cst);
  const struct kg_slot *slot = board == NULL ? NULL : kg_slot_of(board, ref);
  return slot != NULL && *(const volatile uint32_t *)&slot->kind != KG_SLOT_FREE;
}

/* Says that it is open again, so that its slot is kept. False: it is being taken back just now. */
static bool keep_slot(const struct kg_board *board, struct kg_ref ref) {
  atomic_store(&kg_slot_at(board, ref.slot)->opened_ms, kg_now_ms());
  return kg_is_current(ref);
}

/* By the rules of open(2), of what is there. */
static int may_open(const struct kg_facts *facts, uint32_t flags) {
  if ((flags & KG_OPEN_CREATE) != 0 && (flags & KG_OPEN_EXCLUSIVE) != 0) return EEXIST;
  uint32_t changing = KG_OPEN_CREATE | KG_OPEN_TRUNCATE | KG_OPEN_WRITE;
  if (facts->kind == KG_DIRECTORY) return (flags & changing) != 0 ? EISDIR : 0;
  return (flags & KG_OPEN_DIRECTORY) != 0 ? ENOTDIR : 0;
}

int kg_recall_open(const struct kg_place *place, uint32_t flags, uint32_t mode, struct kg_ref *ref,
                   struct kg_facts *facts) {
  struct kg_board *board = kg_board();
  enum kg_recalled recalled = kg_recall(place, facts, ref);
  if (recalled == KG_RECALLED) {
    int problem = may_open(facts, flags);
    if (problem != 0) return problem;
    if (ref->generation == 0 || !keep_slot(board, *ref)) return EAGAIN;
    if ((flags & KG_OPEN_TRUNCATE) == 0) return 0;
    facts->size = 0;
    problem = kg_truncate(*ref, 0);
    return problem == ESTALE ? EAGAIN : problem;
  }
  if (recalled == KG_ASK) return EAGAIN;
  if ((flags & KG_OPEN_CREATE) == 0) return ENOENT;
  kg_note_change(kg_process());
  uint64_t signals = kg_signals_block();
  int problem = kg_board_lock(board);
  if (problem == 0) {
    problem = make(board, place, flags, mode & 0777, ref, facts);
    kg_board_unlock(board);
  }
  kg_signals_restore(signals);
  if (problem == 0) kg_ring_nudge(board);
  return problem;
}
