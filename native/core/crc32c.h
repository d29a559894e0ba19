/*
 * CRC-32C (Castagnoli), the checksum of frames and payloads; the same numbers as
 * src/base/crc32c.ts. By SSE 4.2 or ARMv8 CRC instructions where the processor has them, by a table
 * elsewhere. `kg_crc32c(0, ...)` starts; passing a result as `seed` goes on behind it.
 */
#ifndef KANGAROO_CRC32C_H
#define KANGAROO_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t kg_crc32c(uint32_t seed, const void *bytes, size_t count);
/* Copies and checks in one pass over `from`: the checksum is of what was copied, whatever another
   thread does to `from` meanwhile. */
uint32_t kg_crc32c_copy(uint32_t seed, void *to, const void *from, size_t count);
/* The checksum of A and B together, from that of each and the length of B. */
uint32_t kg_crc32c_join(uint32_t a, uint32_t b, uint64_t b_bytes);
/* The same by the table, for the test that compares them. */
uint32_t kg_crc32c_slow(uint32_t seed, const void *bytes, size_t count);

#endif
