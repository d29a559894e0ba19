/*
 * The mapped board, its lock, and refs of a board that is no more: see boards.h.
 */
#include "boards.h"

#include "connection.h"
#include "core.h"
#include "fate.h"
#include "kernel.h"
#include "known.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define BOARDS 4
#define AGAIN_MAX 256

static struct kg_board boards[BOARDS];
static _Atomic int board_count;
static _Atomic(struct kg_board *) current;
static _Atomic uint32_t meeting; /* lock: the process that maps one */

/* Refs of earlier boards and what they are on the present one. */
static struct {
  _Atomic uint64_t key; /* of the old ref; 0: free */
  struct kg_board *board;
  struct kg_ref ref;
} again[AGAIN_MAX];

struct kg_board *kg_board(void) {
  return atomic_load_explicit(&current, memory_order_acquire);
}

int kg_board_need(struct kg_board **board) {
  *board = kg_board();
  if (__builtin_expect(*board != NULL, 1)) return 0;
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_CALLS);
  if (problem != 0) return problem;
  problem = kg_call_connect(&call);
  kg_call_end(&call);
  *board = kg_board();
  return problem == 0 && *board == NULL ? EIO : problem;
}

int kg_board_id(char hex[33]) {
  struct kg_board *board;
  int problem = kg_board_need(&board);
  if (problem == 0) memcpy(hex, board->hex, sizeof board->hex);
  return problem;
}

static bool is_sound(const struct kg_board_header *header, uint64_t bytes) {
  if (header->magic != KG_BOARD_MAGIC || header->version != KG_BOARD_VERSION) return false;
  if (header->slot_bytes != KG_SLOT_BYTES || header->slots_at > bytes) return false;
  if (header->slot_count > (bytes - header->slots_at) / KG_SLOT_BYTES) return false;
  if (!kg_known_fits(header, bytes)) return false;
  uint64_t spares = KG_SPARES * sizeof(uint32_t);
  if (header->spares_at > bytes - spares || header->spares_at % 4 != 0) return false;
  uint64_t ring = header->ring_bytes;
  if (ring < 2 * KG_INLINE_ROOM_MAX || (ring & (ring - 1)) != 0) return false;
  return header->ring_at <= bytes && ring <= bytes - header->ring_at;
}

static int map_board(int fd, struct kg_board *board) {
  struct stat facts;
  if (KG_KERNEL2(SYS_fstat, fd, &facts) != 0) return EIO;
  if (!S_ISREG(facts.st_mode) || facts.st_uid != (uid_t)KG_KERNEL0(SYS_geteuid)) return EACCES;
  board->dev = facts.st_dev;
  board->ino = facts.st_ino;
  board->bytes = (uint64_t)facts.st_size;
  struct kg_board *present = kg_board();
  if (present != NULL && present->dev == board->dev && present->ino == board->ino) return EALREADY;
  if (board->bytes < KG_HEADER_BYTES) return EPROTO;
  board->header = kg_map(board->bytes, fd);
  if (board->header == NULL) return ENOMEM;
  if (!is_sound(board->header, board->bytes)) {
    kg_unmap(board->header, board->bytes);
    return EPROTO;
  }
  for (int i = 0; i < 16; i++) {
    board->hex[2 * i] = "0123456789abcdef"[board->header->board_id[i] >> 4];
    board->hex[2 * i + 1] = "0123456789abcdef"[board->header->board_id[i] & 15];
  }
  return 0;
}

/* Makes it the one in use; nobody else does so meanwhile. */
static int adopt(struct kg_board *made) {
  struct kg_board *present = kg_board();
  if (present != NULL && memcmp(present->hex, made->hex, sizeof made->hex) != 0)
    kg_fate_again("the server came back without what this program has written");
  int count = atomic_load(&board_count);
  if (count == BOARDS) return ENOMEM;
  boards[count] = *made;
  boards[count].before = present;
  atomic_store(&board_count, count + 1);
  atomic_store_explicit(&current, &boards[count], memory_order_release);
  return 0;
}

int kg_board_meet(const char *path, size_t path_bytes) {
  char name[KG_PATH_MAX + 1];
  if (path_bytes >= sizeof name) return ENAMETOOLONG;
  memcpy(name, path, path_bytes);
  name[path_bytes] = '\0';
  int fd = kg_file_open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0);
  if (fd < 0) return KG_LOST;
  uint32_t mine = (uint32_t)kg_pid(), holder = 0;
  while (!atomic_compare_exchange_weak(&meeting, &holder, mine)) {
    if (holder != 0 && !kg_is_alive((int)holder))
      atomic_store(&meeting, 0);
    else if (holder != 0)
      kg_sleep_ms(1);
    holder = 0;
  }
  struct kg_board made = {0};
  int problem = map_board(fd, &made);
  if (problem == 0) {
    problem = adopt(&made);
    if (problem != 0) kg_unmap(made.header, made.bytes);
  }
  atomic_store(&meeting, 0);
  kg_close(fd);
  if (problem == EALREADY) return 0;
  if (problem == EPROTO)
    return kg_fate_never("the server's board is not one that this release knows", problem);
  return problem;
}

/* A ref of an earlier board: the same file on the present one. */
static int open_again(struct kg_ref *ref, struct kg_board *present) {
  uint64_t key = (uint64_t)ref->generation << 32 | (ref->slot + 1);
  unsigned at = (unsigned)((key * 0x9e3779b97f4a7c15ull) >> 56) % AGAIN_MAX;
  if (atomic_load(&again[at].key) == key && again[at].board == present) {
    *ref = again[at].ref;
    return 0;
  }
  const struct kg_board *old = present->before;
  struct kg_slot *slot = NULL;
  for (; old != NULL && slot == NULL; old = old->before) slot = kg_slot_of(old, *ref);
  if (slot == NULL || (atomic_load(&slot->flags) & KG_SLOT_REMOVED) != 0) return ESTALE;
  struct kg_place place;
  if (slot->name_bytes > KG_NAME_MAX || slot->path_bytes > KG_PATH_MAX) return ESTALE;
  memcpy(place.name, slot->name, slot->name_bytes);
  place.name[slot->name_bytes] = '\0';
  memcpy(place.path, slot->path, slot->path_bytes);
  place.path[slot->path_bytes] = '\0';
  uint32_t flags = slot->kind == KG_SLOT_DIRECTORY ? KG_OPEN_DIRECTORY : 0;
  struct kg_facts facts;
  struct kg_ref fresh;
  int problem = kg_open(&place, flags, 0, &fresh, &facts);
  if (problem != 0) return problem == ENOENT ? ESTALE : problem;
  atomic_store(&again[at].key, 0);
  again[at].board = present;
  again[at].ref = fresh;
  atomic_store(&again[at].key, key);
  *ref = fresh;
  return 0;
}

int kg_slot_find(struct kg_ref *ref, struct kg_board **board, struct kg_slot **slot) {
  int problem = kg_board_need(board);
  if (problem != 0) return problem;
  *slot = kg_slot_of(*board, *ref);
  if (__builtin_expect(*slot == NULL, 0)) {
    if ((*board)->before == NULL) return ESTALE;
    problem = open_again(ref, *board);
    if (problem != 0) return problem;
    *board = kg_board();
    *slot = kg_slot_of(*board, *ref);
    if (*slot == NULL) return ESTALE;
  }
  return (atomic_load_explicit(&(*slot)->flags, memory_order_relaxed) & KG_SLOT_REMOVED) != 0
             ? ESTALE
             : 0;
}

int kg_board_lock(struct kg_board *board) {
  struct kg_board_header *header = board->header;
  int problem = pthread_mutex_lock(&header->lock);
  if (problem == EOWNERDEAD) problem = pthread_mutex_consistent(&header->lock);
  if (__builtin_expect(problem != 0, 0)) {
    kg_fate_again("the memory shared with the server is broken");
    return EIO;
  }
  /* Whoever found the lock of a dead writer may have been the server, which mends nothing. */
  if (__builtin_expect(header->unsettled != 0, 0)) kg_ring_mend(board);
  return 0;
}

void kg_board_unlock(struct kg_board *board) { pthread_mutex_unlock(&board->header->lock); }
