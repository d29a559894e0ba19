/*
 * Names, beside what core.h says of them: the mounts, a stable number for a name, and the address
 * that a push has.
 */
#ifndef KANGAROO_NAMES_H
#define KANGAROO_NAMES_H

#include "core.h"

/* Reads `LOGICAL=TARGET` pairs with ':' between them; one that is none is told, and left out. */
void kg_names_read_mounts(const char *mounts);
/* What src/server/board-layout.ts makes of the same name and path: at most 52 bits, never 0. */
uint64_t kg_names_ino(const char *name, const char *path, size_t path_bytes);
/*
 * "kangaroo://NAME/path" in `out` (of KG_ADDRESS_MAX bytes), returning its length. An address is
 * text: of a path that is no UTF-8 it is the directory above the first such name.
 */
#define KG_ADDRESS_MAX (KG_NAME_MAX + KG_PATH_MAX + 16)
size_t kg_names_address(const struct kg_place *place, char *out);

#endif
