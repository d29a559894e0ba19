/*
 * Bytes that were written into a placeholder by somebody we do not see: a static program that
 * inherited it, or a call that is not caught. They are put where they belong and taken out.
 *
 * A memfd has its bytes by pages, and zeros in front of the first byte written. Zeros at the start
 * of a range are therefore left out: beyond the end of the file they are there anyway. What is lost
 * is that somebody overwrites bytes by zeros, there, in a call that escapes.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>
#include "maps.h"
#include "placeholder.h"
#include "raw.h"

enum { BLOCK = 1 << 20, PAGE = 4096 };

static atomic_flag busy = ATOMIC_FLAG_INIT;

/* One range of bytes, written to the same offsets or at the end of the file. */
static int put_range(struct kg_file *file, int memory, char *block, int64_t at, int64_t end,
                     uint64_t *new_end) {
  bool leading = !file->append;
  while (at < end) {
    size_t want = end - at < BLOCK ? (size_t)(end - at) : BLOCK;
    int64_t got = kg_raw_pread(memory, block, want, at);
    if (got <= 0) return got < 0 ? (int)-got : 0;
    int64_t skip = 0;
    for (; leading && skip < got && skip < PAGE && block[skip] == 0;) skip++;
    leading = false;
    int problem = kg_write_seen(file->ref, block + skip, (size_t)(got - skip),
                                (uint64_t)(at + skip), file->append, new_end);
    if (problem != 0) return problem;
    at += got;
  }
  return 0;
}

static int put_all(struct kg_file *file, int memory, char *block, uint64_t *bytes, uint64_t *end) {
  int64_t at = 0;
  for (;;) {
    int64_t start = kg_raw_lseek(memory, at, SEEK_DATA);
    if (start < 0) return 0;
    at = kg_raw_lseek(memory, start, SEEK_HOLE);
    if (at < 0) return (int)-at;
    *bytes += (uint64_t)(at - start);
    int problem = put_range(file, memory, block, start, at, end);
    if (problem != 0) return problem;
  }
}

static void rescue(int fd, struct kg_file *file) {
  struct flock whole = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = INT64_MAX - 1, .l_len = 1};
  struct stat st;
  char path[32] = "/proc/self/fd/";
  int digits = 14;
  for (int unit = 1000000000; unit > 0; unit /= 10) {
    if (fd >= unit || unit == 1) path[digits++] = (char)('0' + fd / unit % 10);
  }
  int memory = kg_raw_open(path, O_RDWR);
  if (memory < 0) return;
  /* Others may have the same placeholder, and see the same bytes. */
  kg_raw_fcntl(memory, F_OFD_SETLKW, (long)&whole);
  long block =
      kg_raw(SYS_mmap, 0, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (kg_raw_fstat(memory, &st) == 0 && st.st_size > 0 && (block > 0 || block < -4095)) {
    uint64_t bytes = 0, end = 0;
    int problem = put_all(file, memory, (char *)block, &bytes, &end);
    if (problem == 0) {
      kg_raw(SYS_ftruncate, memory, 0, 0, 0, 0, 0);
      if (file->append) kg_raw_lseek(fd, (int64_t)end, SEEK_SET);
    }
    if (kg_counting) kg_count("escaped write", file, bytes, 0);
  }
  if (block > 0 || block < -4095) kg_raw(SYS_munmap, block, BLOCK, 0, 0, 0, 0);
  kg_raw_close(memory);
}

void kg_rescue(int fd, struct kg_file *file) {
  if (file->access == O_RDONLY || KG_IS_TOP(file)) return;
  uint64_t before = kg_signals_block();
  while (atomic_flag_test_and_set(&busy)) kg_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
  rescue(fd, file);
  atomic_flag_clear(&busy);
  kg_signals_restore(before);
}
