/*
 * What is known of names, in rows of the board (struct kg_row in board.h): programs look there
 * before they ask the server, and make files there without it.
 *
 * Who knows? The server writes down what it answers, good for KG_LEASE_MS; a program writes down
 * what it makes. A directory that was made here and that nobody else can have filled has all its
 * names in rows, so a name without a row is absent there. Whatever changes a name in another way
 * makes its row one that has to be asked for, or voids all rows.
 *
 * Plain C on plain memory, for programs (native/core) and for the server's addon. Writers hold the
 * lock of the board; a writer that died in mid-row leaves it odd, and nobody believes it.
 */
#ifndef KANGAROO_KNOWN_H
#define KANGAROO_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A name and the directory that it is in, as rows know them. */
struct kg_key {
  uint64_t key, check;
};
struct kg_keys {
  struct kg_key name, parent;
  bool has_parent; /* the root of an export has none */
};

/* A row, without how it is kept. */
struct kg_known {
  int64_t until_ms, names_until_ms;
  uint64_t size;
  int64_t mtime_ns;
  uint32_t slot, generation, mode;
  uint8_t kind, flags;
};

/* `path` has `path_bytes` bytes below the export directory of the server `name`. */
struct kg_keys kg_keys_of(const char *name, size_t name_bytes, const char *path, size_t path_bytes);
/* The inode number of a name: at most 52 bits, never 0, as src/server/board-layout.ts makes it. */
uint64_t kg_ino_of(struct kg_key key);
/* Do the rows lie in these `bytes` of memory? To be asked once. */
bool kg_known_fits(const void *board, size_t bytes);
/* False: there is no row that can be read. `board` is where the board is mapped. */
bool kg_known_row(const void *board, struct kg_key key, struct kg_known *out);

/* Under the lock. When there is no room, all rows become void first. */
void kg_known_put(void *board, struct kg_key key, const struct kg_known *known);
/* The name is perhaps there: who wants to know asks. */
void kg_known_ask(void *board, struct kg_key key);
/* All are void. */
void kg_known_clear(void *board);

#ifdef __cplusplus
}
#endif

#endif
