/*
 * Frames and messages, as src/protocol/PROTOCOL.md describes them: the C side of messages.ts.
 *
 * A row of the table in wire.c is a string with a letter for each field; values stand in an array
 * in that order. Pure: no socket, no clock. Text and bytes of a decoded message lie in the frame.
 */
#ifndef KANGAROO_WIRE_H
#define KANGAROO_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define KG_PREFIX_BYTES 16u
#define KG_FRAME_BYTES_MAX ((1u << 20) + (64u << 10))
#define KG_FIELDS_MAX 12

enum kg_message {
  KG_HELLO = 1,
  KG_WELCOME = 2,
  KG_COMMIT = 4,
  KG_COMMITTED = 5,
  KG_PUSH = 6,
  KG_PROGRESS = 7,
  KG_GET = 8,
  KG_DATA = 9,
  KG_STAT = 10,
  KG_FOUND = 11,
  KG_LIST = 12,
  KG_LISTED = 13,
  KG_GRANT = 16,
  KG_GRANTED = 17,
  KG_DONE = 25,
  KG_ERROR = 26,
  KG_PING = 27,
  KG_PONG = 28,
  KG_BYE = 30,
  KG_OPEN = 33,
  KG_OPENED = 34,
  KG_CHANGE = 35,
  KG_NUDGE = 36,
  KG_LOCATE = 37,
  KG_PLACES = 38,
  KG_MESSAGES
};

/* A field: number for b h w q l (l as its bits) and o, bytes and count for i t p y. */
struct kg_value {
  uint64_t number;
  const void *bytes;
  uint32_t count;
};
#define KG_N(n) ((struct kg_value){.number = (uint64_t)(n)})
#define KG_B(b, n) ((struct kg_value){.bytes = (b), .count = (uint32_t)(n)})

struct kg_prefix {
  uint32_t body_bytes;
  uint8_t type;
  uint8_t flags;
  uint32_t call_id;
  uint32_t body_crc;
};

/* b u8, h u16, w u32, q u64, l i64, o bool, i id, t text, p path, y bytes; NULL: not a message that
   is known here. LISTED and PLACES end with a list: its count, then rows of KG_LISTED_ROW or
   KG_PLACES_ROW. */
const char *kg_fields(uint8_t type);
#define KG_LISTED_ROW "pbqwl"
#define KG_PLACES_ROW "qwqqqt"

/* A whole frame in `out`; returns its bytes, or 0 when it has not the room or a value is too large.
 */
size_t kg_encode(uint8_t *out, size_t size, uint8_t type, uint32_t call_id,
                 const struct kg_value *values);
/* 0, or EPROTO when it cannot be a frame. */
int kg_decode_prefix(const uint8_t bytes[KG_PREFIX_BYTES], struct kg_prefix *prefix);
/*
 * Reads fields from *at, which moves behind them; never beyond `end`. 0, or EPROTO when there is
 * too little or a number is beyond 2^53.
 */
int kg_decode(const char *fields, const uint8_t **at, const uint8_t *end, struct kg_value *values);

static inline uint32_t kg_u32_at(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

#endif
