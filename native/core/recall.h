/*
 * Names without the server: what the rows of the board say of them, and files that are made there.
 * Private to native/core.
 */
#ifndef KANGAROO_RECALL_H
#define KANGAROO_RECALL_H

#include "core.h"

enum kg_recalled { KG_ASK, KG_RECALLED, KG_RECALLED_ABSENT };

/* ref->generation is 0 when no slot stands for it. */
enum kg_recalled kg_recall(const struct kg_place *place, struct kg_facts *facts,
                           struct kg_ref *ref);
/*
 * Opens it, or makes it when the rows say that it is absent and where it would be: as kg_open, but
 * EAGAIN when the server has to be asked.
 */
int kg_recall_open(const struct kg_place *place, uint32_t flags, uint32_t mode, struct kg_ref *ref,
                   struct kg_facts *facts);

#endif
