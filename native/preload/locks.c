/*
 * fcntl(2)'s locks on files, among the programs of one first hop, by locks of the kernel on a file
 * that stands beside the board: a slot of the board has a range of 2^48 bytes there.
 *
 * They belong to the process, as POSIX wants, and go with any close of the file. Locks of an open
 * file description (F_OFD_*) are taken for such. An exec hands the descriptor that holds them on to
 * the new program, which finds it again by its name. flock's are flock.c's.
 */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "../core/process.h"
#include "locks.h"
#include "preload.h"
#include "processes.h"
#include "raw.h"

static const int64_t slot_range = (int64_t)1 << 48;
static const char start_of_name[] = "/dev/shm/kangaroo-";
static const char kind_of_process[] = "-locks";

/* The descriptor that the process holds its POSIX locks by; 0 until there is one. */
static _Atomic int process_fd;
static _Atomic int process_pid;

int kg_locks_open(const char *kind) {
  const size_t start = sizeof start_of_name - 1;
  char path[96], board[33];
  int problem = kg_board_id(board);
  if (problem != 0) return -problem;
  memcpy(path, start_of_name, start);
  memcpy(path + start, board, 32);
  strcpy(path + start + 32, kind);
  int fd = kg_file_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  return fd < 0 ? -ENOLCK : kg_make_private(fd);
}

static int locks_of_process(void) {
  int fd = atomic_load(&process_fd);
  if (fd != 0 && kg_is_private(fd)) return fd;
  fd = kg_locks_open(kind_of_process);
  if (fd < 0) return fd;
  atomic_store(&process_fd, fd);
  atomic_store(&process_pid, kg_pid());
  return fd;
}

/* From the caller's range to that of the slot. */
static int place(int fd, struct kg_file *file, const struct flock *from, struct flock *to) {
  struct kg_facts facts = {.size = 0};
  int64_t start = from->l_start, length = from->l_len, base = 0;
  if (from->l_whence == SEEK_CUR) base = kg_raw_lseek(fd, 0, SEEK_CUR);
  if (from->l_whence == SEEK_END) {
    int problem = kg_facts_open(file, &facts);
    if (problem != 0) return problem;
    base = (int64_t)facts.size;
  }
  if (from->l_whence < SEEK_SET || from->l_whence > SEEK_END) return EINVAL;
  if (__builtin_add_overflow(start, base, &start)) return EOVERFLOW;
  if (length < 0) {
    start += length;
    length = -length;
  }
  if (start < 0) return EINVAL;
  /* Programs that lock "the last byte there can be" meet at the last one of the range. */
  int64_t last = slot_range - 2;
  if (start > last) start = last;
  if (length == 0 || length > slot_range - 1 - start) length = slot_range - 1 - start;
  *to = (struct flock){.l_type = from->l_type, .l_whence = SEEK_SET, .l_len = length};
  to->l_start = (int64_t)file->ref.slot * slot_range + start;
  return 0;
}

static void report(struct kg_file *file, const struct flock *found, struct flock *out) {
  out->l_type = found->l_type;
  if (found->l_type == F_UNLCK) return;
  out->l_whence = SEEK_SET;
  out->l_start = found->l_start - (int64_t)file->ref.slot * slot_range;
  out->l_len = out->l_start + found->l_len >= slot_range - 1 ? 0 : found->l_len;
  out->l_pid = found->l_pid;
}

static int plain(int command) {
  switch (command) {
  case F_OFD_GETLK:
    return F_GETLK;
  case F_OFD_SETLK:
    return F_SETLK;
  case F_OFD_SETLKW:
    return F_SETLKW;
  default:
    return command;
  }
}

int kg_lock(int fd, struct kg_file *file, int command, void *argument) {
  struct flock *lock = argument, mine;
  if (file->path_only) return EBADF;
  if (lock == 0) return EFAULT;
  command = plain(command);
  if (lock->l_type != F_RDLCK && lock->l_type != F_WRLCK && lock->l_type != F_UNLCK) return EINVAL;
  if (command != F_GETLK && lock->l_type == F_RDLCK && file->access == O_WRONLY) return EBADF;
  if (command != F_GETLK && lock->l_type == F_WRLCK && file->access == O_RDONLY) return EBADF;
  if (KG_IS_TOP(file)) return ENOLCK;
  int table = locks_of_process();
  if (table < 0) return -table;
  int problem = place(fd, file, lock, &mine);
  if (problem != 0) return problem;
  int result = kg_raw_fcntl(table, command, (long)&mine);
  if (result < 0) return -result;
  if (command == F_GETLK) report(file, &mine, lock);
  return 0;
}

void kg_locks_leave(int fd) {
  if (kg_is_borrowed()) return;
  if (atomic_load(&process_fd) != 0 && atomic_load(&process_pid) == kg_pid()) {
    struct kg_file *file = ours(fd);
    struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = slot_range};
    if (file != 0 && !KG_IS_TOP(file)) {
      all.l_start = (int64_t)file->ref.slot * slot_range;
      kg_raw_fcntl(atomic_load(&process_fd), F_SETLK, (long)&all);
    }
  }
}

static bool is_holder(void) {
  return atomic_load(&process_fd) != 0 && atomic_load(&process_pid) == kg_pid();
}

void kg_locks_hand_on(void) {
  if (!is_holder()) return;
  for (int word = 0; word < KG_PERHAPS_MAX / 64; word++) {
    uint64_t bits = atomic_load(&kg_perhaps[word]);
    for (; bits != 0; bits &= bits - 1) {
      int fd = word * 64 + __builtin_ctzll(bits);
      /* What is closed by the exec takes its locks with it, as any close does. */
      if (kg_raw_fcntl(fd, F_GETFD, 0) == FD_CLOEXEC) kg_locks_leave(fd);
    }
  }
  kg_raw_fcntl(atomic_load(&process_fd), F_SETFD, 0);
}

void kg_locks_take_back(void) {
  if (is_holder()) kg_raw_fcntl(atomic_load(&process_fd), F_SETFD, FD_CLOEXEC);
}

void kg_locks_adopt(int fd) {
  const size_t start = sizeof start_of_name - 1, all = start + 32 + sizeof kind_of_process - 1;
  char path[32] = "/proc/self/fd/", name[96];
  kg_decimal(path + strlen(path), (unsigned)fd);
  int64_t bytes = kg_raw_readlink(path, name, sizeof name);
  if (bytes != (int64_t)all || memcmp(name, start_of_name, start) != 0) return;
  if (memcmp(name + start + 32, kind_of_process, sizeof kind_of_process - 1) != 0) return;
  kg_raw_fcntl(fd, F_SETFD, FD_CLOEXEC);
  kg_keep_private(fd);
  atomic_store(&process_fd, fd);
  atomic_store(&process_pid, kg_pid());
}
