/*
 * The process's own memory and descriptors: see process.h.
 *
 * Private descriptors have numbers near the limit, where a shell or a loop over small numbers does
 * not meet them, and are remembered outside of the wiped memory: the child of a fork closes the
 * copies it has, so that its parent's sessions end with its parent.
 */
#include "process.h"

#include "core.h"
#include "kernel.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#define PRIVATE_MAX 64

static _Atomic(struct kg_process *) process;
/* Each is process << 32 | descriptor + 1, or 0. */
static _Atomic uint64_t privates[PRIVATE_MAX];
static _Atomic int lowest_private = INT_MAX;
static _Atomic(uint8_t *) memory_of_links, memory_of_chunks, memory_of_stages;

static void close_inherited(int parent) {
  for (int i = 0; i < PRIVATE_MAX; i++) {
    uint64_t one = atomic_load(&privates[i]);
    if (one == 0) continue;
    if ((int)(one >> 32) == parent) kg_close((int)(uint32_t)one - 1);
    atomic_store(&privates[i], 0);
  }
}

/* Which process the wiped memory belonged to. */
static int last_pid;

static void make_alive(struct kg_process *mine) {
  uint32_t wiped = 0;
  if (!atomic_compare_exchange_strong(&mine->alive, &wiped, 1)) {
    while (atomic_load(&mine->alive) == 1) kg_sleep_ms(1);
    return;
  }
  int pid = kg_pid();
  if (last_pid != 0 && last_pid != pid) close_inherited(last_pid);
  last_pid = pid;
  mine->pid = pid;
  for (int i = 0; i < KG_LINKS; i++) mine->links[i].fd = -1;
  for (int i = 0; i < KG_GRANTS; i++) mine->grants[i].fd = -1;
  mine->next_grant_bytes = 1u << 20;
  atomic_store(&mine->alive, 2);
}

static __attribute__((noinline, cold)) struct kg_process *make_process(void) {
  /* Where there is no memory at all the program ends soon, and we with it. */
  static struct kg_process last_resort;
  struct kg_process *mine = atomic_load(&process);
  if (mine == NULL) {
    size_t bytes = (sizeof *mine + 4095) & ~(size_t)4095;
    struct kg_process *made = kg_map(bytes, -1);
    if (made == NULL)
      made = &last_resort;
    else
      KG_KERNEL3(SYS_madvise, made, bytes, MADV_WIPEONFORK);
    if (atomic_compare_exchange_strong(&process, &mine, made))
      mine = made;
    else if (made != &last_resort)
      kg_unmap(made, bytes);
  }
  make_alive(mine);
  return mine;
}

struct kg_process *kg_process(void) {
  struct kg_process *mine = atomic_load_explicit(&process, memory_order_acquire);
  if (__builtin_expect(
          mine != NULL && atomic_load_explicit(&mine->alive, memory_order_acquire) == 2, 1))
    return mine;
  return make_process();
}

bool kg_is_guest(const struct kg_process *mine) {
  int pid = kg_pid();
  if (pid == mine->pid) return false;
  /* The first call may have come from a vfork child: once that is gone the memory is ours. */
  if (kg_is_alive(mine->pid)) return true;
  ((struct kg_process *)(uintptr_t)mine)->pid = pid;
  last_pid = pid;
  return false;
}

void kg_after_fork(void) {
  struct kg_process *mine = atomic_load(&process);
  if (mine == NULL || atomic_load(&mine->alive) != 2 || mine->pid == kg_pid()) {
    kg_process();
    return;
  }
  /* A kernel that does not wipe. */
  memset(mine, 0, sizeof *mine);
  kg_process();
}

int kg_make_private(int fd) {
  uint64_t limit = kg_descriptor_limit();
  int least = limit > 4096 ? 4096 - 64 : limit > 128 ? (int)limit - 64 : (int)limit / 2;
  int moved = kg_duplicate_above(fd, least);
  if (moved < 0)
    moved = fd;
  else
    kg_close(fd);
  kg_keep_private(moved);
  return moved;
}

void kg_keep_private(int fd) {
  uint64_t mark = (uint64_t)(uint32_t)kg_pid() << 32 | (uint32_t)(fd + 1);
  for (int i = 0; i < PRIVATE_MAX; i++) {
    uint64_t before = atomic_load(&privates[i]);
    bool is_free = before == 0 || (uint32_t)before == (uint32_t)mark;
    if (is_free && atomic_compare_exchange_strong(&privates[i], &before, mark)) break;
  }
  int lowest = atomic_load(&lowest_private);
  while (fd < lowest && !atomic_compare_exchange_weak(&lowest_private, &lowest, fd)) continue;
}

void kg_close_private(int fd) {
  uint64_t mark = (uint64_t)(uint32_t)kg_pid() << 32 | (uint32_t)(fd + 1);
  for (int i = 0; i < PRIVATE_MAX; i++) {
    uint64_t expected = mark;
    if (atomic_compare_exchange_strong(&privates[i], &expected, 0)) break;
  }
  kg_close(fd);
}

bool kg_is_private(int fd) {
  if (fd < atomic_load_explicit(&lowest_private, memory_order_relaxed)) return false;
  for (int i = 0; i < PRIVATE_MAX; i++) {
    uint64_t one = atomic_load(&privates[i]);
    if ((int)(uint32_t)one - 1 == fd && one != 0) return (int)(one >> 32) == kg_pid();
  }
  return false;
}

int kg_next_private(int from) {
  int next = -1, pid = kg_pid();
  for (int i = 0; i < PRIVATE_MAX; i++) {
    uint64_t one = atomic_load(&privates[i]);
    int fd = (int)(uint32_t)one - 1;
    if (one == 0 || (int)(one >> 32) != pid || fd < from) continue;
    if (next < 0 || fd < next) next = fd;
  }
  return next;
}

static uint8_t *memory_of(_Atomic(uint8_t *) *where, size_t bytes) {
  uint8_t *there = atomic_load(where);
  if (there != NULL) return there;
  uint8_t *made = kg_map(bytes, -1);
  if (made == NULL) return NULL;
  if (atomic_compare_exchange_strong(where, &there, made)) return made;
  kg_unmap(made, bytes);
  return there;
}

uint8_t *kg_link_memory(unsigned link) {
  uint8_t *start = memory_of(&memory_of_links, (size_t)KG_LINKS * KG_LINK_BYTES);
  return start == NULL ? NULL : start + (size_t)link * KG_LINK_BYTES;
}

uint8_t *kg_chunk_memory(void) {
  return memory_of(&memory_of_chunks, (size_t)KG_CHUNKS * KG_CHUNK_BYTES);
}

uint8_t *kg_stage_memory(void) {
  return memory_of(&memory_of_stages, (size_t)KG_STAGES * KG_STAGE_BYTES);
}
