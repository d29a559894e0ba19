/*
 * CRC-32C: see crc32c.h.
 *
 * The instruction has a latency of three cycles and a throughput of one, so three lanes run side by
 * side over a block and are joined at its end. Joining moves a checksum over the bytes that follow
 * it: a multiplication by a power of x modulo the polynomial, of which a table is made at the first
 * use (32 squarings, 2 us).
 */
#include "crc32c.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* reflected */
#define LANE 1024u
#define SHORT_LANE 128u
#define BLOCK (3 * LANE)

static uint32_t table[8][256];
static uint32_t powers[64]; /* x^(8 * 2^k) */
static uint32_t over_lane[4][256], over_two[4][256], over_short[4][256], over_two_short[4][256];
static bool by_hardware;
static _Atomic int ready; /* 0 not, 2 done; made twice by two threads it is the same */

/* a * b modulo the polynomial, both reflected. */
static uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b & 1) ? (b >> 1) ^ POLYNOMIAL : b >> 1;
  }
  return product;
}

static uint32_t power_of(uint64_t bytes) {
  uint32_t power = 1u << 31;
  for (int k = 0; bytes != 0; k++, bytes >>= 1)
    if (bytes & 1) power = multiply(powers[k], power);
  return power;
}

/* Moving is linear: 32 products make the table, sums of them fill it. */
static void make_mover(uint32_t mover[4][256], uint32_t power) {
  for (int lane = 0; lane < 4; lane++) {
    uint32_t column[8];
    for (int bit = 0; bit < 8; bit++) column[bit] = multiply(power, 1u << (8 * lane + bit));
    mover[lane][0] = 0;
    for (uint32_t byte = 1; byte < 256; byte++)
      mover[lane][byte] = mover[lane][byte & (byte - 1)] ^ column[__builtin_ctz(byte)];
  }
}

static bool has_instruction(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__)
  return (getauxval(AT_HWCAP) & (1ul << 7)) != 0; /* HWCAP_CRC32 */
#else
  return false;
#endif
}

static __attribute__((noinline, cold)) void make_ready(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc & 1) ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
    table[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; byte++)
    for (int k = 1; k < 8; k++)
      table[k][byte] = table[0][table[k - 1][byte] & 255] ^ (table[k - 1][byte] >> 8);
  uint32_t square = 1u << 30; /* x */
  for (int k = 0; k < 3; k++) square = multiply(square, square);
  for (int k = 0; k < 64; k++, square = multiply(square, square)) powers[k] = square;
  make_mover(over_lane, power_of(LANE));
  make_mover(over_two, power_of(2 * LANE));
  make_mover(over_short, power_of(SHORT_LANE));
  make_mover(over_two_short, power_of(2 * SHORT_LANE));
  by_hardware = has_instruction();
  atomic_store_explicit(&ready, 2, memory_order_release);
}

static inline void be_ready(void) {
  if (__builtin_expect(atomic_load_explicit(&ready, memory_order_acquire) != 2, 0)) make_ready();
}

static inline uint64_t word_at(const uint8_t *at) {
  uint64_t word;
  memcpy(&word, at, 8);
  return word;
}

static uint32_t by_table(uint32_t crc, const uint8_t *at, size_t count) {
  for (; count >= 8; at += 8, count -= 8) {
    uint64_t word = word_at(at) ^ crc;
    crc = 0;
    for (int k = 0; k < 8; k++) crc ^= table[7 - k][word >> (8 * k) & 255];
  }
  for (; count > 0; at++, count--) crc = table[0][(crc ^ *at) & 255] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)
#define HARDWARE __attribute__((target("sse4.2")))
#define EIGHT(crc, word) _mm_crc32_u64(crc, word)
#define ONE(crc, byte) _mm_crc32_u8(crc, byte)
#elif defined(__aarch64__)
#define HARDWARE __attribute__((target("+crc")))
#define EIGHT(crc, word) __crc32cd((uint32_t)(crc), word)
#define ONE(crc, byte) __crc32cb(crc, byte)
#endif

#ifdef HARDWARE
static inline uint32_t move(const uint32_t mover[4][256], uint32_t crc) {
  return mover[0][crc & 255] ^ mover[1][crc >> 8 & 255] ^ mover[2][crc >> 16 & 255] ^
         mover[3][crc >> 24];
}

/* Three lanes side by side; `one` and `two` move a checksum over one and over two of them. */
HARDWARE static inline __attribute__((always_inline)) uint32_t
three_lanes(uint32_t crc, const uint8_t *at, size_t lane, const uint32_t one[4][256],
            const uint32_t two[4][256]) {
  uint64_t first = crc, second = 0, third = 0;
#pragma GCC unroll 8
  for (size_t i = 0; i < lane; i += 8) {
    first = EIGHT(first, word_at(at + i));
    second = EIGHT(second, word_at(at + lane + i));
    third = EIGHT(third, word_at(at + 2 * lane + i));
  }
  return move(two, (uint32_t)first) ^ move(one, (uint32_t)second) ^ (uint32_t)third;
}

HARDWARE static uint32_t check(uint32_t crc, const uint8_t *at, size_t count) {
  for (; count >= BLOCK; at += BLOCK, count -= BLOCK)
    crc = three_lanes(crc, at, LANE, over_lane, over_two);
  for (; count >= 3 * SHORT_LANE; at += 3 * SHORT_LANE, count -= 3 * SHORT_LANE)
    crc = three_lanes(crc, at, SHORT_LANE, over_short, over_two_short);
  uint64_t last = crc;
  for (; count >= 8; at += 8, count -= 8) last = EIGHT(last, word_at(at));
  crc = (uint32_t)last;
  for (; count > 0; at++, count--) crc = ONE(crc, *at);
  return crc;
}
#else
static uint32_t check(uint32_t crc, const uint8_t *from, size_t count) {
  return by_table(crc, from, count);
}
#endif

uint32_t kg_crc32c(uint32_t seed, const void *bytes, size_t count) {
  be_ready();
  return ~(by_hardware ? check(~seed, bytes, count) : by_table(~seed, bytes, count));
}

uint32_t kg_crc32c_copy(uint32_t seed, void *to, const void *from, size_t count) {
  uint8_t *copy = to;
  const uint8_t *at = from;
  /* While a part of it is still in the nearest cache. */
  while (count > 0) {
    size_t part = count < 4 * BLOCK ? count : 4 * BLOCK;
    memcpy(copy, at, part);
    seed = kg_crc32c(seed, copy, part);
    copy += part;
    at += part;
    count -= part;
  }
  return seed;
}

uint32_t kg_crc32c_join(uint32_t a, uint32_t b, uint64_t b_bytes) {
  /* Who writes in pieces writes them of one size: its power << 32 | that size. */
  static _Atomic uint64_t known;
  be_ready();
  uint64_t one = atomic_load_explicit(&known, memory_order_relaxed);
  if ((uint32_t)one == b_bytes && one != 0) return multiply((uint32_t)(one >> 32), a) ^ b;
  uint32_t power = power_of(b_bytes);
  if (b_bytes <= UINT32_MAX)
    atomic_store_explicit(&known, (uint64_t)power << 32 | b_bytes, memory_order_relaxed);
  return multiply(power, a) ^ b;
}

uint32_t kg_crc32c_slow(uint32_t seed, const void *bytes, size_t count) {
  be_ready();
  return ~by_table(~seed, bytes, count);
}
