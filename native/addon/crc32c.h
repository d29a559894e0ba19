// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), as in iSCSI (RFC 3720) and ext4.
//
// Chained: Crc32c(b, Crc32c(a)) is the checksum of a followed by b; the seed of nothing is 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kangaroo {

uint32_t Crc32c(const uint8_t* data, size_t length, uint32_t seed = 0);

}  // namespace kangaroo
