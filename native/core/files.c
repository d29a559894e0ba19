/*
 * Names and facts of files: each is one exchange with the server at most, and none where the rows
 * of the board know (recall.h). Barriers are here too.
 *
 * Requests that change something are numbered by their connection, and asked again under the same
 * number when it was lost: they are done once.
 */
#include "boards.h"
#include "connection.h"
#include "core.h"
#include "fate.h"
#include "kernel.h"
#include "names.h"
#include "recall.h"

#include <errno.h>
#include <string.h>

/* As many names as fit the buffer of a connection, however long they are. */
#define LIST_MAX 384

#define TEXT(s) KG_B(s, strlen(s))

void kg_note_change(struct kg_process *process) {
  atomic_fetch_add_explicit(&process->changes, 1, memory_order_relaxed);
}

bool kg_is_dirty(void) {
  struct kg_process *process = kg_process();
  return atomic_load(&process->changes) != atomic_load(&process->committed);
}

static enum kg_kind kind_of(uint64_t number) {
  return number <= KG_OTHER ? (enum kg_kind)number : KG_OTHER;
}

/* One numbered or plain call with a deadline, whose answer has no text. */
static int ask(enum kg_message type, struct kg_value *values, int timeout_at, bool numbered,
               enum kg_message answer, struct kg_value *reply) {
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_CALLS);
  if (problem != 0) return problem;
  call.timeout_at = timeout_at;
  call.numbered = numbered;
  /* A name that nobody can be asked about counts as absent (decision 4). */
  call.away = type == KG_STAT ? ENOENT : 0;
  problem = kg_call(&call, type, values, answer, reply);
  kg_call_end(&call);
  return problem;
}

int kg_open(const struct kg_place *place, uint32_t flags, uint32_t mode, struct kg_ref *ref,
            struct kg_facts *facts) {
  int known = kg_recall_open(place, flags, mode, ref, facts);
  if (known != EAGAIN) return known;
  bool changes = (flags & (KG_OPEN_CREATE | KG_OPEN_TRUNCATE)) != 0;
  struct kg_value values[] = {KG_N(0),           TEXT(place->name),  TEXT(place->path),
                              KG_N(flags & 255), KG_N(mode & 07777), KG_N(0)};
  struct kg_value opened[7];
  if (changes) kg_note_change(kg_process());
  int problem = ask(KG_OPEN, values, 5, changes, KG_OPENED, opened);
  if (problem != 0) return problem;
  ref->slot = (uint32_t)opened[0].number;
  ref->generation = (uint32_t)opened[1].number;
  facts->kind = kind_of(opened[2].number);
  facts->size = opened[3].number;
  facts->mode = (uint32_t)opened[4].number & 07777;
  facts->mtime_ns = (int64_t)opened[5].number;
  facts->ino = opened[6].number;
  struct kg_board *board = kg_board();
  return board == NULL || kg_slot_of(board, *ref) == NULL ? EIO : 0;
}

int kg_stat(const struct kg_place *place, struct kg_facts *facts) {
  struct kg_ref ref;
  enum kg_recalled recalled = kg_recall(place, facts, &ref);
  if (recalled != KG_ASK) return recalled == KG_RECALLED ? 0 : ENOENT;
  struct kg_value values[] = {TEXT(place->name), TEXT(place->path), KG_N(0), KG_N(0)};
  struct kg_value found[5];
  int problem = ask(KG_STAT, values, 2, false, KG_FOUND, found);
  if (problem != 0) return problem;
  if (found[0].number == KG_ABSENT) return ENOENT;
  facts->kind = kind_of(found[0].number);
  facts->size = found[1].number;
  facts->mode = (uint32_t)found[2].number & 07777;
  facts->mtime_ns = (int64_t)found[3].number;
  facts->ino = kg_names_ino(place->name, place->path, strlen(place->path));
  return 0;
}

/* Hands out one row. False: it is not one. */
static bool list_row(const struct kg_place *place, const uint8_t **at, const uint8_t *end,
                     void (*each)(void *, const char *, const struct kg_facts *), void *context) {
  struct kg_value row[5];
  struct kg_facts facts;
  char name[KG_PATH_MAX + KG_NAME_MAX + 2];
  size_t directory = strlen(place->path);
  if (kg_decode(KG_LISTED_ROW, at, end, row) != 0 || row[0].count > KG_NAME_MAX) return false;
  char *last = name;
  if (directory > 0) {
    memcpy(name, place->path, directory);
    name[directory] = '/';
    last += directory + 1;
  }
  memcpy(last, row[0].bytes, row[0].count);
  last[row[0].count] = '\0';
  facts.kind = kind_of(row[1].number);
  facts.size = row[2].number;
  facts.mode = (uint32_t)row[3].number & 07777;
  facts.mtime_ns = (int64_t)row[4].number;
  facts.ino = kg_names_ino(place->name, name, strlen(name));
  each(context, last, &facts);
  return true;
}

int kg_list(const struct kg_place *place, const char *after, bool *more,
            void (*each)(void *context, const char *name, const struct kg_facts *facts),
            void *context) {
  struct kg_value values[] = {TEXT(place->name), TEXT(place->path), TEXT(after),
                              KG_N(LIST_MAX),    KG_N(0),           KG_N(0)};
  struct kg_value listed[2];
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_CALLS);
  if (problem != 0) return problem;
  call.timeout_at = 4;
  call.away = ETIMEDOUT;
  problem = kg_call(&call, KG_LIST, values, KG_LISTED, listed);
  if (problem == 0) {
    *more = listed[0].number != 0;
    for (uint64_t i = 0; i < listed[1].number && problem == 0; i++)
      if (!list_row(place, &call.rest, call.rest_end, each, context)) problem = EIO;
  }
  kg_call_end(&call);
  return problem;
}

int kg_change(const struct kg_place *place, const struct kg_place *to,
              const struct kg_change *change) {
  if (to != NULL && strcmp(to->name, place->name) != 0) return EXDEV;
  const char *path2 = to == NULL ? "" : to->path;
  struct kg_value values[] = {KG_N(0),
                              KG_N(change->kind),
                              KG_N(change->flags & 0xffff),
                              TEXT(place->name),
                              TEXT(place->path),
                              TEXT(path2),
                              KG_N(change->mode & 07777),
                              KG_N(change->size),
                              KG_N(change->mtime_ns),
                              KG_N(change->atime_ns),
                              KG_N(0)};
  kg_note_change(kg_process());
  return ask(KG_CHANGE, values, 10, true, KG_DONE, NULL);
}

int kg_place_of(struct kg_ref ref, struct kg_place *place) {
  struct kg_board *board;
  struct kg_slot *slot;
  int problem = kg_slot_find(&ref, &board, &slot);
  if (problem != 0) return problem;
  uint64_t signals = kg_signals_block();
  problem = kg_board_lock(board);
  if (problem == 0) {
    size_t name = slot->name_bytes, path = slot->path_bytes;
    if (name > KG_NAME_MAX || path > KG_PATH_MAX || kg_slot_of(board, ref) != slot) {
      problem = ESTALE;
    } else {
      memcpy(place->name, slot->name, name);
      place->name[name] = '\0';
      memcpy(place->path, slot->path, path);
      place->path[path] = '\0';
    }
    kg_board_unlock(board);
  }
  kg_signals_restore(signals);
  return problem;
}

int kg_facts_of(struct kg_ref ref, struct kg_facts *facts) {
  struct kg_board *board;
  struct kg_slot *slot;
  int problem = kg_slot_find(&ref, &board, &slot);
  if (problem != 0) return problem;
  if ((atomic_load(&slot->flags) & KG_SLOT_STALE) != 0) {
    /* Opening it once more brings its slot up to date, for everybody who has it open. */
    struct kg_place place;
    struct kg_ref same;
    problem = kg_place_of(ref, &place);
    uint32_t flags = slot->kind == KG_SLOT_DIRECTORY ? KG_OPEN_DIRECTORY : 0;
    if (problem == 0) problem = kg_open(&place, flags, 0, &same, facts);
    if (problem == ENOENT) return ESTALE;
    if (problem != 0) return problem;
    bool is_same = same.slot == ref.slot && same.generation == ref.generation;
    if (!is_same) return ESTALE;
  }
  facts->kind = slot->kind == KG_SLOT_DIRECTORY ? KG_DIRECTORY : KG_FILE;
  facts->size = atomic_load(&slot->size);
  facts->mode = slot->mode & 07777;
  facts->mtime_ns = slot->mtime_ns;
  facts->ino = slot->ino;
  return 0;
}

int kg_push(const struct kg_place *place) {
  static const uint8_t nobody[16];
  char target[KG_ADDRESS_MAX];
  size_t length = kg_names_address(place, target);
  struct kg_value values[] = {KG_B(target, length), KG_B(nobody, 16), KG_N(0), KG_N(0)};
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_PUSHES);
  if (problem != 0) return problem;
  call.patient = true;
  call.timeout_at = 2;
  problem = kg_call(&call, KG_PUSH, values, KG_DONE, NULL);
  kg_call_end(&call);
  return problem;
}

int kg_commit(void) {
  struct kg_process *process = kg_process();
  uint64_t changes = atomic_load(&process->changes);
  if (changes == atomic_load(&process->committed)) return 0;
  struct kg_value values[1], committed[1];
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_CALLS);
  if (problem != 0) return problem;
  /* Syncing a slow disk may take longer than anybody waits for a server that is gone. */
  call.patient = true;
  values[0] = KG_N(call.link->answered);
  problem = kg_call(&call, KG_COMMIT, values, KG_COMMITTED, committed);
  kg_call_end(&call);
  if (problem == 0) {
    uint64_t before = atomic_load(&process->committed);
    while (before < changes && !atomic_compare_exchange_weak(&process->committed, &before, changes))
      continue;
  } else {
    kg_fate_again("the server is gone, and this program has written what it has not");
  }
  return problem;
}
