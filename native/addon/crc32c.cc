// CRC-32C by the processor's own instruction where it has one, by tables of eight otherwise.
//
// The instruction takes eight bytes at a time, but its answer comes three cycles later. So a large
// buffer is cut into three lanes that are computed side by side; the lanes' registers are then put
// together by moving the earlier one over the length of the later ("shift": what that many zero
// bytes would do to it, which is linear and therefore four table look-ups).
#include "crc32c.h"

#include <napi.h>

#include <cstring>

#include "arguments.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#define KANGAROO_CRC_TARGET __attribute__((target("sse4.2")))
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#if defined(__clang__)
#define KANGAROO_CRC_TARGET __attribute__((target("crc")))
#else
#define KANGAROO_CRC_TARGET __attribute__((target("+crc")))
#endif
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

namespace kangaroo {

namespace {

struct CrcTables {
  uint32_t slice[8][256];

  constexpr CrcTables() : slice() {
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint32_t crc = byte;
      for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
      slice[0][byte] = crc;
    }
    for (int row = 1; row < 8; row++) {
      for (int byte = 0; byte < 256; byte++) {
        const uint32_t before = slice[row - 1][byte];
        slice[row][byte] = (before >> 8) ^ slice[0][before & 0xff];
      }
    }
  }
};

constexpr CrcTables kCrc;

uint32_t SoftwareCrc(uint32_t crc, const uint8_t* data, size_t length) {
  const auto& slice = kCrc.slice;
  for (; length >= 8; data += 8, length -= 8) {
    const uint32_t low = crc ^ (data[0] | data[1] << 8 | data[2] << 16 |
                                static_cast<uint32_t>(data[3]) << 24);
    crc = slice[7][low & 0xff] ^ slice[6][low >> 8 & 0xff] ^ slice[5][low >> 16 & 0xff] ^
          slice[4][low >> 24] ^ slice[3][data[4]] ^ slice[2][data[5]] ^ slice[1][data[6]] ^
          slice[0][data[7]];
  }
  for (; length > 0; data++, length--) crc = (crc >> 8) ^ slice[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(KANGAROO_CRC_TARGET)

constexpr size_t kShortLaneBytes = 256;
constexpr size_t kLongLaneBytes = 8192;

// What a number of zero bytes does to a register, as four tables over the register's bytes.
struct CrcShift {
  uint32_t table[4][256];

  template <typename Advance>
  explicit CrcShift(Advance advance) {
    for (int place = 0; place < 4; place++) {
      for (uint32_t byte = 0; byte < 256; byte++) {
        table[place][byte] = advance(byte << (8 * place));
      }
    }
  }

  uint32_t operator()(uint32_t crc) const {
    return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
           table[3][crc >> 24];
  }
};

const CrcShift kShortShift([](uint32_t crc) {
  for (size_t i = 0; i < kShortLaneBytes; i++) crc = (crc >> 8) ^ kCrc.slice[0][crc & 0xff];
  return crc;
});

const CrcShift kLongShift([](uint32_t crc) {
  for (size_t i = 0; i < kLongLaneBytes / kShortLaneBytes; i++) crc = kShortShift(crc);
  return crc;
});

#if defined(__x86_64__)
using CrcRegister = uint64_t;
KANGAROO_CRC_TARGET inline CrcRegister Step8(CrcRegister crc, uint64_t word) {
  return _mm_crc32_u64(crc, word);
}
KANGAROO_CRC_TARGET inline CrcRegister Step1(CrcRegister crc, uint8_t byte) {
  return _mm_crc32_u8(static_cast<uint32_t>(crc), byte);
}
bool HasCrcInstruction() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") != 0;
}
#else
using CrcRegister = uint32_t;
KANGAROO_CRC_TARGET inline CrcRegister Step8(CrcRegister crc, uint64_t word) {
  return __crc32cd(crc, word);
}
KANGAROO_CRC_TARGET inline CrcRegister Step1(CrcRegister crc, uint8_t byte) {
  return __crc32cb(crc, byte);
}
bool HasCrcInstruction() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#endif

inline uint64_t LoadWord(const uint8_t* data) {
  uint64_t word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

template <size_t kLaneBytes>
KANGAROO_CRC_TARGET uint32_t ThreeLanes(uint32_t crc, const uint8_t* data, const CrcShift& shift) {
  CrcRegister first = crc;
  CrcRegister second = 0;
  CrcRegister third = 0;
  for (size_t i = 0; i < kLaneBytes; i += 8) {
    first = Step8(first, LoadWord(data + i));
    second = Step8(second, LoadWord(data + kLaneBytes + i));
    third = Step8(third, LoadWord(data + 2 * kLaneBytes + i));
  }
  const uint32_t both = shift(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second);
  return shift(both) ^ static_cast<uint32_t>(third);
}

KANGAROO_CRC_TARGET uint32_t HardwareCrc(uint32_t crc, const uint8_t* data, size_t length) {
  for (; length > 0 && (reinterpret_cast<uintptr_t>(data) & 7) != 0; data++, length--) {
    crc = static_cast<uint32_t>(Step1(crc, *data));
  }
  for (; length >= 3 * kLongLaneBytes; data += 3 * kLongLaneBytes, length -= 3 * kLongLaneBytes) {
    crc = ThreeLanes<kLongLaneBytes>(crc, data, kLongShift);
  }
  for (; length >= 3 * kShortLaneBytes;
       data += 3 * kShortLaneBytes, length -= 3 * kShortLaneBytes) {
    crc = ThreeLanes<kShortLaneBytes>(crc, data, kShortShift);
  }
  CrcRegister rest = crc;
  for (; length >= 8; data += 8, length -= 8) rest = Step8(rest, LoadWord(data));
  for (; length > 0; data++, length--) rest = Step1(rest, *data);
  return static_cast<uint32_t>(rest);
}

using CrcFunction = uint32_t (*)(uint32_t, const uint8_t*, size_t);
const CrcFunction kBestCrc = HasCrcInstruction() ? HardwareCrc : SoftwareCrc;

#else

constexpr auto kBestCrc = SoftwareCrc;

#endif

}  // namespace

uint32_t Crc32c(const uint8_t* data, size_t length, uint32_t seed) {
  return ~kBestCrc(~seed, data, length);
}

namespace {

// crc32c(data: Uint8Array, seed = 0): number
Napi::Value Crc32cOfBytes(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Bytes bytes = arguments.Uint8(info[0], "data");
  const int64_t seed = arguments.OptionalInteger(info[1], "seed", 0, 0xffffffff, 0);
  if (arguments.failed()) return info.Env().Undefined();
  const uint32_t crc = Crc32c(bytes.data, bytes.length, static_cast<uint32_t>(seed));
  return Napi::Number::New(info.Env(), crc);
}

}  // namespace

}  // namespace kangaroo
