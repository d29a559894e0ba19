/*
 * Frames from and to text, for the test that compares them with test/vectors/frames.json.
 *
 *   E TYPE CALL VALUE...   prints the frame in hex; VALUE is a number, or x and the bytes in hex
 *   D HEX                  prints "TYPE CALL VALUE..." of a frame, or "bad"
 */
#include "../core/crc32c.h"
#include "../core/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char line[8 << 20];
static uint8_t bytes[4 << 20], frame[4 << 20];

static size_t from_hex(const char *text, uint8_t *out) {
  size_t count = 0;
  unsigned one;
  for (; sscanf(text, "%2x", &one) == 1; text += 2) out[count++] = (uint8_t)one;
  return count;
}

static void print_hex(const uint8_t *at, size_t count) {
  for (size_t i = 0; i < count; i++) printf("%02x", at[i]);
}

static void encode(void) {
  struct kg_value values[KG_FIELDS_MAX] = {0};
  uint8_t *room = bytes;
  strtok(line, " \n");
  int type = atoi(strtok(NULL, " \n"));
  uint32_t call = (uint32_t)strtoul(strtok(NULL, " \n"), NULL, 10);
  int count = 0;
  for (char *word; (word = strtok(NULL, " \n")) != NULL; count++) {
    if (*word != 'x') {
      values[count].number =
          *word == '-' ? (uint64_t)strtoll(word, NULL, 10) : strtoull(word, NULL, 10);
      continue;
    }
    values[count].bytes = room;
    values[count].count = (uint32_t)from_hex(word + 1, room);
    room += values[count].count;
  }
  size_t length = kg_encode(frame, sizeof frame, (uint8_t)type, call, values);
  print_hex(frame, length);
  printf("\n");
  /* One byte less is too little room, whatever the frame. */
  if (length > 0 && kg_encode(frame, length - 1, (uint8_t)type, call, values) != 0) abort();
}

static void decode(void) {
  size_t length = from_hex(line + 2, bytes);
  /* A copy of its exact size, so that a sanitizer sees a step beyond it. */
  uint8_t *copy = malloc(length == 0 ? 1 : length);
  memcpy(copy, bytes, length);
  struct kg_prefix prefix;
  struct kg_value values[KG_FIELDS_MAX];
  const uint8_t *at = copy + KG_PREFIX_BYTES;
  const char *fields = NULL;
  int problem = length < KG_PREFIX_BYTES ? 1 : kg_decode_prefix(copy, &prefix);
  if (problem == 0 && prefix.body_bytes != length - KG_PREFIX_BYTES) problem = 1;
  if (problem == 0 && kg_crc32c(0, at, prefix.body_bytes) != prefix.body_crc) problem = 1;
  if (problem == 0) fields = kg_fields(prefix.type);
  if (problem == 0 && fields != NULL) problem = kg_decode(fields, &at, copy + length, values);
  if (problem != 0 || fields == NULL) {
    printf("bad\n");
    free(copy);
    return;
  }
  printf("%d %u", prefix.type, prefix.call_id);
  for (int i = 0; fields[i] != '\0'; i++) {
    if (strchr("itpy", fields[i]) != NULL) {
      printf(" x");
      print_hex(values[i].bytes, values[i].count);
    } else if (fields[i] == 'l') {
      printf(" %lld", (long long)values[i].number);
    } else {
      printf(" %llu", (unsigned long long)values[i].number);
    }
  }
  if (prefix.type == KG_LISTED) {
    for (uint64_t i = 0; i < values[1].number; i++) {
      struct kg_value row[5];
      if (kg_decode(KG_LISTED_ROW, &at, copy + length, row) != 0) break;
      printf(" x");
      print_hex(row[0].bytes, row[0].count);
      printf(" %llu %llu %llu %lld", (unsigned long long)row[1].number,
             (unsigned long long)row[2].number, (unsigned long long)row[3].number,
             (long long)row[4].number);
    }
  }
  if (prefix.type == KG_PLACES) {
    for (uint64_t i = 0; i < values[2].number; i++) {
      struct kg_value row[6];
      if (kg_decode(KG_PLACES_ROW, &at, copy + length, row) != 0) break;
      for (int n = 0; n < 5; n++) printf(" %llu", (unsigned long long)row[n].number);
      printf(" x");
      print_hex(row[5].bytes, row[5].count);
    }
  }
  printf("\n");
  free(copy);
}

int main(void) {
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (line[0] == 'E')
      encode();
    else
      decode();
  }
  return 0;
}
