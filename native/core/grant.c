/*
 * Grants: see grant.h.
 *
 * `granted` names the grant in use by a version, whose lowest bits are its place in the table, and
 * says how much of it was taken. A server keeps the last few grants of a connection; before another
 * one is asked for, what was taken of the oldest has been published. A vfork child takes of its
 * parent's grant, whose connection it keeps open, but never asks for one in its parent's name: it
 * gets pieces of its own, which end with it.
 */
#include "grant.h"

#include "connection.h"
#include "core.h"
#include "fate.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define GRANT_BYTES_MIN (1u << 20)
#define GRANT_BYTES_MAX (64u << 20)
#define GRANT_GROWS 8u
/* As limits.grantsPerConnectionMax: for one more the server ends the oldest. */
#define KEPT_BY_SERVER 4u
/* Longer than any write to a disk that will be heard of again. */
#define FILL_MS 120000

bool kg_piece_try(struct kg_process *process, uint32_t bytes, struct kg_piece *piece) {
  uint64_t granted = atomic_load_explicit(&process->granted, memory_order_acquire);
  for (;;) {
    struct kg_grant *grant = &process->grants[(granted >> 32) % KG_GRANTS];
    uint32_t taken = (uint32_t)granted;
    if (granted >> 32 == 0) return false;
    atomic_fetch_add(&grant->users, 1);
    uint32_t left = grant->bytes > taken ? grant->bytes - taken : 0;
    uint32_t part = bytes < left ? bytes : left;
    piece->grant = grant;
    piece->fd = grant->fd;
    piece->bytes = part;
    piece->segment = grant->segment;
    piece->offset = grant->offset + taken;
    piece->incarnation = grant->incarnation;
    bool is_taken =
        part > 0 && atomic_compare_exchange_strong(&process->granted, &granted, granted + part);
    if (is_taken) return true;
    atomic_fetch_sub(&grant->users, 1);
    if (part == 0 && atomic_load(&process->granted) == granted) return false;
    granted = atomic_load_explicit(&process->granted, memory_order_acquire);
  }
}

void kg_piece_done(struct kg_piece *piece) {
  if (piece->grant != NULL)
    atomic_fetch_sub(&piece->grant->users, 1);
  else if (piece->fd >= 0)
    kg_close_private(piece->fd);
  piece->grant = NULL;
  piece->fd = -1;
}

void kg_grant_drop(struct kg_process *process) {
  uint64_t granted = atomic_load(&process->granted);
  while ((uint32_t)granted != UINT32_MAX &&
         !atomic_compare_exchange_weak(&process->granted, &granted, granted | UINT32_MAX))
    continue;
}

/* Waits until what was taken of it is published. Who has not done so in FILL_MS is dead: a vfork
   child that was killed. */
static void wait_for_users(struct kg_grant *grant) {
  if (atomic_load(&grant->users) == 0) return;
  int64_t until = kg_now_ms() + FILL_MS;
  while (atomic_load(&grant->users) != 0 && kg_now_ms() < until) kg_sleep_ms(1);
  atomic_store(&grant->users, 0);
}

/* The segment, for writing; or the errno, negative. Only a plain file of our own is written to. */
static int open_segment(const struct kg_value *path) {
  char name[KG_PATH_MAX + 1];
  struct stat facts;
  if (path->count >= sizeof name || path->count == 0) return -ENAMETOOLONG;
  memcpy(name, path->bytes, path->count);
  name[path->count] = '\0';
  if (name[0] != '/') return -EINVAL;
  int fd = kg_file_open(name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
  if (fd < 0) return fd;
  bool is_plain = KG_KERNEL2(SYS_fstat, fd, &facts) == 0 && S_ISREG(facts.st_mode) &&
                  facts.st_uid == (uid_t)KG_KERNEL0(SYS_geteuid);
  if (is_plain) return kg_make_private(fd);
  kg_close(fd);
  return -EACCES;
}

/* Asks for room and opens what it lies in. */
static int ask(struct kg_call *call, uint32_t bytes, struct kg_grant *grant) {
  struct kg_value wanted[] = {KG_N(bytes)}, got[4];
  call->patient = true;
  int problem = kg_call(call, KG_GRANT, wanted, KG_GRANTED, got);
  if (problem != 0) return problem;
  int fd = open_segment(&got[1]);
  if (fd < 0) return -fd;
  grant->fd = fd;
  grant->segment = got[0].number;
  grant->offset = got[2].number;
  grant->bytes = (uint32_t)got[3].number;
  grant->incarnation = call->link->incarnation;
  return grant->bytes == 0 ? EIO : 0;
}

/* The next grant of this process, in the place of the oldest. */
static int renew(struct kg_process *process, uint64_t signals) {
  uint32_t version = (uint32_t)(atomic_load(&process->granted) >> 32) + 1;
  struct kg_grant *next = &process->grants[version % KG_GRANTS];
  for (uint32_t back = KEPT_BY_SERVER; back <= KG_GRANTS; back++)
    wait_for_users(&process->grants[(version - back) % KG_GRANTS]);
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_GRANTS);
  if (problem != 0) return problem;
  call.outer = signals;
  if (next->fd >= 0) kg_close_private(next->fd);
  next->fd = -1;
  uint32_t bytes = atomic_load(&process->next_grant_bytes);
  problem = ask(&call, bytes, next);
  kg_call_end(&call);
  if (problem != 0) return problem;
  if (bytes < GRANT_BYTES_MAX) atomic_store(&process->next_grant_bytes, bytes * GRANT_GROWS);
  atomic_store_explicit(&process->granted, (uint64_t)version << 32, memory_order_release);
  return 0;
}

/* One piece for a vfork child. Its connection keeps it good for as long as the child needs it. */
static int take_once(uint32_t bytes, uint64_t signals, struct kg_piece *piece) {
  struct kg_grant grant = {.fd = -1};
  struct kg_call call;
  int problem = kg_call_begin(&call, KG_FOR_GRANTS);
  if (problem != 0) return problem;
  call.outer = signals;
  problem = ask(&call, bytes, &grant);
  kg_call_end(&call);
  piece->grant = NULL;
  piece->fd = grant.fd;
  piece->bytes = bytes < grant.bytes ? bytes : grant.bytes;
  piece->segment = grant.segment;
  piece->offset = grant.offset;
  piece->incarnation = grant.incarnation;
  return problem;
}

int kg_piece_take(struct kg_process *process, uint32_t bytes, uint64_t signals,
                  struct kg_piece *piece) {
  if (kg_is_guest(process)) return take_once(bytes, signals, piece);
  uint32_t mine = (uint32_t)process->pid;
  for (;;) {
    uint32_t holder = 0;
    if (atomic_compare_exchange_strong(&process->granting, &holder, mine)) {
      int problem = 0;
      bool is_taken = kg_piece_try(process, bytes, piece);
      if (!is_taken) problem = renew(process, signals);
      atomic_store(&process->granting, 0);
      kg_futex_wake(&process->granting);
      if (is_taken) return 0;
      if (problem == ETIMEDOUT) {
        kg_fate_again("the server is gone, and this program has written what it has not");
      }
      if (problem != 0) return problem;
    } else {
      kg_futex_wait(&process->granting, holder, 200);
      kg_signals_yield(signals);
    }
    if (kg_piece_try(process, bytes, piece)) return 0;
  }
}
