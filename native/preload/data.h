/*
 * What reading and writing calls share: the checks that the kernel would make, ranges of the shared
 * offset, and reads and writes that go on until all is done.
 */
#ifndef KANGAROO_DATA_H
#define KANGAROO_DATA_H

#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>
#include "preload.h"

/* 0, or EBADF or EISDIR. */
int kg_may_read(const struct kg_file *file);
int kg_may_write(const struct kg_file *file);
/* Moves the shared offset by *count, less at its limit; where it was, or an errno negated. */
int64_t kg_claim(int fd, size_t *count);
/* All of it up to the end of the file. An error after some bytes is the next call's. */
int kg_read_range(struct kg_file *file, void *bytes, size_t count, uint64_t offset, size_t *got);
/* As pread(2) and pwrite(2). */
ssize_t kg_read_at(struct kg_file *file, void *bytes, size_t count, off_t offset);
ssize_t kg_write_at(struct kg_file *file, const void *bytes, size_t count, off_t offset);
/* What O_SYNC, or the end of the process, wants after a write. */
int kg_write_done(struct kg_file *file);

#endif
