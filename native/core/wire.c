/*
 * Encoder and decoder of frames: see wire.h. Little endian byte by byte, whatever the machine is.
 */
#include "wire.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>

static const char *const rows[KG_MESSAGES] = {
    [KG_HELLO] = "whhtityt", [KG_WELCOME] = "htiqqttt",
    [KG_COMMIT] = "q",       [KG_COMMITTED] = "q",
    [KG_PUSH] = "tiwb",      [KG_PROGRESS] = "qqtt",
    [KG_GET] = "tpqwwb",     [KG_DATA] = "qy",
    [KG_STAT] = "tpwb",      [KG_FOUND] = "bqwlq",
    [KG_LIST] = "tppwwb",    [KG_LISTED] = "ow",
    [KG_GRANT] = "w",        [KG_GRANTED] = "qtqw",
    [KG_DONE] = "",          [KG_ERROR] = "ttt",
    [KG_PING] = "",          [KG_PONG] = "",
    [KG_BYE] = "",           [KG_OPEN] = "qtpbww",
    [KG_OPENED] = "wwbqwlq", [KG_CHANGE] = "qbhtppwqllw",
    [KG_NUDGE] = "",         [KG_LOCATE] = "tpqw",
    [KG_PLACES] = "qww",
};

#define SAFE_MAX ((1ull << 53) - 1)

const char *kg_fields(uint8_t type) { return type < KG_MESSAGES ? rows[type] : NULL; }

/* Bytes of a number, or of the length in front of bytes. */
static unsigned width_of(char field) {
  switch (field) {
  case 'b':
  case 'o':
    return 1;
  case 'h':
  case 'p':
    return 2;
  case 'w':
  case 't':
  case 'y':
    return 4;
  case 'i':
    return 0;
  default:
    return 8;
  }
}

static int has_bytes(char field) {
  return field == 'i' || field == 't' || field == 'p' || field == 'y';
}

static uint8_t *put(uint8_t *at, uint64_t number, unsigned width) {
  for (unsigned i = 0; i < width; i++) *at++ = (uint8_t)(number >> (8 * i));
  return at;
}

static uint64_t take(const uint8_t *at, unsigned width) {
  uint64_t number = 0;
  for (unsigned i = 0; i < width; i++) number |= (uint64_t)at[i] << (8 * i);
  return number;
}

size_t kg_encode(uint8_t *out, size_t size, uint8_t type, uint32_t call_id,
                 const struct kg_value *values) {
  const char *fields = kg_fields(type);
  if (fields == NULL || size < KG_PREFIX_BYTES) return 0;
  uint8_t *at = out + KG_PREFIX_BYTES;
  for (; *fields != '\0'; fields++, values++) {
    unsigned width = width_of(*fields);
    size_t count = has_bytes(*fields) ? values->count : 0;
    if (*fields == 'i' && count != 16) return 0;
    if (*fields == 'p' && count > UINT16_MAX) return 0;
    if (*fields == 'q' && values->number > SAFE_MAX) return 0;
    if (width + count > size - (size_t)(at - out)) return 0;
    at = put(at, has_bytes(*fields) ? count : values->number, width);
    if (count > 0) memcpy(at, values->bytes, count);
    at += count;
  }
  size_t body = (size_t)(at - out) - KG_PREFIX_BYTES;
  put(out, body, 4);
  put(out + 4, type, 4);
  put(out + 8, call_id, 4);
  put(out + 12, kg_crc32c(0, out + KG_PREFIX_BYTES, body), 4);
  return KG_PREFIX_BYTES + body;
}

int kg_decode_prefix(const uint8_t bytes[KG_PREFIX_BYTES], struct kg_prefix *prefix) {
  prefix->body_bytes = kg_u32_at(bytes);
  prefix->type = bytes[4];
  prefix->flags = bytes[5];
  prefix->call_id = kg_u32_at(bytes + 8);
  prefix->body_crc = kg_u32_at(bytes + 12);
  if (prefix->body_bytes > KG_FRAME_BYTES_MAX || bytes[6] != 0 || bytes[7] != 0) return EPROTO;
  return 0;
}

int kg_decode(const char *fields, const uint8_t **at, const uint8_t *end, struct kg_value *values) {
  for (; *fields != '\0'; fields++, values++) {
    unsigned width = width_of(*fields);
    size_t left = (size_t)(end - *at);
    if (width > left) return EPROTO;
    values->number = take(*at, width);
    values->bytes = NULL;
    values->count = 0;
    *at += width;
    if (*fields == 'q' && values->number > SAFE_MAX) return EPROTO;
    if (!has_bytes(*fields)) continue;
    uint64_t count = *fields == 'i' ? 16 : values->number;
    if (count > left - width) return EPROTO;
    values->bytes = *at;
    values->count = (uint32_t)count;
    *at += count;
  }
  return 0;
}
