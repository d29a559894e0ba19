/*
 * Chunks of files that all programs of a board share: see shelf.h.
 *
 * A chunk may lie in one of WAYS places, of which the one that was not used for the longest time is
 * given up. Its memory is reserved before it is touched for the first time, and only while half of
 * the file system is free, so that no access can fail for want of it, nor anybody else's.
 */
#include "shelf.h"

#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define CHUNKS 1024u
#define CHUNK_BYTES (256u << 10)
#define WAYS 8u
#define SETS (CHUNKS / WAYS)

struct chunk {
  _Atomic uint32_t turn; /* odd: being filled */
  _Atomic uint32_t is_reserved;
  uint32_t slot, generation;
  uint32_t from, to; /* what is good of it */
  uint64_t number;   /* offset / CHUNK_BYTES */
  uint64_t version;
  _Atomic int64_t used_ms;
  uint8_t zero[16];
};
_Static_assert(sizeof(struct chunk) == 64, "a chunk's row is a cache line");

#define TABLE_BYTES ((uint64_t)CHUNKS * sizeof(struct chunk))
#define SHELF_BYTES (TABLE_BYTES + (uint64_t)CHUNKS * CHUNK_BYTES)

/* The one of the board in use. */
static struct {
  _Atomic(struct kg_board *) board;
  _Atomic(struct chunk *) chunks; /* NULL: there is none, and will be none */
  _Atomic int64_t not_before_ms;  /* nobody had made one: not to be looked for again before */
} shelf;

#define LOOK_EVERY_MS 100

static void path_of(const struct kg_board *board, char path[80]) {
  static const char start[] = "/dev/shm/kangaroo-", end[] = "-reads";
  memcpy(path, start, sizeof start - 1);
  memcpy(path + sizeof start - 1, board->hex, 32);
  memcpy(path + sizeof start - 1 + 32, end, sizeof end);
}

static int open_shelf(const struct kg_board *board, int flags, struct stat *facts) {
  char path[80];
  path_of(board, path);
  int fd = kg_file_open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | flags, 0600);
  if (fd < 0) return fd;
  bool is_ours = KG_KERNEL2(SYS_fstat, fd, facts) == 0 && S_ISREG(facts->st_mode) &&
                 facts->st_uid == (uid_t)KG_KERNEL0(SYS_geteuid) && facts->st_nlink == 1 &&
                 (facts->st_mode & 07777) == 0600;
  if (is_ours) return fd;
  kg_close(fd);
  return -1;
}

/* Memory for that part of the file, for good. */
static bool reserve(int fd, uint64_t at, uint64_t bytes) {
  struct statfs room;
  if (KG_KERNEL2(SYS_fstatfs, fd, &room) != 0 || room.f_bavail < room.f_blocks / 2) return false;
  return KG_KERNEL4(SYS_fallocate, fd, 0, at, bytes) == 0;
}

/* Who has something to keep makes it, with O_CREAT. */
static __attribute__((noinline, cold)) struct chunk *map_shelf(struct kg_board *board, int flags) {
  struct stat facts;
  struct chunk *chunks = NULL;
  if (flags == 0 && kg_now_ms() < atomic_load(&shelf.not_before_ms)) return NULL;
  int fd = open_shelf(board, flags, &facts);
  if (flags == 0 && fd == -ENOENT) {
    atomic_store(&shelf.not_before_ms, kg_now_ms() + LOOK_EVERY_MS);
    return NULL;
  }
  bool is_sized = fd >= 0 && (facts.st_size == (off_t)SHELF_BYTES ||
                              KG_KERNEL2(SYS_ftruncate, fd, SHELF_BYTES) == 0);
  if (is_sized && reserve(fd, 0, TABLE_BYTES)) {
    long at = KG_KERNEL6(SYS_mmap, 0, SHELF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at > 0 || at < -4095) chunks = (struct chunk *)at;
  }
  if (fd >= 0) kg_close(fd);
  /* The one that was mapped for the board before stays: somebody may be reading. */
  atomic_store(&shelf.chunks, chunks);
  atomic_store_explicit(&shelf.board, board, memory_order_release);
  return chunks;
}

static struct chunk *chunks_of(const struct kg_range *range, int flags) {
  struct kg_board *board = atomic_load_explicit(&shelf.board, memory_order_acquire);
  if (__builtin_expect(board != range->board, 0)) return map_shelf(range->board, flags);
  return atomic_load_explicit(&shelf.chunks, memory_order_relaxed);
}

static uint8_t *memory_of(struct chunk *chunks, const struct chunk *chunk) {
  return (uint8_t *)chunks + TABLE_BYTES + (uint64_t)(chunk - chunks) * CHUNK_BYTES;
}

/* The places of a chunk: neighbours in a file lie in neighbouring sets. */
static struct chunk *set_of(struct chunk *chunks, struct kg_ref ref, uint64_t number) {
  uint64_t key = ((uint64_t)ref.generation << 32 | ref.slot) * 0x9e3779b97f4a7c15ull;
  return chunks + ((key >> 40) + number) % SETS * WAYS;
}

static bool is_of(const struct chunk *chunk, struct kg_ref ref, uint64_t number) {
  return chunk->number == number && chunk->slot == ref.slot &&
         chunk->generation == ref.generation && chunk->to != 0;
}

size_t kg_shelf_copy(const struct kg_range *range, uint64_t offset, void *bytes, size_t count) {
  struct chunk *chunks = chunks_of(range, 0);
  if (chunks == NULL) return 0;
  uint64_t number = offset / CHUNK_BYTES, version = atomic_load(&range->slot->version);
  uint32_t at = (uint32_t)(offset % CHUNK_BYTES);
  struct chunk *set = set_of(chunks, range->ref, number);
  for (struct chunk *chunk = set; chunk < set + WAYS; chunk++) {
    uint32_t turn = atomic_load_explicit(&chunk->turn, memory_order_acquire);
    if ((turn & 1) != 0 || !is_of(chunk, range->ref, number) || chunk->version != version) continue;
    uint32_t from = chunk->from, to = chunk->to;
    if (at < from || at >= to || to > CHUNK_BYTES) continue;
    size_t part = count < to - at ? count : to - at;
    memcpy(bytes, memory_of(chunks, chunk) + at, part);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&chunk->turn, memory_order_relaxed) != turn) return 0;
    atomic_store_explicit(&chunk->used_ms, kg_now_ms(), memory_order_relaxed);
    return part;
  }
  return 0;
}

/* Has it alone from here on; false: somebody else has. */
static bool take(struct chunk *chunk) {
  uint32_t turn = atomic_load(&chunk->turn);
  return (turn & 1) == 0 && atomic_compare_exchange_strong(&chunk->turn, &turn, turn + 1);
}

/* Where those bytes are to go: where some of the chunk are, else in place of the oldest. */
static struct chunk *take_chunk(struct chunk *chunks, struct kg_ref ref, uint64_t number) {
  struct chunk *set = set_of(chunks, ref, number), *oldest = NULL;
  for (struct chunk *chunk = set; chunk < set + WAYS; chunk++) {
    if ((atomic_load(&chunk->turn) & 1) != 0) continue;
    if (is_of(chunk, ref, number)) {
      oldest = chunk;
      break;
    }
    if (oldest == NULL || atomic_load(&chunk->used_ms) < atomic_load(&oldest->used_ms))
      oldest = chunk;
  }
  return oldest != NULL && take(oldest) ? oldest : NULL;
}

static bool has_memory(const struct kg_range *range, struct chunk *chunks, struct chunk *chunk) {
  if (atomic_load(&chunk->is_reserved) != 0) return true;
  struct stat facts;
  int fd = open_shelf(range->board, 0, &facts);
  if (fd < 0) return false;
  uint64_t at = TABLE_BYTES + (uint64_t)(chunk - chunks) * CHUNK_BYTES;
  bool is_reserved = facts.st_size == (off_t)SHELF_BYTES && reserve(fd, at, CHUNK_BYTES);
  kg_close(fd);
  if (is_reserved) atomic_store(&chunk->is_reserved, 1);
  return is_reserved;
}

static void fill(struct chunk *chunk, uint8_t *memory, const void *bytes, uint32_t from,
                 uint32_t to) {
  memcpy(memory + from, bytes, to - from);
  bool touches = chunk->to != 0 && from <= chunk->to && to >= chunk->from;
  if (!touches || from < chunk->from) chunk->from = from;
  if (!touches || to > chunk->to) chunk->to = to;
}

void kg_shelf_keep(const struct kg_range *range, uint64_t version, uint64_t offset,
                   const void *bytes, size_t count) {
  struct chunk *chunks = chunks_of(range, O_CREAT);
  if (chunks == NULL) return;
  /* Who leaves in the middle by a handler's longjmp would take the chunk along. */
  uint64_t signals = kg_signals_block();
  const uint8_t *next = bytes;
  while (count > 0) {
    uint64_t number = offset / CHUNK_BYTES;
    uint32_t from = (uint32_t)(offset % CHUNK_BYTES);
    uint32_t part = count < CHUNK_BYTES - from ? (uint32_t)count : CHUNK_BYTES - from;
    struct chunk *chunk = take_chunk(chunks, range->ref, number);
    if (chunk != NULL) {
      bool is_same = is_of(chunk, range->ref, number) && chunk->version == version;
      if (!is_same) chunk->from = chunk->to = 0;
      chunk->slot = range->ref.slot;
      chunk->generation = range->ref.generation;
      chunk->number = number;
      chunk->version = version;
      atomic_store(&chunk->used_ms, kg_now_ms());
      if (has_memory(range, chunks, chunk))
        fill(chunk, memory_of(chunks, chunk), next, from, from + part);
      atomic_fetch_add_explicit(&chunk->turn, 1, memory_order_release);
    }
    offset += part;
    next += part;
    count -= part;
  }
  kg_signals_restore(signals);
}
